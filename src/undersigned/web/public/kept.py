"""Which public pages are kept as files, and what each of them depends on.

Every reading page, in every language, and no step of a journey. A page that is added
to ``urls`` and may be kept belongs here; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.conf import settings
from django.urls import reverse
from django.utils import translation

from undersigned.audit.queries import get_newest_number
from undersigned.campaigns.queries import list_campaigns
from undersigned.ledger.open_log import OpenLog
from undersigned.web.rendered.data import KeptPage
from undersigned.web.shared.headers import ERASABLE, READING, STANDING
from undersigned.web.shared.services import Services

_STANDING = ("promises", "privacy", "abuse", "unasked")
_OF_A_CAMPAIGN = ("campaign", "growth", "removals", "records")
_SHOWS_SIGNERS = re.compile(r"/[a-z-]+/c/[a-z0-9-]+/names/")


def shows_signers(address: str) -> bool:
    """Whether what signers chose to show may stand on the page at ``address``."""
    return _SHOWS_SIGNERS.fullmatch(address) is not None


def read_marks(services: Services) -> object:
    """Return what changes whenever any page may have changed, at little cost.

    Every act on a campaign is in the audit trail, also when the clock does it; every
    checkpoint replaces a count.
    """
    logs = list(services.ledger.logs.values())
    return get_newest_number(), [(log.origin, _identify_count(log)) for log in logs]


def _identify_count(log: OpenLog) -> tuple[int, int, int] | None:
    """Return what changes with the published count, which a page shows."""
    try:
        found = (log.folder / "count.json").stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def list_kept_pages(services: Services, shown_changes: int) -> Iterator[KeptPage]:
    """Yield every page that is kept, the list and the campaigns first.

    ``shown_changes``: how often what signers show has changed.
    """
    logs, acts = services.ledger.logs, get_newest_number()
    states = [
        (campaign, _identify_count(logs[campaign.origin]))
        for campaign in list_campaigns()
        if campaign.origin in logs
    ]
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            yield KeptPage(reverse("campaigns"), language, READING, states)
            for state in states:
                given = [state[0].id]
                for name in _OF_A_CAMPAIGN:
                    address = reverse(name, args=given)
                    yield KeptPage(address, language, READING, state)
                yield KeptPage(
                    reverse("names", args=given),
                    language,
                    ERASABLE,
                    # A comment is released by an act that is no checkpoint.
                    (state, shown_changes, acts),
                    shows_signers=True,
                )
            for name in _STANDING:
                yield KeptPage(reverse(name), language, STANDING, language)
