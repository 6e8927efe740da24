"""Public pages from files: what Django would say, to everybody, and never too late."""

from __future__ import annotations

import gzip
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.urls import NoReverseMatch, get_resolver, reverse
from django.utils import translation

from tests.factories.campaigns import TITLE
from tests.factories.cast import OMAR_ACTS
from tests.factories.friends import Friend, publish_policy
from tests.factories.signers import show
from tests.web.conftest import Reader, text_of
from tests.web.rendered.conftest import NAME, House, PagesDatabase, gather
from undersigned.campaigns.data import Campaign
from undersigned.campaigns.operations import begin_closing
from undersigned.kernel.actor import OPERATOR
from undersigned.ledger.operations import show_spine
from undersigned.signatures.operations.withdraw import (
    erase_shown,
    erase_shown_by_operator,
    release_comment,
    withdraw_signature,
)
from undersigned.web.rendered.data import MadePage

CAMPAIGN = "/en/c/soil/"
NAMES = "/en/c/soil/names/"
# What a reader may say of encodings, and whether gzip is one that it takes.
ENCODINGS = {
    "gzip": True,
    "GZIP": True,
    "br, gzip;q=0.5": True,
    "*": True,
    "identity, *;q=0.1": True,
    "gzip;q=0.001": True,
    "gzip;q=0": False,
    "gzip; q=0.000": False,
    "gzip;q=0, *": False,
    "*;q=0": False,
    "*;q=0, gzip": True,
    "br": False,
    "": False,
    ",;,=": False,
    "gzip" * 1000: False,
    "br, " * 2000 + "gzip": False,
}
# Addresses that are no page of the list.
OTHERS = [
    "/",
    "/en",
    "/en/c/soil",
    "/en/c/soil/index.html",
    "/en/c/soil/index.html.gz",
    "/en/c/soil/sign/",
    "/en/c/soil/names/?after=00",
    "/en/?x=1",
    "/EN/c/soil/",
    "/en//c/soil/",
    "/en/../secrets/",
    "/en/../../secrets/seal.json",
    "/en/c/soil/../../../../app.sqlite3",
    "/en/c/soil/\0/",
    "/../pages/en/index.html",
    "/pages/en/",
    "/de/c/soil/",
    "/en/c/draft/",
]


class TestWhatIsKept:
    def test_it_is_what_django_answers_byte_for_byte(
        self, house: House, campaign: Campaign, reader: Reader
    ) -> None:
        assert len(house.renderer.pages) >= 2 * 10
        for address in house.renderer.pages:
            live = reader.opens(address)
            headers = {name.lower(): value for name, value in live.items()}
            found = house.get(address)
            assert (found.status, found.body) == (200, live.content), address
            assert len(found.headers.pop("etag")) == 34
            assert found.headers == headers, address
            packed = house.get_packed(address)
            assert gzip.decompress(packed.body) == live.content
            assert packed.headers["content-encoding"] == "gzip"
        assert house.browser.passed_on == []

    def test_it_is_every_page_that_anybody_may_keep_and_no_other(
        self, house: House, campaign: Campaign, reader: Reader
    ) -> None:
        names = [key for key in get_resolver().reverse_dict if isinstance(key, str)]
        assert "campaign" in names
        for name in names:
            with translation.override("en"):
                try:
                    address = reverse(name)
                except NoReverseMatch:
                    address = reverse(name, args=["soil"])
            cache = reader.opens(address).get("Cache-Control", "")
            assert ("public" in cache) is (address in house.renderer.pages), name

    def test_it_is_the_same_for_everybody(
        self, house: House, campaign: Campaign, reader: Reader
    ) -> None:
        for address, page in house.renderer.pages.items():
            answers = {
                reader.opens(address, accept_language=wanted, user_agent=agent).content
                for wanted, agent in [("zh-CN", "one"), ("en", "two"), ("", "")]
            }
            assert len(answers) == 1
            assert f"/{page.language}/" in address

    def test_an_answer_that_is_not_for_everybody_is_not(
        self, house: House, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = house.renderer._make
        for change in (
            {"set-cookie": "a=b"},
            {"cache-control": "no-store"},
            {"vary": "Cookie"},
            {"content-type": "application/json"},
        ):

            def spoil(address: str, change: dict[str, str] = change) -> MadePage:
                made = make(address)
                return MadePage(made.status, {**made.headers, **change}, made.body)

            monkeypatch.setattr(house.renderer, "_make", spoil)
            house.renderer._marks = None
            house.renderer._made.clear()
            house.renderer.catch_up()
            assert {
                each
                for each in house.renderer.store.list_addresses()
                if not each.startswith("/static/")
            } == set()

    def test_the_sites_own_files_lie_beside_it(
        self, house: House, campaign: Campaign
    ) -> None:
        store = house.instance.engine.pages
        kept = store.find_file("/static/look.css").read_bytes()
        assert kept == house.get("/static/look.css").body


class TestAReader:
    def test_is_told_when_nothing_has_changed(
        self, house: House, campaign: Campaign
    ) -> None:
        for encoding in ("identity", "gzip"):
            found = house.get(CAMPAIGN, accept_encoding=encoding)
            tag = found.headers["etag"]
            for condition in (tag, f"W/{tag}", f'"x", {tag}', "*"):
                again = house.get(
                    CAMPAIGN, accept_encoding=encoding, if_none_match=condition
                )
                assert (again.status, again.body) == (304, b"")
                assert again.headers["etag"] == tag
                assert again.headers["cache-control"] == found.headers["cache-control"]
                assert again.headers["vary"] == "Accept-Encoding"
            other = house.get(CAMPAIGN, accept_encoding=encoding, if_none_match='"x"')
            assert other == found

    def test_is_never_told_so_of_the_other_form(
        self, house: House, campaign: Campaign
    ) -> None:
        packed, plain = house.get_packed(CAMPAIGN), house.get(CAMPAIGN)
        assert packed.headers["etag"] != plain.headers["etag"]
        tag = packed.headers["etag"]
        assert house.get(CAMPAIGN, if_none_match=tag).status == 200

    def test_can_ask_for_the_head_alone(self, house: House, campaign: Campaign) -> None:
        whole = house.get(CAMPAIGN)
        head = house.browser.send("HEAD", CAMPAIGN)
        assert (head.status, head.headers, head.body) == (200, whole.headers, b"")

    def test_gets_the_form_that_was_asked_for(
        self, house: House, campaign: Campaign
    ) -> None:
        for encodings, packed in ENCODINGS.items():
            found = house.get(CAMPAIGN, accept_encoding=encodings)
            assert found.status == 200
            assert ("content-encoding" in found.headers) is packed, encodings

    def test_may_send_a_very_long_list(self, house: House, campaign: Campaign) -> None:
        tags = ", ".join(f'"{number:032x}"' for number in range(900))
        assert house.get(CAMPAIGN, if_none_match=tags).status == 200
        tag = house.get(CAMPAIGN).headers["etag"]
        assert house.get(CAMPAIGN, if_none_match=f"{tags}, {tag}").status == 304

    def test_of_anything_else_is_djangos(
        self, house: House, campaign: Campaign
    ) -> None:
        for path in OTHERS:
            assert house.get(path).status == 299, path

    def test_who_sends_a_form_is_djangos(
        self, house: House, campaign: Campaign
    ) -> None:
        assert house.browser.post(CAMPAIGN, b"x").status == 299

    def test_a_flood_of_addresses_fills_neither_memory_nor_disk(
        self, working: House, campaign: Campaign
    ) -> None:
        kept, known = working.renderer.store.list_addresses(), working.renderer.pages
        held = working.cache.held_bytes
        for number in range(150):
            for path in (
                f"/en/c/soil/?x={number}",
                f"/en/c/c{number}/",
                f"/en/{number}/",
                f"/xx{number}/",
                f"/c/c{number}/count.json",
                f"/c/soil/tile/0/{number + 100}",
                f"/static/{number}.css",
            ):
                assert working.get(path).status in (299, 404)
        assert working.renderer.store.list_addresses() == kept
        assert working.renderer.pages == known
        assert working.cache.held_bytes == held


class TestAPageChanges:
    def test_with_a_new_checkpoint(self, house: House, campaign: Campaign) -> None:
        before, front = house.get(CAMPAIGN), house.get("/en/").body
        house.instance.sign(campaign, "vic@example.org")
        assert house.get(CAMPAIGN) == before
        house.publish(campaign)
        after = house.get(CAMPAIGN)
        assert b"2</strong>" in after.body
        assert after.headers["etag"] != before.headers["etag"]
        tag = before.headers["etag"]
        assert house.get(CAMPAIGN, if_none_match=tag) == after
        assert gzip.decompress(house.get_packed(CAMPAIGN).body) == after.body
        assert house.get("/en/").body != front

    def test_and_no_other_is_made_again(
        self, house: House, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = house.instance.open_campaign(id="other")
        house.renderer.catch_up()
        asked = count_asked(house, monkeypatch)
        house.renderer.catch_up()
        assert asked == []
        house.instance.sign(other)
        house.publish(other)
        assert "/en/c/other/" in asked
        assert "/en/" in asked
        assert not [each for each in asked if "/c/soil/" in each or "privacy" in each]

    def test_when_the_spine_or_a_witness_has_more_to_say(
        self, house: House, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger = house.instance.engine.services.ledger
        asked: list[bytes] = []

        def ask(note: bytes) -> bool:
            asked.append(note)
            return True

        ledger.spine.on_checkpoint = ask
        house.instance.sign(campaign, "vic@example.org")
        house.instance.publish_anyway(campaign)
        house.renderer.catch_up()
        # The count is there; the spine is shown once its witnesses have been asked.
        assert b"This count is held by" not in house.get(CAMPAIGN).body
        omar = Friend("omar")
        publish_policy(house.instance, omar)
        show_spine(ledger=ledger, size=ledger.spine.size, cosignatures=[])
        house.renderer.catch_up()
        assert b"This count is held by" in house.get(CAMPAIGN).body
        assert b"has not cosigned it" in house.get(CAMPAIGN).body
        made = count_asked(house, monkeypatch)
        omar.cosigns(house.instance, asked[-1])
        house.renderer.catch_up()
        assert b"It is cosigned by the one witness" in house.get(CAMPAIGN).body
        assert {address.partition("/c/")[2] for address in made} == {"soil/"}

    def test_when_a_campaign_opens(self, house: House, campaign: Campaign) -> None:
        house.instance.create(id="later", title="Mend the bridge")
        house.renderer.catch_up()
        assert b"Mend the bridge" not in house.get("/en/").body
        assert house.get("/en/c/later/").status == 299
        house.instance.open_campaign(id="second", title="Dig the well")
        house.renderer.catch_up()
        assert b"Dig the well" in house.get("/zh-hans/").body
        assert house.get("/en/c/second/growth/").status == 200

    def test_when_its_campaign_closes(self, house: House, campaign: Campaign) -> None:
        begin_closing(
            actor=OMAR_ACTS,
            campaign_id=campaign.id,
            issuer=house.instance.engine.services.issuer,
            reason="done",
            at=house.instance.clock.now(),
        )
        house.renderer.catch_up()
        assert b"This campaign is closing" in house.get(CAMPAIGN).body
        for _day in range(4):
            house.instance.advance(timedelta(days=1))
        house.renderer.catch_up()
        assert b"This campaign is closed" in house.get(CAMPAIGN).body

    def test_when_its_closing_day_is_over(
        self, house: House, campaign: Campaign
    ) -> None:
        day = house.instance.clock.now().date()
        house.instance.open_campaign(id="short", closes_on=day)
        house.renderer.catch_up()
        assert b"takes signatures until" in house.get("/en/c/short/").body
        house.instance.advance(timedelta(days=1))
        house.renderer.catch_up()
        assert b"This campaign is closing" in house.get("/en/c/short/").body

    def test_when_a_comment_is_released(self, house: House, campaign: Campaign) -> None:
        signed = house.instance.sign(
            campaign, "vic@example.org", shown=show(name="Vic", comment="We drink it.")
        )
        house.publish(campaign)
        assert b"We drink it." not in house.get(NAMES).body
        at = house.instance.clock.now()
        release_comment(actor=OPERATOR, nonce=signed.nonce, at=at)
        house.renderer.catch_up()
        assert b"We drink it." in house.get(NAMES).body

    def test_when_records_come_after_their_checkpoint(
        self, house: House, campaign: Campaign, pages_database: PagesDatabase
    ) -> None:
        house.instance.sign(campaign, "vic@example.org", shown=show(name="Vic"))
        pages_database.stop()
        with pytest.raises(OperationalError):
            house.instance.publish(campaign)
        pages_database.start()
        house.renderer.catch_up()
        assert b"Vic" not in house.get(NAMES).body
        house.instance.advance(timedelta(minutes=1))
        house.renderer.catch_up()
        assert b"Vic" in house.get(NAMES).body


def count_asked(house: House, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with each page that Django is asked for."""
    make, asked = house.renderer._make, []

    def note(address: str) -> MadePage:
        asked.append(address)
        return make(address)

    monkeypatch.setattr(house.renderer, "_make", note)
    return asked


class TestWhatIsErased:
    @pytest.fixture
    def signed(self, house: House, campaign: Campaign) -> tuple[bytes, bytes]:
        """Nonce and w of a signature whose name every copy shows."""
        found = house.instance.sign(
            campaign, "vic@example.org", shown=show(name="Vic of the well")
        )
        house.publish(campaign)
        for body in house.read_everything(NAMES):
            assert b"Vic of the well" in body
        house.get(CAMPAIGN)
        assert b"Vic of the well" in house.read_disk()
        return found.nonce, found.w

    def erase(self, house: House, campaign: Campaign, nonce: bytes, w: bytes) -> None:
        book = house.instance.engine.services.book
        entry = house.instance.entry(campaign)
        erase_shown(book=book, book_entry=entry, nonce=nonce, w=w)

    def erase_and_leave(self, *arguments: Any) -> None:
        # As at the end of a request: a thread's connection is its own.
        try:
            self.erase(*arguments)
        finally:
            connection.close()

    @pytest.mark.parametrize("by", ["signer", "withdrawal", "operator"])
    def test_is_gone_from_every_copy_at_once(
        self, house: House, campaign: Campaign, signed: tuple[bytes, bytes], by: str
    ) -> None:
        nonce, w = signed
        instance = house.instance
        if by == "signer":
            self.erase(house, campaign, nonce, w)
        elif by == "operator":
            erase_shown_by_operator(
                actor=OPERATOR,
                book=instance.engine.services.book,
                nonce=nonce,
                at=instance.clock.now(),
            )
        else:
            withdraw_signature(
                book=instance.engine.services.book,
                book_entry=instance.entry(campaign),
                nonce=nonce,
                w=w,
            )
        assert b"Vic of the well" not in house.read_disk()
        held = [stored.body["body"] for stored in house.cache._stored.values()]
        assert held
        for body in held:
            plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
            assert b"Vic of the well" not in plain
        house.renderer.catch_up()
        for body in house.read_everything(NAMES):
            assert b"Vic of the well" not in body
            assert NAME.encode() in body

    def test_leaves_nothing_in_the_blocks_of_the_file(
        self, house: House, campaign: Campaign, signed: tuple[bytes, bytes]
    ) -> None:
        path = house.instance.engine.pages.find_file(NAMES)
        with path.open("rb") as old:
            self.erase(house, campaign, *signed)
            assert set(old.read()) == {0}

    def test_stays_away_when_a_page_was_being_made(
        self,
        house: House,
        campaign: Campaign,
        signed: tuple[bytes, bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        make = house.renderer._make
        begun: list[MadePage] = []

        def erase_meanwhile(address: str) -> MadePage:
            made = make(address)
            if address == NAMES and not begun:
                begun.append(made)
                eraser = threading.Thread(
                    target=self.erase_and_leave, args=(house, campaign, *signed)
                )
                eraser.start()
                eraser.join(30)
            return made

        monkeypatch.setattr(house.renderer, "_make", erase_meanwhile)
        house.renderer.note_shown()
        house.renderer.catch_up()
        assert b"Vic of the well" in begun[0].body
        assert b"Vic of the well" not in house.read_disk()
        assert b"Vic of the well" not in house.get(NAMES).body

    def test_is_gone_though_the_pages_database_is_away(
        self,
        house: House,
        campaign: Campaign,
        signed: tuple[bytes, bytes],
        pages_database: PagesDatabase,
    ) -> None:
        pages_database.stop()
        self.erase(house, campaign, *signed)
        assert b"Vic of the well" not in house.read_disk()
        pages_database.start()
        house.instance.advance(timedelta(minutes=1))
        house.renderer.catch_up()
        assert b"Vic of the well" not in house.read_disk()
        assert NAME.encode() in house.get(NAMES).body

    def test_is_gone_after_a_start_that_finds_it(
        self, house: House, campaign: Campaign, signed: tuple[bytes, bytes]
    ) -> None:
        """As after a crash between the database and the files."""
        path = house.instance.engine.pages.find_file(NAMES)
        old = path.read_bytes()
        self.erase(house, campaign, *signed)
        house.instance.engine.pages.put(NAMES, old)
        house.instance.restart()
        house.renderer.start()
        house.renderer.stop()
        assert b"Vic of the well" not in house.read_disk()

    def test_no_cache_may_show_it_unasked(
        self, house: House, campaign: Campaign
    ) -> None:
        assert house.get(NAMES).headers["cache-control"] == "public, no-cache"
        assert house.get(NAMES).headers["x-robots-tag"] == "noindex"


class TestWithoutThePagesDatabase:
    def test_readers_go_on_reading(
        self, working: House, campaign: Campaign, pages_database: PagesDatabase
    ) -> None:
        before = {path: working.get(path) for path in working.renderer.pages}
        working.instance.sign(campaign, "vic@example.org")
        pages_database.stop()
        with pytest.raises(OperationalError):
            working.instance.publish(campaign)
        with pytest.raises(OperationalError):
            working.renderer.catch_up()
        after = {path: working.get(path) for path in before}
        assert after == before
        # The log's own files owe that database nothing.
        assert working.get(f"/{campaign.path}/count.json").json()["net"] == 2
        pages_database.start()
        assert working.renderer.catch_up()
        assert b"2</strong>" in working.get(CAMPAIGN).body

    def test_a_page_that_is_missing_is_left_to_django(
        self, working: House, campaign: Campaign, pages_database: PagesDatabase
    ) -> None:
        working.renderer.store.remove(CAMPAIGN)
        pages_database.stop()
        assert working.get(CAMPAIGN).status == 299
        pages_database.start()
        assert working.get(CAMPAIGN).status == 200


class TestAMissingPage:
    def test_is_made_once_for_all_who_wait(
        self, working: House, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Until it has made everything once it would make this one, too.
        assert working.renderer.catch_up()
        asked = count_asked(working, monkeypatch)
        working.renderer.store.remove(CAMPAIGN)
        answers = gather(working, [CAMPAIGN] * 12)
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert len(asked) < 6

    def test_half_a_file_is_none(self, working: House, campaign: Campaign) -> None:
        whole = working.get(CAMPAIGN)
        path = working.instance.engine.pages.find_file(CAMPAIGN)
        found = path.stat()
        path.write_bytes(whole.body[:100])
        os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))
        assert working.get(CAMPAIGN) == whole
        assert path.read_bytes() == whole.body


class TestAStart:
    def test_finds_the_pages_and_removes_what_is_none(
        self, house: House, campaign: Campaign, reader: Reader
    ) -> None:
        store = house.instance.engine.pages
        store.put("/en/c/gone/", b"a campaign of another life")
        aside = store.root / "en" / ".index.html.new"
        aside.write_bytes(b"half a page")
        house.instance.restart()
        store = house.instance.engine.pages
        store.clean()
        assert not aside.exists()
        house.open_front()
        assert house.renderer.catch_up()
        assert house.get("/en/c/gone/").status == 299
        assert "/en/c/gone/" not in store.list_addresses()
        live = Reader(house.instance).opens(CAMPAIGN)
        assert house.get(CAMPAIGN).body == live.content
        assert TITLE in text_of(live)


class TestItsFiles:
    def test_tell_no_time_but_a_ticks(self, house: House, campaign: Campaign) -> None:
        root = house.instance.engine.pages.root
        stamps = {path: path.stat().st_mtime_ns for path in files_of(house)}
        # Of the content, not of any clock.
        house.renderer.store.remove(CAMPAIGN)
        house.renderer._made.clear()
        house.renderer._marks = None
        house.renderer.catch_up()
        assert {path: path.stat().st_mtime_ns for path in files_of(house)} == stamps
        for folder in (root, *(p for p in root.rglob("*") if p.is_dir())):
            os.utime(folder, (1, 1))
        noted = {path: path.stat().st_ctime_ns for path in files_of(house)}
        house.instance.sign(campaign, "vic@example.org")
        house.instance.publish(campaign)
        for path in (root, *root.rglob("*")):
            if path.is_dir():
                assert path.stat().st_mtime > 1e9
            else:
                assert path.stat().st_mtime_ns == stamps[path]
                assert path.stat().st_ctime_ns > noted[path]

    def test_can_be_read_by_a_web_server(
        self, house: House, campaign: Campaign
    ) -> None:
        root = house.instance.engine.pages.root
        for path in (root, *root.rglob("*")):
            assert path.stat().st_mode & 0o004
        assert house.instance.data.stat().st_mode & 0o077 == 0


def files_of(house: House) -> list[Path]:
    root = house.instance.engine.pages.root
    return [path for path in root.rglob("*") if path.is_file()]
