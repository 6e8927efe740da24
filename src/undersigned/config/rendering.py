"""How pages are rendered outside a request: by the application that answers readers."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.handlers.wsgi import WSGIHandler

from undersigned.web.public.kept import list_kept_pages, read_marks, shows_signers
from undersigned.web.rendered.data import MadePage
from undersigned.web.rendered.renderer import Renderer
from undersigned.web.rendered.store import PageStore
from undersigned.web.shared.services import Services

STATIC = Path(__file__).resolve().parent.parent / "web" / "static"


def make_renderer(services: Services, store: PageStore) -> Renderer:
    """Return the renderer of an instance, not started."""
    return Renderer(
        store,
        make=PageMaker(services),
        read_marks=partial(read_marks, services),
        list_pages=partial(list_kept_pages, services),
        shows_signers=shows_signers,
        assets={
            f"/static/{path.relative_to(STATIC).as_posix()}": path
            for path in sorted(STATIC.rglob("*"))
            if path.is_file()
        },
    )


class PageMaker:
    """Asks Django for a page as a reader without any preference does."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._application: WSGIHandler | None = None

    def __call__(self, address: str) -> MadePage:
        """Return Django's answer to a GET. Raises nothing that Django answers."""
        if self._application is None:
            # Not before it is needed: most commands need none.
            self._application = WSGIHandler()
        heads: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _error: object = None
        ) -> Callable[[bytes], object]:
            heads.append((status, headers))
            return lambda _data: None

        answer: Any = self._application(self._make_environ(address), start_response)
        try:
            body = b"".join(answer)
        finally:
            # Ends the request: the connection to the pages database goes with it.
            answer.close()
        status, headers = heads[0]
        by_name = {name.lower(): value for name, value in headers}
        return MadePage(int(status.split()[0]), by_name, body)

    def _make_environ(self, address: str) -> dict[str, Any]:
        base = urlsplit(self._services.settings.base_url)
        return {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": address,
            "QUERY_STRING": "",
            "SERVER_NAME": base.hostname or "localhost",
            "SERVER_PORT": str(base.port or (443 if base.scheme == "https" else 80)),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": base.netloc,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": base.scheme,
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "asgi.scope": {"undersigned": self._services},
        }
