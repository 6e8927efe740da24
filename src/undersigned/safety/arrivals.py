"""How requests arrive, counted: for the doctor, who compares it with the settings.

Numbers since the start, in memory. No address, no time, nothing of any one request.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Arrivals:
    """Counts of requests that are no files.

    ``direct``: without a forwarded address. ``believed``: with one, from a trusted
    proxy. ``not_believed``: with one, from somebody else. ``plain``: whatever brought
    them did not say https.
    """

    direct: int = 0
    believed: int = 0
    not_believed: int = 0
    plain: int = 0

    def note(self, *, client: str | None, forwarded: str | None, scheme: str) -> None:
        """Count one. ``client``: as the limits see it, after the proxy's word."""
        if forwarded is None:
            self.direct += 1
        elif client in [each.strip() for each in forwarded.split(",")]:
            self.believed += 1
        else:
            self.not_believed += 1
        if scheme != "https":
            self.plain += 1

    def as_json(self) -> dict[str, int]:
        """Return the counts."""
        return asdict(self)
