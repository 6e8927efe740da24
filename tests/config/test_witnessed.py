"""An instance whose spine a friend's instance cosigns, from the start to the close."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from undersigned_verify.audit import audit_log
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note

from tests.factories.cast import OMAR_ACTS
from tests.factories.instances import HOST, Instance
from tests.witness.conftest import open_witness
from undersigned.campaigns.data import Campaign
from undersigned.campaigns.operations import begin_closing
from undersigned.config import spine as spine_module
from undersigned.kernel.clock import FixedClock
from undersigned.witness.dialogue import Answer, Unanswered
from undersigned.witness.feeder import BehindWitness
from undersigned.witness.operations import (
    CosignedOtherwise,
    cosign_checkpoint,
    get_witness_key,
    trust_log,
)
from undersigned.witness.policy import add_witness
from undersigned.witness.witness import Witness

PATIENCE_SECONDS = 15


class Line:
    """The way to Petra's witness: may be cut."""

    def __init__(self, witness: Witness, clock: FixedClock) -> None:
        self.witness = witness
        self.clock = clock
        self.is_cut = False

    def add_checkpoint(self, url: str, body: bytes) -> Answer:
        if self.is_cut:
            raise Unanswered("the line is cut")
        assert url == "https://petra.example/witness"
        try:
            line = cosign_checkpoint(
                witness=self.witness, body=body, at=self.clock.now()
            )
        except CosignedOtherwise as error:
            return Answer(409, "text/x.tlog.size", f"{error.size}\n".encode())
        return Answer(200, "text/plain; charset=utf-8", line.encode())


@pytest.fixture
def petra(tmp_path: Path) -> Iterator[Witness]:
    """Petra's witness."""
    witness = open_witness(tmp_path / "petra", host="petra.example")
    yield witness
    witness.store.close()


@pytest.fixture
def line(petra: Witness, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Line:
    """The only way to any witness."""
    line = Line(petra, clock)
    monkeypatch.setattr(spine_module, "HttpTransport", lambda: line)
    return line


@pytest.fixture
def campaign(instance: Instance, petra: Witness, line: Line) -> Campaign:
    """A campaign of an instance that has agreed with Petra."""
    assert not line.is_cut
    campaign = instance.open_campaign(id="river")
    spine = instance.data / "public/spine/log.vkey"
    trust_log(witness=petra, vkey=spine.read_text().strip())
    add_witness(
        folder=instance.data,
        host=HOST,
        vkey=get_witness_key(witness=petra),
        url="https://petra.example/witness",
    )
    instance.restart()
    return campaign


def wait(until: Callable[[], object]) -> None:
    """The witness is asked on threads of its own."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_witnessed(instance: Instance) -> bool:
    """Whether the shown spine checkpoint holds all and meets the policy."""
    public = instance.data / "public"
    shown = (public / "spine/checkpoint").read_bytes()
    size = Checkpoint.parse(parse_note(shown).text).size
    policy = instance.engine.witnessing.read_policy()
    assert policy is not None
    whole = size == instance.engine.services.ledger.spine.size
    return whole and policy.is_met(shown)


def verdict(instance: Instance) -> str:
    """Return the verdict of an auditor who holds the policy."""
    root = instance.data / "public"
    policy = (root / "policy.txt").read_bytes()
    return audit_log(root / "c/river", workers=1, policy=policy).verdict


def test_each_publication_is_cosigned(instance: Instance, campaign: Campaign) -> None:
    for number in range(3):
        instance.sign(campaign, f"{number}@x.example")
        instance.publish(campaign)
        wait(lambda: is_witnessed(instance))
    assert verdict(instance) == "accepted and witnessed"


def test_a_publication_does_not_wait_for_one_who_is_gone(
    instance: Instance, campaign: Campaign, line: Line
) -> None:
    line.is_cut = True
    instance.sign(campaign)
    instance.publish(campaign)
    assert instance.net(campaign) == 1
    size = instance.engine.services.ledger.spine.size
    wait(lambda: instance.engine.services.ledger.spine.shown_size == size)
    assert not is_witnessed(instance)
    assert verdict(instance) == "consistent, not witnessed"
    line.is_cut = False
    instance.sign(campaign, "petra@x.example")
    instance.publish(campaign)
    feeder = instance.engine.witnessing.feeder
    assert feeder is not None
    feeder.wake()
    wait(lambda: is_witnessed(instance))
    assert verdict(instance) == "accepted and witnessed"


def test_a_close_waits_until_they_have_seen_it(
    instance: Instance, campaign: Campaign, line: Line
) -> None:
    instance.sign(campaign)
    instance.publish(campaign)
    wait(lambda: is_witnessed(instance))
    services = instance.engine.services
    line.is_cut = True
    begin_closing(
        actor=OMAR_ACTS,
        campaign_id=campaign.id,
        issuer=services.issuer,
        reason="closed-by-organiser",
        at=instance.clock.now(),
    )
    for span in (timedelta(hours=1), timedelta(days=1), timedelta(days=1)):
        instance.advance(span)
    assert services.ledger.get_log(campaign.origin).is_closed
    assert str(instance.look_up(campaign).state) == "closing"
    line.is_cut = False
    feeder = instance.engine.witnessing.feeder
    assert feeder is not None
    feeder.wake()
    wait(lambda: is_witnessed(instance))
    instance.advance(timedelta(minutes=1))
    assert str(instance.look_up(campaign).state) == "closed"
    assert verdict(instance) == "accepted and witnessed"


@pytest.mark.sqlite_file
def test_a_database_older_than_what_they_have_seen_is_not_gone_on_with(
    instance: Instance, campaign: Campaign, tmp_path: Path, line: Line
) -> None:
    instance.sign(campaign)
    instance.publish(campaign)
    wait(lambda: is_witnessed(instance))
    instance.stop()
    older = shutil.copytree(instance.data, tmp_path / "older")
    instance.start()
    instance.sign(campaign, "later@x.example")
    instance.publish(campaign)
    wait(lambda: is_witnessed(instance))
    instance.stop()
    shutil.rmtree(instance.data)
    # With its own old high-water mark: nothing on this machine knows better.
    shutil.copytree(older, instance.data)
    with pytest.raises(BehindWitness):
        instance.start()
    line.is_cut = True
    instance.start()
