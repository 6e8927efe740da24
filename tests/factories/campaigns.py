"""Campaign files as Omar would write them, with what a test wants otherwise."""

from __future__ import annotations

import json
from datetime import date

from undersigned.campaigns.drafting import CampaignDraft, parse_campaign_file

TITLE = "Publish the soil survey before the school moves"
TEXT = "The office shall publish the full soil survey before 1 April 2027."

# A setting given as LEFT_OUT does not stand in the file.
LEFT_OUT = None
Value = str | int | bool | date | list[str] | None


def _write(value: Value) -> str:
    if isinstance(value, date):
        return value.isoformat()
    # JSON's strings, numbers, truth values and lists of strings are TOML's too, but
    # for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def make_campaign_file(
    *,
    text: Value = TEXT,
    office: Value = "District Education Office",
    tail: str = "",
    **changes: Value,
) -> bytes:
    """Return a campaign file: a standard campaign by e-mail unless told otherwise.

    ``changes``: top-level settings. ``text``, ``office``: of the statement and of the
    one office. ``tail``: TOML put at the end, as it is.
    """
    values: dict[str, Value] = {
        "title": TITLE,
        "language": "en",
        "mode": "standard",
        "classes": ["email"],
        **changes,
    }
    lines = [f"{name} = {_write(v)}" for name, v in values.items() if v is not None]
    lines += ["[[offices]]", f"name = {_write(office)}", 'jurisdiction = "Riverside"']
    lines += ["[organiser]", 'name = "Omar"', 'contact = "omar@example.org"']
    lines += ["[statement]", f"text = {_write(text)}", tail]
    return "\n".join(lines).encode() + b"\n"


def make_draft(**changes: Value) -> CampaignDraft:
    """Return the draft in such a file."""
    text = changes.pop("text", TEXT)
    tail = changes.pop("tail", "")
    return parse_campaign_file(make_campaign_file(text=text, tail=str(tail), **changes))
