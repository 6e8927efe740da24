"""The result of ``bench.sign``: bars, tables, notes."""

from __future__ import annotations

from collections.abc import Mapping

from bench._results import Bar, Result, Rounds, Table, median

REDEEM_SHARE = 0.40
WHOLE_SHARE = 0.70
FLOOR_TIMES = 2.0
ORDINARY_TIMES = 10.0

_SERVERS = {
    "redeem": "redeem",
    "floor": "floor: bare WSGI, one INSERT, PostgreSQL, 2 workers",
    "ordinary": "ordinary Django view, SQLite, 2 workers",
    "whole": "issue and redeem",
    "whole-begun": "issue and redeem, the first 2,000 of a campaign",
    "issue": "issue",
}


def report(rounds: Rounds, settings: Mapping[str, object]) -> Result:
    """Return the result of all rounds."""

    def shares(variant: str, ceiling: str) -> list[float]:
        """Return, by round, the share of its processor time that the ceiling is."""
        spent = rounds.list_values(variant, "us")
        least = rounds.list_values(variant, ceiling)
        return [low / high for low, high in zip(least, spent, strict=True)]

    def times(variant: str, name: str, *, over: bool) -> list[float]:
        """Return, by round, redeem's figure over a rival's, or the reverse."""
        own, other = (rounds.list_values(v, name) for v in ("redeem", variant))
        return [(a / b) if over else (b / a) for a, b in zip(own, other, strict=True)]

    found = {
        "redeem": shares("redeem", "redeem_ceiling_us"),
        "whole": shares("whole", "whole_ceiling_us"),
        "whole-begun": shares("whole-begun", "whole_ceiling_us"),
        "floor": times("floor", "rate", over=True),
        "ordinary": times("ordinary", "us", over=False),
    }
    result = Result("sign", "What a signature costs", settings)
    result.bars = [
        Bar(
            "redeem over HTTP, durable: share of the ceiling (verify, sign)",
            REDEEM_SHARE,
            median(found["redeem"]),
            "%",
        ),
        Bar(
            "issue and redeem: share of the ceiling (BlindSign as well)",
            WHOLE_SHARE,
            median(found["whole"]),
            "%",
        ),
        Bar(
            "redeem, requests a second, against the floor's",
            FLOOR_TIMES,
            median(found["floor"]),
            "x",
        ),
        Bar(
            "redeem, requests in a CPU-second, against an ordinary Django view's",
            ORDINARY_TIMES,
            median(found["ordinary"]),
            "x",
        ),
    ]
    result.tables = [_servers(rounds), _lines(rounds), _ceiling(rounds)]
    result.notes = _notes(found)
    result.measured = {"rounds": rounds.found, "ratios": found}
    return result


def _servers(rounds: Rounds) -> Table:
    rows = []
    for variant, text in _SERVERS.items():
        figures = [
            rounds.median(variant, n) for n in ("us", "rate", "p50_ms", "p99_ms")
        ]
        spread = rounds.list_values(variant, "us")
        rows.append(
            [
                text,
                f"{figures[0]:,.0f}",
                f"{min(spread):,.0f}–{max(spread):,.0f}",
                f"{figures[1]:,.0f}",
                f"{figures[2]:,.1f}",
                f"{figures[3]:,.1f}",
                f"{rounds.median(variant, 'others'):.2f}",
            ]
        )
    columns = [
        "What",
        "CPU µs",
        "of all rounds",
        "a second",
        "p50 ms",
        "p99 ms",
        "Others",
    ]
    return Table("By request, or by journey (medians)", columns, rows)


def _lines(rounds: Rounds) -> Table:
    rows = [
        [
            "publication, with its share of closing",
            rounds.median("redeem", "publish_us"),
        ],
        ["asking for a code: the page", rounds.median("eligibility", "ask_us")],
        ["the mail: text and SMTP", rounds.median("eligibility", "mail_us")],
        [
            "confirming: the page with the form",
            rounds.median("eligibility", "confirm_us"),
        ],
    ]
    return Table(
        "On lines of their own, CPU µs a signature",
        ["What", "CPU µs"],
        [[str(text), f"{value:,.0f}"] for text, value in rows],
    )


def _ceiling(rounds: Rounds) -> Table:
    rows = [
        ["PSS verify and Ed25519 sign", rounds.median("redeem", "redeem_ceiling_us")],
        ["BlindSign with its check", rounds.median("issue", "issue_ceiling_us")],
        ["all three", rounds.median("whole", "whole_ceiling_us")],
    ]
    return Table(
        "The host's own, in the same rounds",
        ["What", "µs"],
        [[str(text), f"{value:,.1f}"] for text, value in rows],
    )


def _notes(found: Mapping[str, list[float]]) -> list[str]:
    begun = median(found["whole-begun"])
    return [
        "CPU is user and system time of every process of what is measured: server, "
        "workers, database; the load generator is not counted.",
        "A share is the ceiling's time over the time spent, by round; the figure is "
        "the median of the rounds. The host's rates are taken before and after each "
        "measurement, with the other processors busy as they are while the load runs.",
        "Every signature that was acknowledged stood in the log after closing.",
        "While an issuance file holds at most 2,000 rows it is rebuilt in key order "
        f"after every commit, to show no order; the share is {begun:.1%} then.",
        "Others: processors that were busy with something else meanwhile; where that "
        "is not near 0, requests a second and latencies mean little.",
        "The floor and the Django view run under gunicorn's sync workers; the view has "
        "the middleware that `startproject` writes, and the ORM.",
    ]
