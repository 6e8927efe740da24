"""Letting an older database go on, without ever contradicting what the public saw.

The steps, each safe to repeat:

1. plan     verify mirrors, compare, decide; nothing is changed (ledger.recovery).
2. settle   issuance files that may be older than the log are destroyed; campaigns
            whose log was found closed begin to close; the trail says what is done.
3. reserve  names of logs whose key is gone.
4. mark     the high-water marks, in one write. Cut off before this line: they are as
            they were, and the start is refused as before. After it: the start is
            refused until every log has reached its mark.
5. import   each log, then the spine, up to the largest of its mirrors
            (ledger.importing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import transaction

from undersigned_verify import entry

from undersigned.audit.operations import record_act
from undersigned.campaigns import rules
from undersigned.campaigns.data import Campaign, CampaignState, PublicationMode
from undersigned.campaigns.operations import make_log_settings, record_found_closed
from undersigned.campaigns.queries import list_all_campaigns
from undersigned.credentials.operations import (
    forget_issuance_record,
    has_issuance_record,
)
from undersigned.kernel.actor import Actor
from undersigned.kernel.keystore import Keystore
from undersigned.ledger.data import LogSettings
from undersigned.ledger.highwater import HighWater
from undersigned.ledger.importing import (
    Imported,
    import_log,
    import_spine,
    reserve_origins,
)
from undersigned.ledger.mirrors import Mirror
from undersigned.ledger.recovery import (
    Evidence,
    LogPlan,
    Plan,
    plan_recovery,
    write_marks,
)
from undersigned.ledger.store import Store
from undersigned.signatures.queries import count_shown_from

# Told (what, done, total), in leaves.
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class RecoveredLog:
    """What one log goes on from.

    ``imported``: leaves taken over. ``pooled``: signatures that had waited here and
    are published already. ``not_shown``: signatures that show something, but not here:
    no mirror has it. ``issuing_closed``: until an operator reopens it.
    """

    origin: str
    size: int
    root: bytes
    evidence: Evidence
    imported: int
    pooled: int
    not_shown: int
    issuing_closed: bool


@dataclass(frozen=True, slots=True)
class Recovery:
    """All logs, the spine last; ``lost``: origins whose key nobody has, reserved."""

    logs: tuple[RecoveredLog, ...]
    lost: tuple[str, ...]


def recover_logs(
    *,
    actor: Actor,
    store: Store,
    data: Path,
    public: Path,
    keystore: Keystore | None,
    mirrors: list[Mirror],
    host: str,
    nothing_published: bool,
    at: datetime,
    on_progress: OnProgress = lambda _what, _done, _all: None,
) -> Recovery:
    """Bring every log to where the public has seen it, and allow a start.

    For the holder of the writer lock, while nothing runs. ``store``: the ledger, with
    its lease. ``keystore`` None: locked.
    ``mirrors``: verified. ``nothing_published``: see ``plan_recovery``, whose errors
    are raised before anything is changed. Then: MirrorRefused, StorageFailed.
    """
    high_water = HighWater(data / "highwater.json")
    plan = plan_recovery(
        store=store,
        high_water=high_water,
        public=public,
        keystore=keystore,
        mirrors=mirrors,
        host=host,
        nothing_published=nothing_published,
        on_leaves=lambda done, total: on_progress("compare", done, total),
    )
    campaigns = {campaign.origin: campaign for campaign in list_all_campaigns()}
    for log in plan.logs:
        if log.is_changed:
            forget_issuance_record(folder=data / "issuance", path=log.path)
    _record(actor, campaigns, plan, len(mirrors), nothing_published, at)
    reserve_origins(store=store, origins=plan.lost)
    write_marks(high_water, plan)
    imported = [
        import_log(
            store=store,
            plan=log,
            public=public,
            describe=lambda header, keys: _describe(campaigns, header, keys),
            at=at,
            on_leaves=lambda done, total: on_progress("import", done, total),
        )
        for log in plan.logs
    ]
    if plan.spine is not None:
        # After the logs: its rows name them.
        import_spine(store=store, plan=plan.spine, public=public, at=at)
    # Rows of a pool may be in it, in the order in which they came.
    store.empty_journal()
    store.settle()
    logs = [
        _sum_up(log, one, _is_issuing_closed(campaigns.get(log.origin), data, log))
        for log, one in zip(plan.logs, imported, strict=True)
    ]
    if plan.spine is not None:
        leaves = plan.spine.size - plan.spine.old_size
        logs.append(_sum_up(plan.spine, Imported(leaves=leaves), False))
    return Recovery(tuple(logs), tuple(plan.lost))


def _describe(
    campaigns: dict[str, Campaign], header: entry.Header, keys: list[entry.IssuerKey]
) -> tuple[LogSettings, bool]:
    """Return the settings of a log that the database lacks; whether it goes on.

    Without its campaign, opened after the backup, it is kept as it is: it takes no
    signature, so that its clock and crowd are never asked for.
    """
    campaign = campaigns.get(header.origin)
    found = [(key.key_index, key.klass) for key in keys]
    if campaign is not None and campaign.state is not CampaignState.DRAFT:
        return make_log_settings(campaign=campaign, keys=found), True
    mode = PublicationMode(header.mode)
    settings = LogSettings(
        origin=header.origin,
        path=header.origin.partition("/")[2],
        mode=mode.value,
        interval_seconds=rules.choose_interval_seconds(
            mode, rules.CLOCK_DEFAULT_MINUTES
        ),
        k=rules.K_DEFAULT,
    )
    return settings, False


def _is_issuing_closed(campaign: Campaign | None, data: Path, log: LogPlan) -> bool:
    """Say whether it waits for an operator: an open campaign without its record."""
    return (
        campaign is not None
        and campaign.state is CampaignState.OPEN
        and log.close_reason is None
        and not has_issuance_record(folder=data / "issuance", path=log.path)
    )


def _sum_up(log: LogPlan, one: Imported, issuing_closed: bool) -> RecoveredLog:
    there = count_shown_from(origin=log.origin, index=log.old_size)
    return RecoveredLog(
        origin=log.origin,
        size=log.size,
        root=log.root,
        evidence=log.evidence,
        imported=one.leaves,
        pooled=one.pooled,
        not_shown=max(0, one.shows - one.shown - there),
        issuing_closed=issuing_closed,
    )


def _record(
    actor: Actor,
    campaigns: dict[str, Campaign],
    plan: Plan,
    mirrors: int,
    nothing_published: bool,
    at: datetime,
) -> None:
    with transaction.atomic():
        for log in plan.logs:
            campaign = campaigns.get(log.origin)
            if log.close_reason is not None and campaign is not None:
                record_found_closed(
                    actor=actor, campaign_id=campaign.id, reason=log.close_reason, at=at
                )
        record_act(
            actor=actor,
            kind="LogsRecovered",
            data={
                "logs": {
                    log.origin: {
                        "size": log.size,
                        "root": log.root.hex(),
                        "imported": log.size - log.old_size,
                        "evidence": log.evidence,
                    }
                    for log in plan.everything
                },
                "mirrors": mirrors,
                "nothing_published_since_backup": nothing_published,
                "lost": list(plan.lost),
            },
            at=at,
        )
