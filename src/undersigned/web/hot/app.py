"""The front of the process: which requests the signing path takes, and which Django."""

from __future__ import annotations

from undersigned.kernel.batching import StoreStopped
from undersigned.kernel.errors import StorageFailed, UndersignedError
from undersigned.web.hot.files import Files
from undersigned.web.hot.pages import Pages
from undersigned.web.hot.sign import SigningPaths
from undersigned.web.hot.wire import (
    ASGIApp,
    ClientGone,
    MethodNotTaken,
    NothingHere,
    Receive,
    Scope,
    Send,
    answer,
    receive_whole,
)
from undersigned.web.hot.witness import WITNESS_PATH, WitnessPath
from undersigned.web.shared.problem import as_anticipated, problem
from undersigned.web.shared.public_files import is_log_file
from undersigned.web.shared.services import Services

_BODILESS = ("GET", "HEAD", "OPTIONS")


class HotApp:
    """Raw ASGI in front of ``behind`` (Django).

    ``witness``: what cosigns other people's logs; it refuses all that are not trusted.
    ``pages``: rendered pages, where they are kept. ``prefix_static``: where the site's
    own files are asked for, ``static/``.
    """

    def __init__(
        self,
        *,
        services: Services,
        files: Files,
        behind: ASGIApp,
        witness: WitnessPath | None = None,
        pages: Pages | None = None,
        prefix_static: str = "static/",
    ) -> None:
        self.services = services
        self._files = files
        self._pages = pages
        self._behind = behind
        self._witness = witness
        self._prefix_static = prefix_static
        self.signing = SigningPaths(services)

    def stop(self) -> None:
        """End what has a thread of its own."""
        if self._witness is not None:
            self._witness.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        path = scope["path"][1:]
        try:
            if path.startswith("c/"):
                taken = await self._handle_campaign(path, scope, receive, send)
            elif path.startswith(("spine/", "policy.txt")) and is_log_file(path):
                await self._files.send_log_file(scope, send, path)
                taken = True
            elif path == WITNESS_PATH and self._witness is not None:
                await self._witness.handle(scope, receive, send)
                taken = True
            elif path.startswith(self._prefix_static):
                name = path[len(self._prefix_static) :]
                await self._files.send_static(scope, send, name)
                taken = True
            else:
                taken = self._pages is not None and await self._pages.send(scope, send)
            if not taken and scope["method"] not in _BODILESS:
                receive = await receive_whole(scope, receive)
        except (UndersignedError, StorageFailed) as found:
            error = as_anticipated(found) or StoreStopped()
            status, body, headers = problem(error)
            if isinstance(error, MethodNotTaken):
                headers.append((b"allow", str(error.data["allowed"]).encode()))
            await answer(send, status, body, headers, head=scope["method"] == "HEAD")
            return
        except ClientGone:
            return
        if not taken:
            scope["undersigned"] = self.services
            await self._behind(scope, receive, send)

    async def _handle_campaign(
        self, path: str, scope: Scope, receive: Receive, send: Send
    ) -> bool:
        base, _slash, action = path.rpartition("/")
        if self.signing.takes(action):
            book_entry = self.services.book.find(base)
            if book_entry is None:
                raise NothingHere()
            await self.signing.handle(action, book_entry, scope, receive, send)
            return True
        if is_log_file(path):
            await self._files.send_log_file(scope, send, path)
            return True
        # ``/c/ID`` and ``/c/ID/`` are for people: Django sends them to a language.
        return False
