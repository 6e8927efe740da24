"""A log begins: header, keys, statement, first checkpoint."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from undersigned_verify import entry, tile

from tests.factories.keys import KeyBox
from tests.factories.ledgers import (
    HOST,
    STATEMENT,
    PowerCut,
    River,
    cut_at,
    require_accepted,
)
from undersigned.kernel.clock import FixedClock
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.operations import LeafRefused, SigningKeyMissing, create_log

STEPS = [
    "append",
    "before-commit",
    "after-commit",
    "after-mark",
    "after-export",
    "after-hand-on",
    "spine-before-commit",
    "spine-after-commit",
    "spine-after-mark",
    "spine-after-export",
]


class TestANewLog:
    def test_it_begins_with_its_header_and_keys_in_one_checkpoint(
        self, river: River
    ) -> None:
        report = require_accepted(river.audit())
        assert river.kept == [6] == [report.tree_size]
        bundle = (river.public / tile.tile_path("entries", 0, 6)).read_bytes()
        numbers = [entry.parse(leaf).number for leaf in tile.parse_bundle(bundle)]
        assert numbers == [0, 2, 2, 2, 9, 9]

    def test_it_binds_the_exact_bytes_of_the_statement(self, river: River) -> None:
        assert (river.public / "statement").read_bytes() == STATEMENT
        header = river.ledger.get_log(river.origin).state.header
        assert header is not None
        assert header.statement_sha256 == sha256(STATEMENT).hexdigest()

    def test_it_counts_nothing_yet(self, river: River) -> None:
        totals = require_accepted(river.audit()).totals
        assert totals is not None
        assert (totals["signatures"], totals["net"]) == (0, 0)

    def test_it_signs_with_a_key_of_its_own(
        self, river: River, tmp_path: Path, keys: KeyBox, clock: FixedClock
    ) -> None:
        other = River(tmp_path / "other", keys, clock)
        other.start()
        other.create()
        other.stop()
        assert other.key.public != river.key.public


class TestCreatingAgain:
    def test_it_returns_the_log_as_it_stands(self, river: River) -> None:
        river.pool(1)
        (published,) = river.publish()
        again = river.create()
        assert (again.size, again.root) == (published.size, published.root)
        require_accepted(river.audit())

    @pytest.mark.parametrize("name", ["log.vkey", "statement"])
    def test_it_makes_again_what_a_power_cut_took(
        self, river: River, name: str
    ) -> None:
        before = (river.public / name).read_bytes()
        (river.public / name).unlink()
        river.create()
        assert (river.public / name).read_bytes() == before
        require_accepted(river.audit())

    def test_it_refuses_another_header(self, river: River) -> None:
        header, *rest = river.make_first_leaves()
        parsed = entry.parse(header)
        assert isinstance(parsed, entry.Header)
        changed = entry.encode(replace(parsed, statement_sha256="0" * 64))
        with pytest.raises(LeafRefused) as caught:
            create_log(
                ledger=river.ledger,
                settings=river.settings,
                leaves=[changed, *rest],
                statement=STATEMENT,
                at=river.clock.now(),
            )
        assert caught.value.data["fault"] == "header-differs"
        assert river.kept == [6]
        assert river.failures == []

    @pytest.mark.parametrize("step", STEPS)
    def test_it_finishes_what_was_cut_off(
        self, tmp_path: Path, keys: KeyBox, clock: FixedClock, step: str
    ) -> None:
        river = River(tmp_path / "river", keys, clock)
        river.start(cut_at(step))
        with pytest.raises(PowerCut):
            river.create()
        river.restart()
        river.create()
        river.pool(2)
        river.publish()
        report = require_accepted(river.audit())
        river.stop()
        assert report.tree_size == 8
        assert (river.public / "statement").read_bytes() == STATEMENT


def test_without_secrets_no_log_is_created(tmp_path: Path, river: River) -> None:
    locked = Ledger(
        host=HOST,
        folder=tmp_path / "locked",
        public=tmp_path / "locked/public",
        keystore=None,
    )
    locked.start()
    with pytest.raises(SigningKeyMissing):
        create_log(
            ledger=locked,
            settings=river.settings,
            leaves=river.make_first_leaves(),
            statement=STATEMENT,
            at=river.clock.now(),
        )
    locked.stop()
    assert locked.logs == {}
