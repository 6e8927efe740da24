"""The running process: one writer, one clock, and what time asks for."""

from __future__ import annotations

import os
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from tests.factories.cast import OMAR
from tests.factories.instances import Instance
from tests.factories.ledgers import PowerCut, cut_at
from undersigned.config.engine import open_engine
from undersigned.kernel import keystore
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.keystore import Keystore
from undersigned.kernel.writer_lock import WriterBusy
from undersigned.ledger.highwater import RolledBack

PATIENCE_SECONDS = 15


class TestTheWriter:
    def test_there_is_never_a_second_one(
        self, instance: Instance, clock: FixedClock
    ) -> None:
        with (
            pytest.raises(WriterBusy),
            open_engine(instance.environment, clock=clock, run_clock=False),
        ):
            pass
        campaign = instance.open_campaign()
        instance.sign(campaign)
        instance.stop()
        with open_engine(instance.environment, clock=clock, run_clock=False):
            pass
        instance.start()

    @pytest.mark.sqlite_file
    def test_it_lets_go_when_the_start_fails(self, instance: Instance) -> None:
        campaign = instance.open_campaign()
        instance.sign(campaign)
        instance.publish(campaign)
        instance.stop()
        kept = instance.data / "kept"
        (instance.data / "ledger.sqlite3").replace(kept)
        with pytest.raises(RolledBack):
            instance.start()
        for path in instance.data.glob("ledger.sqlite3*"):
            path.unlink()
        kept.replace(instance.data / "ledger.sqlite3")
        instance.start()
        assert instance.net(campaign) == 1

    def test_it_lets_go_when_a_restart_is_cut_off(self, instance: Instance) -> None:
        campaign = instance.open_campaign()
        instance.sign(campaign)
        instance.stop()
        instance.clock.advance(timedelta(minutes=5))
        instance.start()
        instance.stop()
        instance.start(cut_at("choose"))
        with pytest.raises(PowerCut):
            instance.publish(campaign)
        instance.restart()
        instance.publish(campaign)
        assert instance.net(campaign) == 1


class TestItsFiles:
    def test_they_are_their_owners_alone(self, instance: Instance) -> None:
        campaign = instance.open_campaign()
        instance.sign(campaign)
        others = [
            f"{path.relative_to(instance.data)} {stat.S_IMODE(path.stat().st_mode):o}"
            for path in [instance.data, *instance.data.rglob("*")]
            if not path.is_relative_to(instance.data / "public")
            and stat.S_IMODE(path.stat().st_mode) & 0o077
        ]
        assert others == []

    @pytest.mark.sqlite_file
    def test_they_are_at_the_places_the_documents_name(
        self, instance: Instance
    ) -> None:
        campaign = instance.open_campaign()
        instance.sign(campaign)
        instance.publish(campaign)
        instance.stop()
        names = {path.name for path in instance.data.iterdir()}
        assert names == {
            "highwater.json",
            "issuance",
            "ledger.sqlite3",
            "public",
            "secrets",
            "witnesses.lock",
            "writer.lock",
        }


class TestATick:
    def test_it_publishes_every_campaign_by_its_own_clock(
        self, instance: Instance
    ) -> None:
        standard = instance.open_campaign()
        careful = instance.open_campaign(mode="careful")
        instance.sign(standard)
        instance.sign_many(careful, 20)
        done = instance.advance(timedelta(minutes=1))
        assert [one.origin for one in done] == [standard.origin]
        done = instance.advance(timedelta(minutes=29))
        assert [one.origin for one in done] == [careful.origin]
        assert instance.audit(standard).accepted
        assert instance.audit(careful).accepted

    def test_one_closing_that_cannot_go_on_does_not_stop_others(
        self, instance: Instance
    ) -> None:
        campaign = instance.open_campaign()
        instance.sign(campaign)
        for _minute in range(3):
            instance.advance(timedelta(minutes=1))
        assert instance.net(campaign) == 1


@pytest.mark.slow
def test_its_own_clock_publishes_by_itself(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real ticker: a second or two, and the only test that waits for it."""
    campaign = instance.open_campaign()
    instance.sign(campaign)
    instance.stop()
    ticked = threading.Event()
    instance.clock.advance(timedelta(seconds=-1))
    with open_engine(instance.environment, clock=instance.clock) as engine:
        real = engine.services.ledger.sequencer._on_published

        def note(published: object) -> None:
            real(published)  # type: ignore[arg-type]  # a Published
            ticked.set()

        monkeypatch.setattr(engine.services.ledger.sequencer, "_on_published", note)
        # Let the ticker see the present interval, then the next one.
        seen = threading.Event()
        list_due = engine.services.ledger.list_due

        def watch(at: object) -> object:
            seen.set()
            return list_due(at)  # type: ignore[arg-type]  # an instant

        monkeypatch.setattr(engine.services.ledger, "list_due", watch)
        assert seen.wait(PATIENCE_SECONDS)
        instance.clock.advance(timedelta(minutes=2))
        assert ticked.wait(PATIENCE_SECONDS)
    instance.start()
    assert instance.net(campaign) == 1


class TestLostPublicFiles:
    def test_key_and_statement_are_there_again_after_a_start(
        self, instance: Instance
    ) -> None:
        campaign = instance.open_campaign()
        folder = instance.folder(campaign)
        before = {
            name: (folder / name).read_bytes() for name in ("log.vkey", "statement")
        }
        instance.stop()
        (folder / "log.vkey").unlink()
        (folder / "statement").write_bytes(b"")
        instance.start()
        assert before == {name: (folder / name).read_bytes() for name in before}
        assert instance.audit(campaign).accepted


class TestAnIssuerThatStopped:
    def test_it_holds_up_no_publication(self, instance: Instance) -> None:
        campaign = instance.open_campaign()
        instance.sign(campaign)
        instance.engine.services.issuer.stop()
        instance.publish(campaign)
        assert instance.net(campaign) == 1


class TestLockedSecrets:
    def test_a_wrong_passphrase_is_as_good_as_none(
        self, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)
        campaign = instance.open_campaign()
        instance.sign(campaign)
        instance.stop()
        Keystore(instance.data / "secrets").seal("nine lives of the river path")
        instance.restart(UNDERSIGNED_PASSPHRASE="Mallory guesses")
        assert instance.engine.keystore is None
        assert instance.publish(campaign) == []
        assert instance.audit(campaign).accepted


def test_a_draft_that_was_half_opened_takes_nothing(instance: Instance) -> None:
    campaign_id = instance.create()
    instance.stop()
    instance.start(cut_at("after-commit"))
    with pytest.raises(PowerCut):
        instance.open(campaign_id)
    instance.restart()
    assert instance.engine.services.book.entries == {}
    instance.advance(timedelta(minutes=5))
    campaign = instance.open(campaign_id)
    instance.sign(campaign, OMAR)
    instance.publish(campaign)
    assert instance.net(campaign) == 1


def test_a_relative_data_directory_is_made_whole(
    tmp_path: Path, clock: FixedClock, transactional_db: None
) -> None:
    instance = Instance(tmp_path / "a" / "b" / "data", clock)
    instance.start()
    instance.stop()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_a_tick_leaves_no_requests_time_on_any_file(instance: Instance) -> None:
    campaign = instance.open_campaign()
    instance.sign(campaign)
    private = [
        path
        for path in (instance.data, *instance.data.rglob("*"))
        if not path.is_relative_to(instance.environment.public)
    ]
    assert {path.suffix for path in private} >= {".sqlite3", ".key", ".json"}
    for path in private:
        os.utime(path, (1, 1))
    instance.publish(campaign)
    told = [path for path in private if path.exists() and path.stat().st_mtime < 1e9]
    assert told == []
