"""All nonces of a log, sorted into parts, kept in a temporary file when they grow.

Ten million nonces are 320 MB. Equal ones fall into the same part, by their first byte,
and a part of 1/256 fits memory easily.
"""

from array import array
from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Final, Self

from undersigned_verify.chunk import PARTS

_NONCE: Final = 32


class Spill:
    """Collects nonces; at most ``limit`` bytes of them in memory."""

    def __init__(self, limit: int = 4_000_000) -> None:
        self._limit = limit
        self._held = 0
        self._parts = [bytearray() for _ in range(PARTS)]
        # The file has no name, so nothing is left behind whatever happens.
        self._file: IO[bytes] | None = None
        # For each flush, the length in bytes of every part.
        self._flushes: list[array[int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, nonces: bytes, starts: Sequence[int]) -> None:
        """Add sorted nonces; ``starts[i]``: how many begin with at most byte ``i``."""
        low = 0
        for part, start in zip(
            self._parts, (*starts, len(nonces) // _NONCE), strict=True
        ):
            high = start * _NONCE
            part.extend(nonces[low:high])
            low = high
        self._held += len(nonces)
        if self._held >= self._limit:
            self._flush()

    def _flush(self) -> None:
        if self._file is None:
            # Closed by __exit__: it lives as long as this object.
            self._file = TemporaryFile(prefix="undersigned-verify-")  # noqa: SIM115
        self._file.seek(0, 2)
        self._flushes.append(array("Q", map(len, self._parts)))
        for part in self._parts:
            self._file.write(part)
            part.clear()
        self._held = 0

    def parts(self) -> Iterator[bytes]:
        """Yield each part's nonces, joined."""
        offsets = []
        at = 0
        for lengths in self._flushes:
            offsets.append(at)
            at += sum(lengths)
        for number, rest in enumerate(self._parts):
            found = []
            for i, lengths in enumerate(self._flushes):
                found.append(self._read(offsets[i], lengths[number]))
                offsets[i] += lengths[number]
            yield b"".join([*found, rest])

    def _read(self, offset: int, length: int) -> bytes:
        assert self._file is not None
        self._file.seek(offset)
        return self._file.read(length)
