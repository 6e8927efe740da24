"""Pure decisions about campaigns: lifecycle, limits, the form of a statement."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from undersigned.authorities.data import Office
from undersigned.campaigns.data import CampaignState, PublicationMode

TRANSITIONS: Final = {
    CampaignState.DRAFT: {CampaignState.OPEN},
    CampaignState.OPEN: {CampaignState.CLOSING},
    CampaignState.CLOSING: {CampaignState.CLOSED},
    CampaignState.CLOSED: set[CampaignState](),
}

# Classes that can be offered now; "vouched" comes with its own rules later.
CLASS_NUMBERS: Final = {"email": 1, "invitation": 2, "open": 4}
STANCE_NUMBERS: Final = {"for": 0, "reservation": 1, "against": 2}

TITLE_LIMIT: Final = 150
STATEMENT_LIMIT: Final = 20_000
OFFICES_LIMIT: Final = 20

K_DEFAULT: Final = 20
STANDARD_INTERVAL_SECONDS: Final = 60
CLOCK_MINUTES: Final = (15, 60)
CLOCK_DEFAULT_MINUTES: Final = 30

# PROTOCOL §4.7: one hour for retries; then a day in which tokens that were fetched
# to be used "some hours later" can still be redeemed.
RETRIES: Final = timedelta(hours=1)
REDEEM_GRACE: Final = timedelta(days=1)

# How long an organiser is silent before whoever was agreed on takes over.
SUCCESSION_DAYS: Final = (3, 365)

_TO: Final = {
    "en": "To",
    "zh-Hans": "致",
    "zh-Hant": "致",
    "ar": "إلى",
    "fr": "À",
    "es": "A",
}


def can_change(old: CampaignState, new: CampaignState) -> bool:
    """Say whether the lifecycle allows the step."""
    return new in TRANSITIONS[old]


def choose_interval_seconds(mode: PublicationMode, minutes: int) -> int:
    """Return the publication interval; ``minutes`` counts in the slower modes only."""
    if mode is PublicationMode.STANDARD:
        return STANDARD_INTERVAL_SECONDS
    return minutes * 60


def make_statement(*, parts: list[tuple[str, str, str]], offices: list[Office]) -> str:
    """Return the text that is signed, byte for byte.

    ``parts``: (language, title, text), the signed language first; every other language
    shown stands inside the same bytes (PROTOCOL §1, P3).
    """
    names = "; ".join(
        f"{office.name} ({office.jurisdiction})" if office.jurisdiction else office.name
        for office in offices
    )
    blocks = []
    for language, title, text in parts:
        to = _TO.get(language, "To")
        blocks.append(f"{title}\n\n{to}: {names}\n\n{text}")
    return "\n\n* * *\n\n".join(blocks) + "\n"
