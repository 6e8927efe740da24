"""The whole two-minute series of petition 131215: 4.19 million signatures, six falls.

``python -m bench.replay_131215 [--fresh]``, an hour or more; goes on where it stopped.
"""

from __future__ import annotations

from bench._whole import Whole, measure

WHOLE = Whole(
    number="131215",
    file="131215-every-2-minutes.csv",
    minutes=90.0,
)


def main() -> int:
    """Replay it and recount it."""
    return measure(WHOLE)


if __name__ == "__main__":
    raise SystemExit(main())
