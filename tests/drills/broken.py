"""The product as it must not be: each function breaks one thing and runs its drill.

They run in a child of their own (``isolated.run_isolated``): what is broken there stays
broken there.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from undersigned_verify import promise as promises

from undersigned.credentials import operations
from undersigned.credentials.data import TicketFacts
from undersigned.credentials.issuance_file import IssuanceFile
from undersigned.credentials.issuer import Issuer
from undersigned.drills import (
    close,
    crash,
    disk,
    double,
    failover,
    faults,
    flood,
    live,
    order,
    power,
    promise,
    restore,
    unlink,
    vectors,
    witness,
)
from undersigned.drills.report import Options, Report, Values
from undersigned.ledger.data import Published
from undersigned.ledger.open_log import OpenLog
from undersigned.ledger.publish import Sequencer


def vectors_with_any_signature(values: Values) -> Values:
    """A verifier that takes every note."""
    with patch("undersigned_verify.note.verify_note", lambda _note, _key: None):
        return vectors.run(values)


def flood_with_a_rude_server(values: Values) -> Values:
    """A server that tells people any place, and forgets what they wrote."""
    with patch.object(flood, "SERVER", "tests.drills.rude_server"):
        return flood.run(values)


def promise_that_is_never_due(values: Values) -> Values:
    """A verifier that waits for ever."""
    real = promises.check_promise

    def wait(found: Any, source: Any, **_said: Any) -> Any:
        return real(found, source, now=0, clock=0)

    with patch.object(promises, "check_promise", wait):
        return promise.run(values)


def double_for_everybody(values: Values) -> Values:
    """An issuer that forgets whom it has answered."""

    def decide(
        _version: Any, file: IssuanceFile, requests: list[Any]
    ) -> tuple[list[tuple[Any, int]], bool]:
        for request in requests:
            ticket: TicketFacts = request.ticket
            file.spend(
                ticket_hash=ticket.ticket_hash,
                nullifier=request.request_hash,
                key_index=request.key_index,
                request=request.request_hash,
            )
        return [(request, int(request.key_index)) for request in requests], True

    with patch.object(Issuer, "_decide_all", staticmethod(decide)):
        return double.run(values)


def close_and_keep_keys(values: Values) -> Values:
    """A close that only says that keys were destroyed."""

    def forget(**_arguments: object) -> None:
        return None

    with patch("undersigned.signatures.operations.close.destroy_version", forget):
        return close.run(values)


def close_without_last_batch(values: Values) -> Values:
    """A close that leaves in the pool what was acknowledged."""
    publish = Sequencer.publish

    def by_crowd_alone(
        self: Sequencer, log: OpenLog, *, at: datetime, ignore_crowd: bool = False
    ) -> list[Published]:
        del ignore_crowd
        return publish(self, log, at=at)

    with patch.object(Sequencer, "publish", by_crowd_alone):
        return close.run(values)


def order_in_arrival(values: Values) -> Values:
    """An issuance file with a write-ahead log, which is never rebuilt."""
    with patch.object(operations, "IssuanceFile", order.JournalledFile):
        return order_as_it_is(values)


def order_as_it_is(values: Values) -> Values:
    """The product's own issuance file, measured in the same way."""
    options, report = Options(**values), Report("order")
    folder = Path(tempfile.mkdtemp(prefix="undersigned-broken-"))
    with order.open_issuer(folder) as issuer:
        order.measure(issuer, 60, 4, options.seed, report)
    return report.as_json()


def unlink_with_times(values: Values) -> Values:
    """A campaign whose server keeps an access log, judged as the product is."""
    scene = unlink.Scene("broken", 4, 40, 0, None)
    kept = replace(scene, control="times")
    found = unlink.play({**asdict(kept), "seed": values["seed"]})
    report = Report("unlink")
    unlink.judge(scene, found, report)
    return report.as_json()


def crash_with_careless_server(values: Values) -> Values:
    """A server that acknowledges signatures before it has committed them."""
    with patch.object(crash, "SERVER", "tests.drills.careless_server"):
        return crash.run(values)


def faults_that_nobody_hears(values: Values) -> Values:
    """A server that goes on when a file could not be written."""
    with (
        patch.object(crash, "SERVER", "tests.drills.deaf_server"),
        patch.object(faults, "LOUD_SECONDS", 2.0),
    ):
        return faults.run(values)


def witness_that_trusts_everything(values: Values) -> Values:
    """A witness that looks at no size, proof or root hash."""
    with patch.object(witness, "SERVER", "tests.drills.trusting_witness"):
        return witness.run(values)


def power_with_unsynced_ledger(values: Values) -> Values:
    """A server whose ledger does not wait for the disk."""
    with patch.object(power, "SERVER", "tests.drills.unsynced_server"):
        return power.run(values)


def power_with_unsynced_names(values: Values) -> Values:
    """A server that syncs files and not the folders they are in."""
    with patch.object(power, "SERVER", "tests.drills.unnamed_server"):
        return power.run(values)


def disk_that_nobody_hears(values: Values) -> Values:
    """A product that takes every barrier for a success."""
    with patch.object(disk, "TRIALS", "tests.drills.deaf_trials"):
        return disk.run(values)


def failover_with_careless_server(values: Values) -> Values:
    """A server that acknowledges signatures before it has committed them."""
    with patch.object(failover, "SERVER", "tests.drills.careless_server"):
        return failover.run(values)


def failover_with_trusting_sequencer(values: Values) -> Values:
    """A sequencer that moves a log whoever else has moved it."""
    with (
        patch.object(failover, "SERVER", "tests.drills.trusting_sequencer"),
        patch.object(failover, "PATIENCE_SECONDS", 20.0),
    ):
        return failover.run(values)


def restore_with_the_pool(values: Values) -> Values:
    """Backups that take the pool along."""
    with patch.object(live, "PRODUCT", "tests.drills.careless_cli"):
        return restore.run(values)


def restore_without_import(values: Values) -> Values:
    """A recovery that lets an older database go on as it is."""
    with patch.object(live, "PRODUCT", "tests.drills.hasty_cli"):
        return restore.run(values)
