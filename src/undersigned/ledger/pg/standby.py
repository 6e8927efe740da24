"""Standing by: a second sequencer that follows the first, and takes over from it.

It holds no lease and writes nothing to the ledger. While it waits it raises its own
high-water file after the ledger, so that at its turn it refuses a ledger that is older
than what it has seen, as the first would. Only after a ledger that a living sequencer
has found fit (``spine.checked`` is its epoch): else an older copy, started by mistake
and refused there a moment later, would become this one's measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note

from undersigned.ledger.highwater import HighWater
from undersigned.ledger.pg.store import PostgresStore
from undersigned.ledger.store import SPINE_ID

WAIT_SECONDS = 0.5

# Newest checkpoints, and those at the sizes that this process has marked.
_NEWEST = """
SELECT kept.log, coalesce(log.origin, ''), grown.size, kept.size, kept.note
FROM spine AS held
CROSS JOIN LATERAL (
    SELECT id, size FROM log WHERE size > 0
    UNION ALL SELECT 0, held.size WHERE held.size > 0
) AS grown
JOIN checkpoint AS kept ON kept.log = grown.id
LEFT JOIN log ON log.id = grown.id
WHERE held.checked = held.epoch - ?
    AND (kept.size = grown.size OR kept.size IN ({marks}))
"""


def wait_for_lease(
    *,
    store: PostgresStore,
    high_water: HighWater,
    spine_origin: str,
    on_wait: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once this process is the instance's sequencer.

    ``on_wait`` is called once if another one lives. Raises RolledBack where the ledger
    is older than this process has seen it, StorageFailed where the server is gone: a
    start anew looks for the server that has taken its place.
    """
    told = False
    while not store.try_take_over():
        if not told:
            told = True
            on_wait()
        follow(store=store, high_water=high_water, spine_origin=spine_origin)
        sleep(WAIT_SECONDS)
    if told:
        # What it did since we last looked, and a log that it has begun since.
        follow(
            store=store,
            high_water=high_water,
            spine_origin=spine_origin,
            has_ended=True,
        )


def follow(
    *,
    store: PostgresStore,
    high_water: HighWater,
    spine_origin: str,
    has_ended: bool = False,
) -> None:
    """Raise the marks to what the ledger holds, after comparing it with them.

    Nothing where no living sequencer vouches for it, or, with ``has_ended``, the one
    did not that lived until this process took its place. Raises RolledBack.
    """
    sizes = sorted({size for size, _root in high_water.list_marks().values()})
    marks = ", ".join("?" * len(sizes)) or "NULL"
    grown: dict[str, int] = {}
    roots: dict[str, dict[int, bytes]] = {}
    for log_id, name, newest, size, note in store.query(
        _NEWEST.format(marks=marks), [int(has_ended), *sizes]
    ):
        origin = spine_origin if log_id == SPINE_ID else name
        grown[origin] = newest
        root = Checkpoint.parse(parse_note(note).text).root
        roots.setdefault(origin, {})[size] = root
    raised: dict[str, tuple[int, bytes]] = {}
    for origin, newest in grown.items():
        mark = high_water.find(origin)
        if mark is not None:
            high_water.check(origin, newest, roots[origin])
        if mark is None or mark[0] < newest:
            raised[origin] = newest, roots[origin][newest]
    if raised:
        high_water.raise_all(raised)
