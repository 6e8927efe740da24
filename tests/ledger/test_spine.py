"""The spine holds what every log has published, whatever came in between."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import entry, merkle, tile
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.cosignature import (
    cosignature_line,
    find_cosignature,
    witness_key,
)
from undersigned_verify.note import VerifierKey, parse_note

from tests.factories.ledgers import PowerCut, River, cut_at, require_accepted
from tests.factories.stores import FileHome
from undersigned.ledger.highwater import RolledBack
from undersigned.ledger.operations import (
    LeafRefused,
    LogNotClosed,
    advance_spine,
    begin_issuance_record,
    close_log,
    note_client,
    note_issued,
    retire_log,
    show_spine,
)

WITNESS = Ed25519PrivateKey.from_private_bytes(sha256(b"a friend").digest())
STEPS = [
    "spine-before-commit",
    "spine-after-commit",
    "spine-after-mark",
    "spine-after-export",
]


def read_spine(river: River) -> list[dict[str, Any]]:
    """Return the spine's leaves below its newest checkpoint, checked against it."""
    folder = river.folder / "public" / "spine"
    key = VerifierKey.parse((folder / "log.vkey").read_text().removesuffix("\n"))
    newest = open_checkpoint((folder / "checkpoint").read_bytes(), key)
    leaves: list[bytes] = []
    for n in range((newest.size + 255) // 256):
        width = min(256, newest.size - 256 * n)
        path = folder / tile.tile_path("entries", n, width)
        leaves += tile.parse_bundle(path.read_bytes())
    assert merkle.root_of([merkle.leaf_hash(leaf) for leaf in leaves]) == newest.root
    for kept in (folder / "checkpoints").iterdir():
        checkpoint = open_checkpoint(kept.read_bytes(), key)
        below = [merkle.leaf_hash(leaf) for leaf in leaves[: checkpoint.size]]
        assert merkle.root_of(below) == checkpoint.root
        assert kept.name == str(checkpoint.size)
    return [json.loads(leaf) for leaf in leaves]


def list_kinds(river: River) -> list[str]:
    return [leaf["kind"] for leaf in read_spine(river)]


def list_entered(river: River) -> list[tuple[int, str]]:
    """Return size and root of each checkpoint in the spine."""
    return [
        (leaf["size"], leaf["root"])
        for leaf in read_spine(river)
        if leaf["kind"] == "checkpoint"
    ]


def list_kept(river: River) -> list[tuple[int, str]]:
    """Return size and root of each kept checkpoint of the campaign's log."""
    texts = [
        parse_note(path.read_bytes()).text
        for path in (river.public / "checkpoints").iterdir()
    ]
    return sorted((one.size, one.root.hex()) for one in map(Checkpoint.parse, texts))


def tell_issued(river: River, total: int, *, final: bool = False) -> None:
    note_issued(
        ledger=river.ledger,
        origin=river.origin,
        totals={0: total},
        at=river.clock.now(),
        final=final,
    )
    advance_spine(ledger=river.ledger, at=river.clock.now())


class TestWhatIsEntered:
    def test_a_new_log_with_its_header_and_keys(self, river: River) -> None:
        campaign, *keys, checkpoint = read_spine(river)
        header = river.ledger.get_log(river.origin).read_leaf(0)
        assert campaign == {
            "kind": "campaign",
            "origin": river.origin,
            "header_sha256": sha256(header).hexdigest(),
        }
        assert {(key["key_index"], key["spki_sha256"]) for key in keys} == {
            (index, sha256(signer.spki).hexdigest())
            for index, signer in enumerate(river.signers)
        }
        assert {key["origin"] for key in keys} == {river.origin}
        assert checkpoint["size"] == 6

    def test_each_checkpoint_in_the_order_it_came(self, river: River) -> None:
        for count in (1, 3, 2):
            river.pool(count)
            river.publish()
        assert list_entered(river) == list_kept(river)
        assert [size for size, _root in list_entered(river)] == [6, 7, 10, 12]

    def test_nothing_where_nothing_was_published(self, river: River) -> None:
        before = read_spine(river)
        river.publish()
        advance_spine(ledger=river.ledger, at=river.clock.now())
        assert read_spine(river) == before

    def test_a_total_once_it_has_grown_by_fifty(self, river: River) -> None:
        for total in (49, 50, 99, 100):
            tell_issued(river, total)
        told = [leaf for leaf in read_spine(river) if leaf["kind"] == "issued"]
        assert [leaf["total"] for leaf in told] == [50, 100]
        assert {leaf["key_index"] for leaf in told} == {0}

    def test_any_growth_before_the_keys_are_destroyed(self, river: River) -> None:
        tell_issued(river, 51)
        tell_issued(river, 52, final=True)
        tell_issued(river, 52, final=True)
        told = [leaf for leaf in read_spine(river) if leaf["kind"] == "issued"]
        assert [leaf["total"] for leaf in told] == [51, 52]

    def test_a_lost_record_counts_on_from_what_is_certain(self, river: River) -> None:
        tell_issued(river, 60)
        river.pool(3)
        for _start in range(2):
            begin_issuance_record(
                ledger=river.ledger, origin=river.origin, at=river.clock.now()
            )
            river.restart()
        tell_issued(river, 49)
        tell_issued(river, 50)
        told = [leaf for leaf in read_spine(river) if leaf["kind"] == "issued"]
        assert [leaf["total"] for leaf in told] == [60, 110]

    def test_a_lost_record_that_told_less_counts_what_was_seen(
        self, river: River
    ) -> None:
        river.pool(2)
        river.publish()
        river.pool(1)
        begin_issuance_record(
            ledger=river.ledger, origin=river.origin, at=river.clock.now()
        )
        tell_issued(river, 1, final=True)
        told = [leaf for leaf in read_spine(river) if leaf["kind"] == "issued"]
        assert [leaf["total"] for leaf in told] == [3, 4]

    def test_the_signing_client_when_it_is_another_one(self, river: River) -> None:
        for digest in ("a" * 64, "a" * 64, "b" * 64, "b" * 64):
            note_client(ledger=river.ledger, sha256=digest, at=river.clock.now())
        river.restart()
        note_client(ledger=river.ledger, sha256="b" * 64, at=river.clock.now())
        told = [leaf for leaf in read_spine(river) if leaf["kind"] == "client"]
        assert [leaf["sha256"] for leaf in told] == ["a" * 64, "b" * 64]

    def test_the_end_of_a_log_once_somebody_ends_it(self, river: River) -> None:
        def end() -> None:
            retire_log(ledger=river.ledger, origin=river.origin, at=river.clock.now())

        river.pool(3)
        with pytest.raises(LogNotClosed):
            end()
        river.close()
        river.control(entry.PublicRecord("answer", "a" * 64))
        river.publish()
        assert list_entered(river) == list_kept(river)
        for _time in range(2):
            end()
            river.restart()
        assert list_kinds(river).count("retired") == 1
        assert list_kinds(river)[-1] == "retired"
        with pytest.raises(LeafRefused):
            river.control(entry.PublicRecord("answer", "b" * 64))
        require_accepted(river.audit())

    def test_a_close_is_not_the_end(self, river: River) -> None:
        river.pool(3)
        river.close()
        advance_spine(ledger=river.ledger, at=river.clock.now())
        assert list_entered(river) == list_kept(river)
        assert "retired" not in list_kinds(river)
        require_accepted(river.audit())


@pytest.mark.sqlite_file  # a server's ledger has had a spine from the first
class TestALedgerWithoutASpine:
    """As every instance was before there was one."""

    @pytest.fixture
    def older(self, river: River) -> River:
        for count in (2, 1):
            river.pool(count)
            river.publish()
        return river

    def forget_spine(self, river: River) -> None:
        river.stop()
        home = river.home
        assert isinstance(home, FileHome)
        for table in ("spine", "spine_checkpoint", "spine_issued", "spine_retired"):
            home.damage(f"DROP TABLE {table}")
        home.damage("DELETE FROM checkpoint WHERE log=0")
        home.damage("DELETE FROM tile WHERE log=0")
        marks = json.loads((river.folder / "highwater.json").read_bytes())
        del marks["undersigned.example/spine"]
        (river.folder / "highwater.json").write_text(json.dumps(marks))
        shutil.rmtree(river.folder / "public" / "spine")
        shutil.rmtree(river.folder / "secrets" / "spine")

    def test_all_it_ever_published_is_entered(self, older: River) -> None:
        self.forget_spine(older)
        older.start()
        older.pool(1)
        older.publish()
        assert list_entered(older) == list_kept(older)

    def test_of_a_closed_log_the_total_that_is_certain_is_told(
        self, older: River
    ) -> None:
        close_log(
            ledger=older.ledger,
            origin=older.origin,
            reason="organiser",
            at=older.clock.now(),
        )
        self.forget_spine(older)
        older.start()
        advance_spine(ledger=older.ledger, at=older.clock.now())
        told = [leaf for leaf in read_spine(older) if leaf["kind"] == "issued"]
        assert [(leaf["key_index"], leaf["total"]) for leaf in told] == [(0, 3)]
        require_accepted(older.audit())


@pytest.mark.parametrize("step", STEPS)
class TestAnEntryCutOff:
    def test_it_is_made_good_at_the_next_publication(
        self, river: River, step: str
    ) -> None:
        river.restart(cut_at(step))
        river.pool(2)
        with pytest.raises(PowerCut):
            river.publish()
        river.restart()
        river.publish()
        assert list_entered(river) == list_kept(river)
        assert [size for size, _root in list_entered(river)] == [6, 8]

    def test_it_never_takes_back_what_was_shown(self, river: River, step: str) -> None:
        shown = (river.folder / "public/spine/checkpoint").read_bytes()
        river.restart(cut_at(step))
        river.pool(2)
        with pytest.raises(PowerCut):
            river.publish()
        river.restart()
        before = read_spine(river)
        old = Checkpoint.parse(parse_note(shown).text)
        assert [leaf["kind"] for leaf in before[: old.size]] == [
            "campaign",
            *["key"] * 3,
            "checkpoint",
        ]
        river.publish()
        assert read_spine(river)[: len(before)] == before


class TestWitnesses:
    """A checkpoint may wait a moment for what witnesses say of it."""

    @pytest.fixture
    def asked(self, river: River) -> list[bytes]:
        """Checkpoints that somebody was told of, to ask witnesses."""
        asked: list[bytes] = []

        def take_up(note: bytes) -> bool:
            asked.append(note)
            return True

        river.ledger.spine.on_checkpoint = take_up
        return asked

    def shown_size(self, river: River) -> int:
        note = (river.folder / "public/spine/checkpoint").read_bytes()
        return Checkpoint.parse(parse_note(note).text).size

    def cosign(self, checkpoint: bytes, time: int = 1_795_953_600) -> str:
        return cosignature_line(
            parse_note(checkpoint).text,
            name="friend.example/witness",
            private=WITNESS,
            time=time,
        )

    def list_cosigned(self, river: River) -> list[str]:
        key = witness_key(
            "friend.example/witness", WITNESS.public_key().public_bytes_raw()
        )
        folder = river.folder / "public/spine"
        return [
            str(path.relative_to(folder))
            for path in [folder / "checkpoint", *(folder / "checkpoints").iterdir()]
            if find_cosignature(parse_note(path.read_bytes()), key) is not None
        ]

    def test_it_is_shown_when_they_have_been_asked(
        self, river: River, asked: list[bytes]
    ) -> None:
        river.pool(1)
        river.publish()
        assert self.shown_size(river) == 5
        (note,) = asked
        show_spine(ledger=river.ledger, size=6, cosignatures=[self.cosign(note)])
        assert self.shown_size(river) == 6
        assert self.list_cosigned(river) == ["checkpoint", "checkpoints/6"]
        river.restart()
        assert self.list_cosigned(river) == ["checkpoint", "checkpoints/6"]
        assert list_entered(river) == list_kept(river)

    def test_one_nobody_shows_is_shown_the_next_time(
        self, river: River, asked: list[bytes]
    ) -> None:
        river.pool(1)
        river.publish()
        assert len(asked) == 1
        river.publish()
        assert self.shown_size(river) == 6

    def test_one_nobody_shows_is_shown_at_the_next_start(
        self, river: River, asked: list[bytes]
    ) -> None:
        river.pool(1)
        river.publish()
        assert len(asked) == 1
        river.restart()
        assert self.shown_size(river) == 6

    def test_a_late_word_is_added_once(self, river: River, asked: list[bytes]) -> None:
        river.pool(1)
        river.publish()
        show_spine(ledger=river.ledger, size=6, cosignatures=[])
        assert self.list_cosigned(river) == []
        for time in (1_795_953_600, 1_795_953_660):
            line = self.cosign(asked[0], time)
            show_spine(ledger=river.ledger, size=6, cosignatures=[line])
        assert self.list_cosigned(river) == ["checkpoint", "checkpoints/6"]
        note = (river.folder / "public/spine/checkpoint").read_bytes()
        assert len(parse_note(note).signatures) == 2

    def test_a_word_on_an_older_one_does_not_show_it_again(
        self, river: River, asked: list[bytes]
    ) -> None:
        for _round in range(2):
            river.pool(1)
            river.publish()
        show_spine(ledger=river.ledger, size=7, cosignatures=[])
        line = self.cosign(asked[0])
        show_spine(ledger=river.ledger, size=6, cosignatures=[line])
        assert self.shown_size(river) == 7
        assert self.list_cosigned(river) == ["checkpoints/6"]

    def test_lines_that_are_none_are_left_out(
        self, river: River, asked: list[bytes]
    ) -> None:
        river.pool(1)
        river.publish()
        lines = ["no line at all\n", "\u2014 x AA==\n", self.cosign(asked[0])]
        show_spine(ledger=river.ledger, size=6, cosignatures=lines)
        assert self.list_cosigned(river) == ["checkpoint", "checkpoints/6"]


def test_without_its_key_the_log_goes_on_and_the_spine_waits(river: River) -> None:
    river.stop()
    kept = (river.folder / "secrets/spine/log.key").read_bytes()
    (river.folder / "secrets/spine/log.key").unlink()
    river.start()
    river.pool(1)
    river.publish()
    assert [size for size, _root in list_kept(river)] == [6, 7]
    assert [size for size, _root in list_entered(river)] == [6]
    river.stop()
    (river.folder / "secrets/spine/log.key").write_bytes(kept)
    river.start()
    river.publish()
    assert list_entered(river) == list_kept(river)


def test_a_spine_older_than_its_mark_is_not_gone_on_with(river: River) -> None:
    river.stop()
    old = river.home.copy(river.folder / "old")
    river.start()
    tell_issued(river, 50)
    river.stop()
    river.home.become(old)
    with pytest.raises(RolledBack, match="spine"):
        river.start()
