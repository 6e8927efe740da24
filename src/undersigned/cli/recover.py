"""``undersigned recover``: from a restored or older database to one that may go on."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import ClassVar

from undersigned.campaigns.data import CampaignState
from undersigned.campaigns.queries import list_all_campaigns
from undersigned.cli.context import Context, Values
from undersigned.cli.output import Bar, print_result
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.clock import SystemClock
from undersigned.kernel.errors import Refused
from undersigned.kernel.keystore import KeysLocked, Keystore
from undersigned.kernel.writer_lock import hold_writer_lock
from undersigned.ledger.highwater import HighWater
from undersigned.ledger.mirrors import Mirror, list_sources, open_mirror
from undersigned.ledger.store import Store
from undersigned.signatures.operations.recover import Recovery, recover_logs

RISK = (
    "WARNING: you say that no log was published beyond this database. If that is "
    "wrong, the next publication forks the log: every receipt, mirror and export made "
    "since will prove that two different logs were signed under one name, and nobody "
    "can mend that. Your word is written into the audit trail"
)
ERASED = (
    "If this database is a backup: what signers have erased since, without "
    "withdrawing, is shown again,\nand no mirror knows of it. Who was told of an "
    "erasure erases it again first: undersigned shown erase NONCE"
)
EVIDENCE = {
    "mirror": "as a mirror shows it",
    "mark": "as this machine's own mark says",
    "word": "on your word",
}


class SourceMissing(Refused):
    """Name a mirror, or say that nothing was published since the backup."""

    code: ClassVar[str] = "source-missing"


class _Bars:
    """One progress bar after another."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._label = ""
        self._bar: Bar | None = None

    def update(self, label: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` leaves are done, under this label."""
        if self._bar is None or label != self._label:
            self.close()
            self._bar = Bar(unit=" leaves", label=label, quiet=self._quiet)
            self._label = label
        self._bar.update(done, total)
        if done == total:
            self.close()

    def close(self) -> None:
        """Leave the present bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def recover(arguments: argparse.Namespace, context: Context) -> int:
    """Establish how far each log was published, and bring the database there."""
    environment, word = context.environment, arguments.nothing_published_since_backup
    if not arguments.source and not word:
        raise SourceMissing(name="a MIRROR, or --nothing-published-since-backup")
    if word:
        print(f"{RISK}.", file=sys.stderr)
    bars = _Bars(quiet=arguments.json)
    try:
        # Held to the end: nothing may start, or publish, while this is decided.
        with (
            hold_writer_lock(environment.data),
            closing(context.open_store()) as store,
        ):
            recovery = recover_logs(
                actor=OPERATOR,
                store=store,
                data=environment.data,
                public=environment.public,
                keystore=_open_keystore(context),
                mirrors=_open_mirrors(arguments, context, store, bars),
                host=environment.host,
                nothing_published=word,
                at=SystemClock().now(),
                on_progress=bars.update,
            )
    finally:
        bars.close()
    print_result(arguments, _as_values(recovery), _describe(recovery))
    return 0


def _open_keystore(context: Context) -> Keystore | None:
    environment = context.environment
    try:
        return Keystore(environment.data / "secrets", passphrase=environment.passphrase)
    except KeysLocked:
        # The log's key is known from its checkpoints; nothing is signed here.
        return None


def _open_mirrors(
    arguments: argparse.Namespace, context: Context, store: Store, bars: _Bars
) -> list[Mirror]:
    return [
        open_mirror(
            source,
            public=context.environment.public,
            workers=arguments.workers,
            on_leaves=lambda done, total: bars.update("recount", done, total),
        )
        for source in list_sources(arguments.source, _list_paths(context, store))
    ]


def _list_paths(context: Context, store: Store) -> list[str]:
    """Return the paths of all logs that this instance may have."""
    data = context.environment.data
    origins = HighWater(data / "highwater.json").origins()
    origins |= {origin for (origin,) in store.query("SELECT origin FROM log")}
    paths = {origin.partition("/")[2] for origin in origins}
    paths |= {
        campaign.path
        for campaign in list_all_campaigns()
        if campaign.state is not CampaignState.DRAFT
    }
    return sorted(paths)


def _as_values(recovery: Recovery) -> Values:
    return {
        "logs": [
            {
                "origin": log.origin,
                "size": log.size,
                "root": log.root.hex(),
                "evidence": log.evidence,
                "imported": log.imported,
                "pooled": log.pooled,
                "not_shown": log.not_shown,
                "issuing_closed": log.issuing_closed,
            }
            for log in recovery.logs
        ],
        "lost": list(recovery.lost),
    }


def _describe(recovery: Recovery) -> str:
    lines = []
    for log in recovery.logs:
        lines.append(
            f"{log.origin}: goes on from {log.size} leaves, {EVIDENCE[log.evidence]}; "
            f"{log.imported} imported"
        )
        lines.append(f"  root {log.root.hex()}")
        if log.pooled:
            lines.append(
                f"  {log.pooled} signatures of the pool were published already"
            )
        if log.not_shown:
            lines.append(
                f"  {log.not_shown} signatures show nothing any more: what their "
                "signers chose to show is in no mirror"
            )
        if log.issuing_closed:
            campaign = log.origin.partition("/c/")[2].partition("/")[0]
            lines.append(
                "  no mail, ticket or token is given until: "
                f"undersigned issuance reopen {campaign}"
            )
    if any(log.imported or log.issuing_closed for log in recovery.logs):
        lines.append(ERASED)
    lines += [
        f"{origin}: its key is in no backup. Keep its copy readable elsewhere; nothing "
        "of this name begins here again"
        for origin in recovery.lost
    ]
    lines.append(
        "If anybody holds a newer checkpoint than these, do not start: recover again "
        "with their copy. Else: undersigned serve"
    )
    return "\n".join(lines)
