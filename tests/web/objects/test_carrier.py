"""What is put into an object store: all, in an order that never shows too much."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify import tile
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note

from tests.factories.objects import NotingStore
from tests.factories.signers import show
from tests.web.objects.conftest import NAME, NAMES, Port
from undersigned.campaigns.data import Campaign
from undersigned.signatures.operations.withdraw import erase_shown
from undersigned.web.objects.carrier import StoreNotOurs
from undersigned.web.objects.layout import (
    MARK,
    address_of_key,
    is_page_key,
    key_of_page,
    list_partials,
    list_tiles,
)
from undersigned.web.objects.store import StoreAway
from undersigned.web.shared.headers import ERASABLE, READING, STANDING
from undersigned.web.shared.public_files import FOR_EVER, FRESH, is_log_file

SIZES = st.integers(0, 3 * 256 * 256)


def size_of(data: bytes) -> int:
    """Return the size that a checkpoint names."""
    return Checkpoint.parse(parse_note(data).text).size


def contents(store: NotingStore) -> dict[str, bytes]:
    """Return everything in the store but the mark."""
    return {key: data for key, (data, _h) in store.objects.items() if key != MARK}


class TestWhatIsPut:
    def test_it_is_every_public_file_and_page_byte_for_byte(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.carry()
        assert contents(store) == port.expected()
        assert set(store.objects) >= {
            "c/soil/checkpoint",
            "c/soil/count.json",
            "c/soil/growth.csv",
            "c/soil/log.vkey",
            "c/soil/statement",
            "c/soil/tile/entries/000.p/3",
            "spine/checkpoint",
            "en/index.html",
            "zh-hans/c/soil/index.html",
            "static/look.css",
            NAMES,
        }

    def test_it_follows_publication_after_publication(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.carry()
        for crowd in (1, 300, 7):
            port.instance.sign_many(campaign, crowd, who=f"crowd {crowd}")
            port.publish(campaign)
            port.carry()
            here = port.expected()
            there = contents(store)
            # Partial tiles of the state before are there, for who is still reading.
            assert there.keys() - here.keys() <= {key for key in there if ".p/" in key}
            assert {key: there[key] for key in here} == here
        store.acts.clear()
        port.carry()
        assert store.acts == []

    def test_each_has_its_type_and_says_who_may_keep_it(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.carry()
        headers = {key: dict(found) for key, (_d, found) in store.objects.items()}
        page = {"Content-Type": "text/html; charset=utf-8"}
        assert headers["en/c/soil/index.html"] == {
            **page,
            "Content-Language": "en",
            "Cache-Control": READING,
        }
        assert headers["zh-hans/promises/index.html"] == {
            **page,
            "Content-Language": "zh-hans",
            "Cache-Control": STANDING,
        }
        assert headers[NAMES]["Cache-Control"] == ERASABLE
        for key, cache in {
            "c/soil/checkpoint": FRESH,
            "c/soil/count.json": FRESH,
            "c/soil/growth.csv": FRESH,
            "c/soil/checkpoints/3": FOR_EVER,
            "c/soil/tile/0/000.p/3": FOR_EVER,
            "spine/checkpoint": FRESH,
        }.items():
            assert headers[key]["Cache-Control"] == cache, key
        assert headers["c/soil/count.json"]["Content-Type"] == "application/json"
        assert headers["static/look.css"]["Content-Type"] == "text/css; charset=utf-8"

    def test_a_witness_speaking_late_is_heard(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.carry()
        public = port.instance.environment.public
        size = size_of((public / "spine" / "checkpoint").read_bytes())
        kept = public / "spine" / "checkpoints" / str(size)
        longer = kept.read_bytes() + "— friend.example/witness AAAAAAAA\n".encode()
        for path in (kept.with_name("x"), public / "spine" / "x"):
            path.write_bytes(longer)
        kept.with_name("x").replace(kept)
        (public / "spine" / "x").replace(public / "spine" / "checkpoint")
        port.carry()
        assert store.objects[f"spine/checkpoints/{size}"][0] == longer
        assert store.objects["spine/checkpoint"][0] == longer


class TestTheOrder:
    def test_whatever_was_put_last_what_is_there_is_a_whole_state(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        """Cut off after each single act, and looked at as a reader does."""

        def look(_verb: str, _key: str) -> None:
            require_whole(store, "c/soil")
            require_whole(store, "spine")
            note = store.objects.get("c/soil/checkpoint")
            count = store.objects.get("c/soil/count.json")
            if count is not None:
                assert note is not None
                assert json.loads(count[0])["tree_size"] <= size_of(note[0])

        store.trouble = look
        port.carry()
        for crowd in (2, 270, 1):
            port.instance.sign_many(campaign, crowd, who=f"crowd {crowd}")
            port.publish(campaign)
            port.carry()
        look("", "")
        assert size_of(store.objects["c/soil/checkpoint"][0]) == 276

    def test_pages_come_after_the_count_that_they_show(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.carry()
        port.instance.sign_many(campaign, 3)
        port.publish(campaign)
        store.acts.clear()
        port.carry()
        puts = store.puts()
        assert puts.index("c/soil/checkpoint") < puts.index("c/soil/count.json")
        assert puts.index("c/soil/count.json") < puts.index("en/c/soil/index.html")

    def test_nothing_leaves_before_the_commit(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.carry()
        instance = port.instance
        steps: list[str] = []

        def at_step(name: str) -> None:
            if name in ("append", "before-commit", "after-commit", "after-mark"):
                steps.append(name)
                port.carrier.catch_up()
                puts.extend(key for key in store.puts() if "soil" in key)

        puts: list[str] = []
        instance.stop()
        instance.start(at_step)
        port.open_carrier()
        port.carry()
        store.acts.clear()
        instance.sign_many(campaign, 4)
        port.publish(campaign)
        assert steps == ["append", "before-commit", "after-commit", "after-mark"]
        assert puts == []
        port.carry()
        assert "c/soil/checkpoint" in store.puts()


def require_whole(store: NotingStore, path: str) -> None:
    """Every tile that the newest checkpoint needs is there, and its kept twin."""
    found = store.objects.get(f"{path}/checkpoint")
    if found is not None:
        size = size_of(found[0])
        for name in (*list_tiles(size), f"checkpoints/{size}"):
            assert f"{path}/{name}" in store.objects, name


class TestErasing:
    def test_a_page_is_deleted_before_anything_else_is_done(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        signed = port.instance.sign(
            campaign, "vic@example.org", shown=show(name="Vic of the ford")
        )
        port.publish(campaign)
        port.carry()
        assert b"Vic of the ford" in store.objects[NAMES][0]
        store.acts.clear()
        erase(port, campaign, signed.nonce, signed.w)
        port.carrier.catch_up()
        first = store.acts[: store.acts.index(("delete", NAMES)) + 1]
        assert {verb for verb, _key in first} == {"delete"}
        assert not [key for key in store.objects if "/names/" in key]

    def test_it_comes_back_without_the_name_and_with_a_full_minute(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        signed = port.instance.sign(
            campaign, "vic@example.org", shown=show(name="Vic of the ford")
        )
        port.publish(campaign)
        port.carry()
        erase(port, campaign, signed.nonce, signed.w)
        assert port.instance.engine.renderer.catch_up()
        for second in range(59):
            port.wall += 1 if second else 0
            port.carrier.catch_up()
            assert NAMES not in store.objects
        port.wall += 2
        port.carrier.catch_up()
        assert NAME.encode() in store.objects[NAMES][0]
        assert b"Vic of the ford" not in store.objects[NAMES][0]

    def test_what_was_erased_while_nobody_answered_is_gone_first(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        signed = port.instance.sign(
            campaign, "vic@example.org", shown=show(name="Vic of the ford")
        )
        port.publish(campaign)
        port.carry()
        store.be_away()
        erase(port, campaign, signed.nonce, signed.w)
        assert port.instance.engine.renderer.catch_up()
        assert not port.carrier.try_to_catch_up()
        # The process ends, and another begins, that knows of no erasure.
        port.open_carrier()
        store.come_back()
        store.acts.clear()
        port.carry()
        changing = [act for act in store.acts if act[0] in ("put", "delete")]
        first = changing[: changing.index(("delete", NAMES)) + 1]
        assert {verb for verb, _key in first} == {"delete"}
        assert b"Vic of the ford" not in store.objects[NAMES][0]

    def test_a_page_that_is_none_any_more_is_deleted(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.carry()
        store.objects["en/c/gone/index.html"] = (b"of another time", {})
        store.objects["static/gone.css"] = (b"of another time", {})
        store.objects["robots.txt"] = (b"the operator's own", {})
        store.objects["elsewhere/x.html"] = (b"the operator's own", {})
        port.open_carrier()
        port.carry()
        assert "en/c/gone/index.html" not in store.objects
        assert "static/gone.css" not in store.objects
        assert "robots.txt" in store.objects
        assert "elsewhere/x.html" in store.objects


def erase(port: Port, campaign: Campaign, nonce: bytes, w: bytes) -> None:
    """Erase what a signer shows, as they do themselves."""
    erase_shown(
        book=port.instance.engine.services.book,
        book_entry=port.instance.entry(campaign),
        nonce=nonce,
        w=w,
    )


class TestTheFirstLook:
    def test_nothing_is_put_twice(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.instance.sign_many(campaign, 300)
        port.publish(campaign)
        port.carry()
        store.acts.clear()
        port.open_carrier()
        port.carry()
        # Small files that may have changed are put again; tiles and pages are not.
        assert {key for key in store.puts() if "tile" in key or ".html" in key} == set()

    def test_what_is_missing_is_put(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.instance.sign_many(campaign, 300)
        port.publish(campaign)
        port.carry()
        for key in ("c/soil/tile/entries/000", "c/soil/checkpoints/3", "en/index.html"):
            del store.objects[key]
        short, headers = store.objects["c/soil/tile/0/000"]
        store.objects["c/soil/tile/0/000"] = (short[:-32], headers)
        port.open_carrier()
        port.carry()
        here = port.expected()
        assert {key: contents(store)[key] for key in here} == here

    def test_a_store_cut_off_in_the_middle_is_filled(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.instance.sign_many(campaign, 300)
        port.publish(campaign)
        for allowed in range(1, 200, 9):
            left = iter(range(allowed))

            def trouble(_verb: str, _key: str, left: Iterator[int] = left) -> None:
                if next(left, None) is None:
                    raise StoreAway("nobody answers")

            store.trouble = trouble
            port.wall += 60
            port.carrier.try_to_catch_up()
            store.come_back()
            require_whole(store, "c/soil")
        port.carry()
        assert contents(store) == port.expected()

    def test_a_store_of_somebody_else_is_left_alone(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        store.objects["holiday.jpg"] = (b"beach", {})
        with pytest.raises(StoreNotOurs, match="not empty"):
            port.carry()
        store.objects[MARK] = (b"Public files of other.example, put here", {})
        with pytest.raises(StoreNotOurs, match="another instance"):
            port.carry()
        assert set(store.objects) == {"holiday.jpg", MARK}

    def test_a_store_that_is_ahead_is_not_taken_back(
        self,
        port: Port,
        store: NotingStore,
        campaign: Campaign,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The database was put back from a copy, and the store has seen more."""
        public = port.instance.environment.public
        shutil.copytree(public, public.with_name("older"))
        port.instance.sign_many(campaign, 5)
        port.publish(campaign)
        port.carry()
        newest = store.objects["c/soil/checkpoint"][0]
        shutil.rmtree(public)
        public.with_name("older").rename(public)
        port.open_carrier()
        store.acts.clear()
        port.carry()
        port.carry()
        assert store.objects["c/soil/checkpoint"][0] == newest
        assert not [key for key in store.puts() if key.startswith("c/soil/")]
        said = [r for r in caplog.records if "c/soil is not carried" in r.getMessage()]
        assert len(said) == 1

    def test_another_history_is_not_written_over(
        self, port: Port, store: NotingStore, campaign: Campaign
    ) -> None:
        port.carry()
        note, headers = store.objects["c/soil/checkpoint"]
        other = re.sub(rb"(?m)^[A-Za-z0-9+/]{43}=$", b"A" * 43 + b"=", note, count=1)
        store.objects["c/soil/checkpoint"] = (other, headers)
        port.open_carrier()
        port.instance.sign_many(campaign, 5)
        port.publish(campaign)
        port.carry()
        assert store.objects["c/soil/checkpoint"][0] == other


class TestWhenTheStoreIsAway:
    def test_signing_and_publishing_go_on_and_it_is_said_once(
        self,
        port: Port,
        store: NotingStore,
        campaign: Campaign,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        port.carry()
        store.be_away()
        for number in range(3):
            port.instance.sign_many(campaign, 1, who=f"late {number}")
            port.publish(campaign)
            assert not port.carrier.try_to_catch_up()
        assert port.instance.net(campaign) == 4
        assert len([r for r in caplog.records if "falls behind" in r.getMessage()]) == 1
        store.come_back()
        port.wall += 60
        assert port.carrier.try_to_catch_up()
        assert size_of(store.objects["c/soil/checkpoint"][0]) == 6
        here = port.expected()
        assert {key: contents(store)[key] for key in here} == here

    def test_the_thread_asks_later_and_later(
        self, port: Port, store: NotingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rests: list[float] = []
        stopping = port.carrier._stopping

        def wait(seconds: float | None = None) -> bool:
            rests.append(seconds or 0.0)
            if len(rests) == 9:
                stopping.set()
            return stopping.is_set()

        store.be_away()
        # The thread's clock, and its own loop.
        monkeypatch.setattr(stopping, "wait", wait)
        port.carrier._run()
        assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]


class TestTheLayout:
    @given(size=SIZES, after=SIZES)
    def test_tiles_after_are_those_that_were_not_there_before(
        self, size: int, after: int
    ) -> None:
        after = min(size, after)
        whole, before = set(list_tiles(size)), set(list_tiles(after))
        fresh = list(list_tiles(size, after=after))
        assert len(fresh) == len(set(fresh))
        assert set(fresh) == whole - before

    @given(size=SIZES)
    def test_they_are_the_verifiers(self, size: int) -> None:
        expected = {tile.tile_path(*place) for place in tile.tiles_of(size)}
        expected |= {
            tile.tile_path("entries", n, width) for n, width in tile.bundles_of(size)
        }
        found = set(list_tiles(size))
        assert found == expected
        assert list_partials(size) == {name for name in found if ".p/" in name}

    @given(address=st.from_regex(r"/[a-z]{2}/([a-z0-9-]{1,9}/){0,3}", fullmatch=True))
    def test_a_page_has_one_key_and_a_key_one_page(self, address: str) -> None:
        key = key_of_page(address)
        assert address_of_key(key) == address
        assert is_page_key(key) != (address.startswith(("/c/",)))
        assert not is_log_file(key)
