"""The drill's server over a writer that answers first and commits later."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Timer

from undersigned.drills import crash_server


def main() -> int:
    """Serve, acknowledging what is not durable yet."""
    from undersigned.config.context import set_up_django

    set_up_django()
    from undersigned.ledger.data import PooledSignature
    from undersigned.ledger.open_log import OpenLog
    from undersigned.ledger.writer import Writer

    submit = Writer.submit

    def answer_first(
        self: Writer,
        log: OpenLog,
        pooled: PooledSignature,
        done: Callable[[BaseException | None], None],
    ) -> None:
        done(None)
        Timer(0.3, submit, (self, log, pooled, lambda _error: None)).start()

    Writer.submit = answer_first  # type: ignore[method-assign]  # broken on purpose
    return crash_server.main()


if __name__ == "__main__":
    sys.exit(main())
