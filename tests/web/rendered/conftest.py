"""An instance with its pages kept as files, and a reader at the front of it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper

from tests.factories.asgi import Answer, Browser, make_behind
from tests.factories.instances import Instance
from tests.factories.signers import show
from undersigned.campaigns.data import Campaign
from undersigned.config.rendering import STATIC
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.file_cache import FileCache
from undersigned.web.hot.files import Files
from undersigned.web.hot.pages import Pages
from undersigned.web.rendered.renderer import Renderer

NAME = "Asha of the river path"


@dataclass
class House:
    """The instance, its renderer, and a browser whose Django is a stand-in: whatever
    is not served from a file answers 299."""

    instance: Instance
    cache: FileCache = field(default_factory=FileCache)
    browser: Browser = field(default_factory=lambda: Browser(app=make_behind([])))

    def __post_init__(self) -> None:
        self.open_front()

    @property
    def renderer(self) -> Renderer:
        return self.instance.engine.renderer

    def open_front(self) -> None:
        """Put the front before the engine as it runs now, with nothing in memory."""
        engine = self.instance.engine
        self.cache = FileCache()
        self.browser.app = HotApp(
            services=engine.services,
            files=Files(
                public=self.instance.environment.public,
                static=[STATIC],
                cache=self.cache,
            ),
            behind=make_behind(self.browser.passed_on),
            pages=Pages(renderer=self.renderer, store=engine.pages, cache=self.cache),
        )

    def get(self, path: str, **headers: str) -> Answer:
        return self.browser.get(path, **headers)

    def get_packed(self, path: str) -> Answer:
        return self.get(path, accept_encoding="gzip, deflate, br")

    def publish(self, campaign: Campaign) -> None:
        """Publish what is pooled, and make the pages again."""
        self.instance.publish(campaign)
        assert self.renderer.catch_up()

    def read_everything(self, path: str) -> list[bytes]:
        """Return a page as each reader gets it, unpacked."""
        packed = self.get_packed(path)
        body = packed.body
        if packed.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return [self.get(path).body, body]

    def read_disk(self) -> bytes:
        """Return every byte below ``pages/``, what is packed also unpacked."""
        found = [p for p in self.instance.engine.pages.root.rglob("*") if p.is_file()]
        raw = [path.read_bytes() for path in found]
        return b"".join(
            [*raw, *(gzip.decompress(r) for r in raw if r[:2] == b"\x1f\x8b")]
        )


@pytest.fixture
def house(instance: Instance) -> House:
    """The instance; its renderer works when it is told to."""
    return House(instance)


@pytest.fixture
def working(house: House) -> Iterator[House]:
    """The same with the renderer's thread running, as in the server."""
    house.renderer.start()
    yield house
    house.renderer.stop()


@pytest.fixture
def campaign(instance: Instance, house: House) -> Campaign:
    """A campaign that shows one name, with all of its pages made."""
    found = instance.open_campaign(id="soil", show_names=True)
    instance.sign(found, shown=show(name=NAME))
    house.publish(found)
    return found


class PagesDatabase:
    """The pages database, which can be taken away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def stop(self) -> None:
        """Let every statement fail, whoever sends it."""

        def refuse(*_arguments: Any, **_options: Any) -> None:
            raise OperationalError("the pages database was taken away")

        self._patch.setattr(CursorWrapper, "execute", refuse)
        self._patch.setattr(CursorWrapper, "executemany", refuse)

    def start(self) -> None:
        """Let them pass again."""
        self._patch.undo()


@pytest.fixture
def pages_database() -> Iterator[PagesDatabase]:
    """The database, and back where it was after the test."""
    with pytest.MonkeyPatch.context() as patch:
        yield PagesDatabase(patch)


def gather(house: House, paths: list[str]) -> list[Answer]:
    """Send many requests at the same moment."""

    async def send_all() -> list[Answer]:
        ways = [asyncio.to_thread(house.get, path) for path in paths]
        return list(await asyncio.gather(*ways))

    return asyncio.run(send_all())
