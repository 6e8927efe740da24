"""The whole series of petition 700143, about once a minute: 3 million signatures.

``python -m bench.replay_700143 [--fresh]``; goes on where it stopped.
"""

from __future__ import annotations

from bench._whole import Whole, measure

WHOLE = Whole(
    number="700143",
    file="700143-near-minute.csv",
    minutes=70.0,
)


def main() -> int:
    """Replay it and recount it."""
    return measure(WHOLE)


if __name__ == "__main__":
    raise SystemExit(main())
