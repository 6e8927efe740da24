"""An instance, its pages, and what carries both to an object store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.factories.instances import Instance
from tests.factories.objects import NotingStore
from tests.factories.signers import show
from undersigned.campaigns.data import Campaign
from undersigned.web.objects.carrier import Carrier
from undersigned.web.objects.layout import (
    list_logs,
    list_partials,
    parse_checkpoint,
)
from undersigned.web.objects.store import ObjectStore
from undersigned.web.public.kept import shows_signers

NAME = "Asha of the river path"
NAMES = "en/c/soil/names/index.html"


@dataclass
class Port:
    """The instance and its carrier, which works when it is told to."""

    instance: Instance
    store: ObjectStore
    wall: float = 0.0
    # Where in the store it is, where it shares one.
    prefix: str = ""
    carrier: Carrier = field(init=False)

    def __post_init__(self) -> None:
        self.open_carrier()

    def open_carrier(self) -> Carrier:
        """Begin anew, as after a start: nothing is known of the store."""
        engine = self.instance.engine
        self.carrier = Carrier(
            self.store,
            host=self.instance.environment.host,
            public=self.instance.environment.public,
            pages=engine.pages,
            list_pages=lambda: engine.renderer.pages,
            shows_signers=shows_signers,
            wall=lambda: self.wall,
        )
        engine.pages.on_changed = self.carrier.note_page
        return self.carrier

    def publish(self, campaign: Campaign) -> None:
        """Publish what is pooled, and make the pages again; nothing is carried."""
        self.instance.publish(campaign)
        assert self.instance.engine.renderer.catch_up()

    def carry(self) -> None:
        """Carry everything, at the next full minute."""
        self.wall += 60
        self.carrier.catch_up()

    def expected(self) -> dict[str, bytes]:
        """Return what must be in the store: every public file and page that is here.

        But for the partial tiles of older states, which nobody needs any more.
        """
        found, public = {}, self.instance.environment.public
        needed = set()
        for path in list_logs(public):
            note = parse_checkpoint((public / path / "checkpoint").read_bytes())
            assert note is not None
            needed |= {f"{path}/{name}" for name in list_partials(note.size)}
        for root in (public, self.instance.engine.pages.root):
            for file in root.rglob("*"):
                if file.is_file() and file.suffix != ".gz":
                    found[str(file.relative_to(root))] = file.read_bytes()
        return {
            key: data
            for key, data in found.items()
            if ".p/" not in key or key in needed
        }


@pytest.fixture
def store() -> NotingStore:
    """A store that notes what is done to it."""
    return NotingStore()


@pytest.fixture
def port(instance: Instance, store: NotingStore) -> Iterator[Port]:
    """The instance, with a store that notes what is done to it."""
    port = Port(instance, store)
    yield port
    port.carrier.stop()


@pytest.fixture
def campaign(port: Port) -> Campaign:
    """A campaign that shows one name, published; nothing was carried yet."""
    found = port.instance.open_campaign(id="soil", show_names=True)
    port.instance.sign(found, shown=show(name=NAME))
    port.publish(found)
    return found
