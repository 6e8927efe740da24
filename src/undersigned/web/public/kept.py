"""Which public pages are kept as files, and what each of them depends on.

Every reading page, in every language, and no step of a journey. A page that is added
to ``urls`` and may be kept belongs here; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.urls import reverse
from django.utils import translation

from undersigned.audit.queries import get_newest_number
from undersigned.campaigns.queries import list_campaigns
from undersigned.ledger.queries import read_count
from undersigned.ledger.spine import SPINE_PATH
from undersigned.web.public.witnessed import (
    POLICY,
    Witnessed,
    find_witnessed,
    read_policy,
)
from undersigned.web.rendered.data import KeptPage
from undersigned.web.shared.headers import ERASABLE, READING, STANDING
from undersigned.web.shared.services import Services

_STANDING = ("promises", "privacy", "abuse", "unasked")
_OF_A_CAMPAIGN = ("growth", "removals", "records")
_SHOWS_SIGNERS = re.compile(r"/[a-z-]+/c/[a-z0-9-]+/names/")


def shows_signers(address: str) -> bool:
    """Whether what signers chose to show may stand on the page at ``address``."""
    return _SHOWS_SIGNERS.fullmatch(address) is not None


def read_marks(services: Services) -> object:
    """Return what changes whenever any page may have changed, at little cost.

    Every act on a campaign is in the audit trail, also when the clock does it; every
    checkpoint replaces a count. The spine enters it a moment later, and a witness may
    speak later still: then a file in the folder of kept checkpoints is replaced.
    """
    logs, public = list(services.ledger.logs.values()), services.ledger.public
    return (
        get_newest_number(),
        [(log.origin, _identify_count(log.folder)) for log in logs],
        [
            _identify(public / name)
            for name in (
                f"{SPINE_PATH}/checkpoint",
                f"{SPINE_PATH}/checkpoints",
                POLICY,
            )
        ],
    )


def _identify(path: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a file is replaced, or one in a folder."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _identify_count(folder: Path) -> tuple[int, int, int] | None:
    """Return what changes with the published count, which a page shows."""
    return _identify(folder / "count.json")


def _find_witnessed(
    services: Services, origins: list[str]
) -> dict[str, Witnessed | None]:
    """Return what each campaign's page says of the spine."""
    policy, ledger = read_policy(services), services.ledger
    return {
        origin: find_witnessed(
            services,
            policy,
            origin,
            int(read_count(ledger=ledger, origin=origin)["tree_size"]),
        )
        for origin in origins
    }


def list_kept_pages(services: Services, shown_changes: int) -> Iterator[KeptPage]:
    """Yield every page that is kept, the list and the campaigns first.

    ``shown_changes``: how often what signers show has changed.
    """
    logs, acts = services.ledger.logs, get_newest_number()
    states = [
        (campaign, _identify_count(logs[campaign.origin].folder))
        for campaign in list_campaigns()
        if campaign.origin in logs
    ]
    counted = [campaign.origin for campaign, count in states if count is not None]
    spined = _find_witnessed(services, counted)
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            yield KeptPage(reverse("campaigns"), language, READING, states)
            for state in states:
                given = [state[0].id]
                yield KeptPage(
                    reverse("campaign", args=given),
                    language,
                    READING,
                    (state, spined.get(state[0].origin)),
                )
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
