"""An instance whose spine is witnessed: shown with cosignatures, refused when old."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import VerifierKey, parse_note
from undersigned_verify.policy import Policy, parse_policy

from tests.factories.instances import HOST, Instance
from tests.witness.peers import Peer, Scripted, Switchboard, make_peer
from undersigned.config import spine as config_spine
from undersigned.ledger.operations import publish_now
from undersigned.witness.data import Standing
from undersigned.witness.dialogue import Answer
from undersigned.witness.feeder import BehindWitness
from undersigned.witness.operations import trust_log
from undersigned.witness.policy import add_witness

PATIENCE_SECONDS = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread's work."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def read_checkpoint(instance: Instance, name: str = "checkpoint") -> bytes:
    return (instance.data / "public" / "spine" / name).read_bytes()


def size_of(instance: Instance) -> int:
    return Checkpoint.parse(parse_note(read_checkpoint(instance)).text).size


def read_policy(instance: Instance) -> Policy:
    return parse_policy((instance.data / "public" / "policy.txt").read_bytes())


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Switchboard]:
    """Vic's and Petra's witnesses, in place of the network."""
    peers = {
        name: make_peer(tmp_path / name, f"{name}.example", None)
        for name in ("vic", "petra")
    }
    found = Switchboard(**peers)
    monkeypatch.setattr(config_spine, "HttpTransport", lambda: found)
    yield found
    for peer in peers.values():
        peer.close()


@pytest.fixture
def witnessed(instance: Instance, board: Switchboard) -> Instance:
    """The instance, cosigned by both."""
    instance.restart()
    spine_key = (instance.data / "public" / "spine" / "log.vkey").read_text().strip()
    for peer in board.peers.values():
        assert isinstance(peer, Peer)
        assert peer.witness is not None
        trust_log(witness=peer.witness, vkey=spine_key)
        add_witness(
            folder=instance.data,
            host=HOST,
            vkey=peer.listed.key.vkey,
            url=peer.listed.url,
        )
    instance.restart()
    return instance


class TestAWitnessedSpine:
    def test_its_policy_is_published_at_the_start(self, witnessed: Instance) -> None:
        policy = read_policy(witnessed)
        assert policy.asks_for_witnesses
        vkey = (witnessed.data / "public" / "spine" / "log.vkey").read_text().strip()
        assert policy.knows_log(VerifierKey.parse(vkey))

    def test_what_there_is_at_the_start_is_cosigned(self, witnessed: Instance) -> None:
        assert read_policy(witnessed).is_met(read_checkpoint(witnessed))

    def test_each_publication_is_shown_with_its_cosignatures(
        self, witnessed: Instance
    ) -> None:
        before = size_of(witnessed)
        campaign = witnessed.open_campaign()
        spine = witnessed.engine.services.ledger.spine
        wait_until(lambda: size_of(witnessed) == spine.size)
        assert spine.size > before
        policy = read_policy(witnessed)
        wait_until(lambda: policy.is_met(read_checkpoint(witnessed)))
        kept = read_checkpoint(witnessed, f"checkpoints/{spine.size}")
        assert kept == read_checkpoint(witnessed)
        assert witnessed.audit(campaign).accepted

    def test_nobody_who_is_gone_keeps_it_from_being_shown(
        self, witnessed: Instance, board: Switchboard
    ) -> None:
        board.peers = {"vic": Scripted([]), "petra": Scripted([])}
        witnessed.open_campaign()
        spine = witnessed.engine.services.ledger.spine
        wait_until(lambda: size_of(witnessed) == spine.size)
        assert not read_policy(witnessed).is_met(read_checkpoint(witnessed))

    def test_a_command_that_ends_at_once_leaves_it_shown(
        self, witnessed: Instance
    ) -> None:
        witnessed.open_campaign()
        size = witnessed.engine.services.ledger.spine.size
        witnessed.stop()
        assert size_of(witnessed) == size
        assert read_policy(witnessed).is_met(read_checkpoint(witnessed))

    def test_a_witness_that_lies_does_not_stop_the_ledger(
        self, witnessed: Instance, board: Switchboard
    ) -> None:
        moon = Answer(409, "text/x.tlog.size", b"99999\n")
        board.peers["vic"] = Scripted([moon] * 50)
        campaign = witnessed.open_campaign()
        feeder = witnessed.engine.witnessing.feeder
        assert feeder is not None
        wait_until(
            lambda: Standing.AHEAD in {one.standing for one in feeder.list_reports()}
        )
        witnessed.sign(campaign)
        witnessed.publish_anyway(campaign)
        spine = witnessed.engine.services.ledger.spine
        wait_until(lambda: size_of(witnessed) == spine.size)
        assert witnessed.audit(campaign).accepted
        assert witnessed.engine.failures == []


class TestAStart:
    @pytest.mark.sqlite_file
    def test_a_database_older_than_a_witness_is_refused(
        self, witnessed: Instance, tmp_path: Path
    ) -> None:
        """The operator has put ledger and mark back, and nothing here can tell."""
        witnessed.stop()
        names = ("ledger.sqlite3", "highwater.json")
        for name in names:
            shutil.copy2(witnessed.data / name, tmp_path / name)
        witnessed.start()
        campaign = witnessed.open_campaign()
        policy = read_policy(witnessed)
        wait_until(lambda: policy.is_met(read_checkpoint(witnessed)))
        shown = read_checkpoint(witnessed)
        assert campaign.path
        witnessed.stop()
        for name in names:
            shutil.copy2(tmp_path / name, witnessed.data / name)
        with pytest.raises(BehindWitness, match="would fork the spine"):
            witnessed.start()
        # And nothing of it was shown.
        assert read_checkpoint(witnessed) == shown

    def test_with_all_witnesses_gone_it_goes_on(
        self, witnessed: Instance, board: Switchboard
    ) -> None:
        board.peers = {"vic": Scripted([]), "petra": Scripted([])}
        witnessed.restart()
        witnessed.open_campaign()

    def test_a_list_that_cannot_be_read_is_refused(self, witnessed: Instance) -> None:
        witnessed.stop()
        (witnessed.data / "witnesses.json").write_text("{")
        with pytest.raises(Exception, match=r"witnesses\.json"):
            witnessed.start()


def test_without_witnesses_it_is_shown_at_once(
    instance: Instance, board: Switchboard
) -> None:
    campaign = instance.open_campaign()
    spine = instance.engine.services.ledger.spine
    assert size_of(instance) == spine.size
    instance.sign(campaign)
    publish_now(
        ledger=instance.engine.services.ledger,
        origin=campaign.origin,
        at=instance.clock.now() + timedelta(minutes=1),
        ignore_crowd=True,
    )
    assert size_of(instance) == spine.size
    assert board.asked == []
