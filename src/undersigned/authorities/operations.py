"""Registering offices."""

from __future__ import annotations

from undersigned.authorities.data import Office
from undersigned.authorities.models import Office as OfficeRow


def register_office(*, office: Office) -> str:
    """Return the id of an office, recording it when it is new; the url is updated."""
    row, _created = OfficeRow.objects.update_or_create(
        name=office.name,
        jurisdiction=office.jurisdiction,
        defaults={"url": office.url},
    )
    return row.id
