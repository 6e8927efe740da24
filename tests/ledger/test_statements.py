"""What the log is asked while people sign must not grow with the log.

A statement that reads a whole table costs nothing in a test's log and stops a campaign
of millions, so the plans are looked at, not the time.
"""

from __future__ import annotations

import sqlite3

import pytest

from tests.factories.ledgers import INVITATION_KEY, River, require_accepted
from undersigned.ledger.embedded import EmbeddedStore
from undersigned.ledger.queries import count_pooled, find_receipt, is_pooled

# A row a signature, leaf, tile or checkpoint: they grow for as long as a log lives.
GROWING = ("nonce", "tile", "checkpoint", "published_control", "cells", "inbox")
# What waits for this very publication is read whole by it.
READ_WHOLE = {"inbox"}


def list_scans(connection: sqlite3.Connection, statement: str) -> list[str]:
    """Return the steps of a statement's plan that read a growing table whole."""
    if statement.split(maxsplit=1)[0] not in {"SELECT", "DELETE", "UPDATE", "INSERT"}:
        return []
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    found = []
    for *_numbers, step in plan:
        words = step.split()
        table = words[1] if len(words) > 1 else ""
        # "(log=?)" alone is the whole of that log.
        whole = words[0] == "SCAN" or step.endswith("(log=?)")
        if whole and table in GROWING and table not in READ_WHOLE:
            found.append(f"{step}: {statement[:90]}")
    return found


@pytest.fixture
def asked(river: River) -> list[tuple[sqlite3.Connection, str]]:
    """Every statement the running ledger executes, as it comes, without its values."""
    statements: list[tuple[sqlite3.Connection, str]] = []

    def listen(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(
            lambda text: statements.append((connection, text))
        )

    store = river.ledger.store
    assert isinstance(store, EmbeddedStore)
    listen(store.connection)
    listen(store.reader)
    return statements


@pytest.mark.sqlite_file
def test_signing_and_publishing_read_no_table_whole(
    river: River, asked: list[tuple[sqlite3.Connection, str]]
) -> None:
    asha, *others = river.pool(21)
    river.publish()
    river.submit_all([asha, *others])
    log = river.ledger.get_log(river.origin)
    assert is_pooled(ledger=river.ledger, log=log, nonce=asha.nonce) is False
    count_pooled(ledger=river.ledger, origin=river.origin)
    find_receipt(ledger=river.ledger, log=log, nonce=asha.nonce)
    river.pool(3, key_index=INVITATION_KEY)
    river.withdraw(asha)
    river.control(river.make_removal(8, 9))
    river.publish()
    require_accepted(river.audit())
    store = river.ledger.store
    assert isinstance(store, EmbeddedStore)
    for connection in (store.connection, store.reader):
        connection.set_trace_callback(None)
    assert len(asked) > 40
    scans = [
        scan for connection, text in asked for scan in list_scans(connection, text)
    ]
    assert scans == []
