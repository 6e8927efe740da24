"""Reading offices."""

from __future__ import annotations

from collections.abc import Sequence

from undersigned.authorities.data import Office
from undersigned.authorities.models import Office as OfficeRow


def list_offices(*, ids: Sequence[str]) -> list[Office]:
    """Return the offices in the order of ``ids``; unknown ids are left out."""
    found = {row.id: row for row in OfficeRow.objects.filter(id__in=ids)}
    return [
        Office(name=row.name, jurisdiction=row.jurisdiction, url=row.url)
        for office_id in ids
        if (row := found.get(office_id)) is not None
    ]
