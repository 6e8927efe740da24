"""The drill's server over files whose failures nobody hears."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from undersigned.drills import crash_server


def main() -> int:
    """Serve, whatever the disk says."""
    from undersigned.credentials.issuance_file import IssuanceFile
    from undersigned.kernel import durable
    from undersigned.kernel.errors import StorageFailed
    from undersigned.ledger import export, highwater, spine

    def deafen(write: Callable[..., None]) -> Callable[..., None]:
        def write_or_not(*arguments: Any, **named: Any) -> None:
            with suppress(StorageFailed):
                write(*arguments, **named)

        return write_or_not

    def leave(_self: IssuanceFile) -> None:
        return None

    IssuanceFile.rebuild = leave  # type: ignore[assignment,method-assign]  # broken on purpose
    for module in (export, highwater, spine):
        for name in ("write_durable", "write_atomic"):
            if name in vars(module):
                vars(module)[name] = deafen(vars(durable)[name])
    return crash_server.main()


if __name__ == "__main__":
    sys.exit(main())
