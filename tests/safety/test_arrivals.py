"""How requests arrive is counted, and nothing of any one of them is kept."""

from __future__ import annotations

import pytest

from undersigned.safety.arrivals import Arrivals


@pytest.mark.parametrize(
    "client,forwarded,scheme,counted",
    [
        ("127.0.0.1", None, "http", {"direct", "plain"}),
        ("203.0.113.7", "203.0.113.7", "https", {"believed"}),
        ("203.0.113.7", "198.51.100.1, 203.0.113.7", "https", {"believed"}),
        ("203.0.113.7", "198.51.100.1", "http", {"not_believed", "plain"}),
        ("127.0.0.1", "", "https", {"not_believed"}),
        (None, "198.51.100.1", "https", {"not_believed"}),
        ("203.0.113.7", "1203.0.113.77", "https", {"not_believed"}),
    ],
)
def test_each_way_has_its_number(
    client: str | None, forwarded: str | None, scheme: str, counted: set[str]
) -> None:
    arrivals = Arrivals()
    arrivals.note(client=client, forwarded=forwarded, scheme=scheme)
    found = arrivals.as_json()
    assert {name for name, count in found.items() if count} == counted
    assert all(isinstance(count, int) for count in found.values())
