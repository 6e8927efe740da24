"""The ledger's file after a burst."""

from __future__ import annotations

import os
from pathlib import Path

from undersigned.ledger.embedded import SPARE_PAGES, give_back_pages, open_writer

PAGE = 4096


def test_a_file_that_a_burst_has_swollen_shrinks_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    db = open_writer(path)
    rows = [(os.urandom(32), os.urandom(357)) for _number in range(40_000)]
    db.execute("BEGIN")
    db.executemany("INSERT INTO inbox VALUES (1, ?, ?, NULL)", rows)
    db.execute("COMMIT")
    db.execute("BEGIN")
    db.execute("DELETE FROM inbox")
    db.executemany("INSERT INTO nonce VALUES (1, ?, 0)", [row[:1] for row in rows])
    db.execute("COMMIT")
    sizes = []
    for _minute in range(12):
        give_back_pages(db)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        sizes.append(path.stat().st_size)
    # Some at a time, and what the next pool will want stays.
    assert sizes[0] > 1.5 * sizes[-1]
    assert sizes[-1] == sizes[-2]
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    assert free == SPARE_PAGES
    assert db.execute("SELECT count(*) FROM nonce").fetchone() == (len(rows),)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
