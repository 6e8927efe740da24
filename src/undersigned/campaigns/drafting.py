"""Reading a campaign file (TOML) into a draft, with errors a person can act on."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar
from urllib.parse import urlsplit

from undersigned.authorities.data import Office
from undersigned.campaigns import rules
from undersigned.campaigns.data import PublicationMode, Succession
from undersigned.kernel.errors import Refused
from undersigned.safety.text import normalize, require_clean

MAX_FILE_BYTES = 200_000
_ID = re.compile(r"[a-z][a-z0-9-]{2,38}[a-z0-9]")
_KEYS = frozenset(
    "id title language mode classes stances closes_on show_names interval_minutes "
    "crowd offices statement organiser succession replay".split()
)


class CampaignFileNotValid(Refused):
    """The file is not a campaign. ``field`` and ``problem`` say where and why."""

    code: ClassVar[str] = "campaign-file-not-valid"


@dataclass(frozen=True, slots=True)
class ReplayNote:
    """What a demonstration says about the figures it replays."""

    title: str
    url: str
    licence: str
    scale: int


@dataclass(frozen=True, slots=True)
class CampaignDraft:
    """A campaign as its organiser wrote it; ``id`` None: one is drawn."""

    id: str | None
    title: str
    language: str
    mode: PublicationMode
    classes: tuple[str, ...]
    stances: tuple[str, ...]
    closes_on: date | None
    show_names: bool
    k: int
    interval_seconds: int
    offices: tuple[Office, ...]
    statement: str
    organiser_name: str
    organiser_contact: str
    succession: Succession | None
    replay: ReplayNote | None


def _fail(field: str, problem: str) -> CampaignFileNotValid:
    return CampaignFileNotValid(field=field, problem=problem)


def _text(table: dict[str, Any], name: str, *, limit: int, field: str = "") -> str:
    field = field or name
    value = table.get(name, "")
    if not isinstance(value, str):
        raise _fail(field, "must be text")
    clean = normalize(value)
    if len(clean) > limit:
        raise _fail(field, f"is longer than {limit} characters")
    require_clean(clean, field=field)
    return clean


def _require_text(table: dict[str, Any], name: str, *, limit: int, field: str) -> str:
    value = _text(table, name, limit=limit, field=field)
    if not value:
        raise _fail(field, "is missing")
    return value


def _line(value: str, field: str) -> str:
    if "\n" in value:
        raise _fail(field, "must be one line")
    return value


def _names(
    table: dict[str, Any], name: str, default: list[str], allowed: dict[str, int]
) -> tuple[str, ...]:
    value = table.get(name, default)
    if not isinstance(value, list) or not value:
        raise _fail(name, "must be a list of at least one name")
    if len(set(map(str, value))) != len(value):
        raise _fail(name, "names one twice")
    for item in value:
        if not isinstance(item, str) or item not in allowed:
            raise _fail(name, f"knows {', '.join(allowed)}; not {item!r}")
    return tuple(sorted(value, key=lambda item: allowed[item]))


def _url(value: str, field: str) -> str:
    try:
        scheme = urlsplit(value).scheme if value else "https"
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https"):
        raise _fail(field, "must be an address that begins with http:// or https://")
    return value


def parse_campaign_file(data: bytes) -> CampaignDraft:
    """Return the draft in a TOML file.

    Raises CampaignFileNotValid (what is wrong and where) and TextNotClean (a control
    or bidirectional character in something that people will sign).
    """
    if len(data) > MAX_FILE_BYTES:
        raise _fail("file", f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _fail("file", f"is not UTF-8: byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise _fail("file", f"is not TOML: {error}") from error
    except RecursionError:
        raise _fail("file", "is not TOML that anybody would write: too deep") from None
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise _fail(unknown[0], "is not a known setting")
    return _read_draft(table)


def _read_draft(table: dict[str, Any]) -> CampaignDraft:
    mode = _mode(table)
    title = _line(
        _require_text(table, "title", limit=rules.TITLE_LIMIT, field="title"), "title"
    )
    language = _line(_text(table, "language", limit=20) or "en", "language")
    offices = _offices(table)
    organiser = _table(table, "organiser")
    return CampaignDraft(
        id=_id(table),
        title=title,
        language=language,
        mode=mode,
        classes=_classes(table, mode),
        stances=_names(table, "stances", ["for"], rules.STANCE_NUMBERS),
        closes_on=_closes_on(table, mode),
        show_names=_show_names(table, mode),
        k=_integer(table, "crowd", rules.K_DEFAULT, 20, 1000),
        interval_seconds=_interval(table, mode),
        offices=offices,
        statement=_statement(table, title, language, offices),
        organiser_name=_line(_text(organiser, "name", limit=120), "organiser.name"),
        organiser_contact=_line(
            _text(organiser, "contact", limit=200), "organiser.contact"
        ),
        succession=_succession(table),
        replay=_replay(table, mode),
    )


# Nobody waits that long; and days are added to it.
_LAST_YEAR = 2199


def _id(table: dict[str, Any]) -> str | None:
    value = table.get("id")
    if value is None:
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _fail("id", "must be 4 to 40 of a-z, 0-9 and -, beginning with a letter")
    return value


def _mode(table: dict[str, Any]) -> PublicationMode:
    try:
        return PublicationMode(table.get("mode", "careful"))
    except ValueError:
        raise _fail("mode", "must be standard, careful or danger") from None


def _classes(table: dict[str, Any], mode: PublicationMode) -> tuple[str, ...]:
    # In danger mode the mail itself is evidence: e-mail is there only when asked for.
    default = ["invitation"] if mode is PublicationMode.DANGER else ["email"]
    return _names(table, "classes", default, rules.CLASS_NUMBERS)


def _closes_on(table: dict[str, Any], mode: PublicationMode) -> date | None:
    value = table.get("closes_on")
    if value is None:
        if mode is PublicationMode.DANGER:
            # A small crowd is published only at close: signers must know when.
            raise _fail("closes_on", "is required in danger mode")
        return None
    if not isinstance(value, date) or hasattr(value, "hour"):
        raise _fail("closes_on", "must be a day, such as 2027-03-31 without quotes")
    if value.year > _LAST_YEAR:
        raise _fail("closes_on", f"must not be later than {_LAST_YEAR}")
    return value


def _show_names(table: dict[str, Any], mode: PublicationMode) -> bool:
    value = table.get("show_names", mode is not PublicationMode.DANGER)
    if not isinstance(value, bool):
        raise _fail("show_names", "must be true or false")
    if value and mode is PublicationMode.DANGER:
        raise _fail("show_names", "cannot be true in danger mode")
    return value


def _succession(table: dict[str, Any]) -> Succession | None:
    if "succession" not in table:
        return None
    found = _table(table, "succession")
    name = _require_text(found, "name", limit=120, field="succession.name")
    contact = _require_text(found, "contact", limit=200, field="succession.contact")
    return Succession(
        name=_line(name, "succession.name"),
        contact=_line(contact, "succession.contact"),
        days=_integer(found, "days", 30, *rules.SUCCESSION_DAYS),
    )


def _integer(
    table: dict[str, Any], name: str, default: int, low: int, high: int
) -> int:
    value = table.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _fail(name, "must be a whole number")
    if not low <= value <= high:
        raise _fail(name, f"must be from {low} to {high}")
    return value


def _interval(table: dict[str, Any], mode: PublicationMode) -> int:
    low, high = rules.CLOCK_MINUTES
    minutes = _integer(
        table, "interval_minutes", rules.CLOCK_DEFAULT_MINUTES, low, high
    )
    return rules.choose_interval_seconds(mode, minutes)


def _table(table: dict[str, Any], name: str) -> dict[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise _fail(name, "must be a table")
    return value


def _offices(table: dict[str, Any]) -> tuple[Office, ...]:
    rows = table.get("offices")
    if not isinstance(rows, list) or not rows:
        raise _fail("offices", "must name at least one office")
    if len(rows) > rules.OFFICES_LIMIT:
        raise _fail("offices", f"are more than {rules.OFFICES_LIMIT}")
    found = []
    for row in rows:
        if not isinstance(row, dict):
            raise _fail("offices", "must be tables, [[offices]]")
        name = _require_text(row, "name", limit=200, field="offices.name")
        found.append(
            Office(
                name=_line(name, "offices.name"),
                jurisdiction=_line(
                    _text(row, "jurisdiction", limit=200), "offices.jurisdiction"
                ),
                url=_url(_text(row, "url", limit=200), "offices.url"),
            )
        )
    if len({(office.name, office.jurisdiction) for office in found}) != len(found):
        raise _fail("offices", "name one office twice")
    return tuple(found)


def _statement(
    table: dict[str, Any], title: str, language: str, offices: tuple[Office, ...]
) -> str:
    statement = _table(table, "statement")
    text = _require_text(
        statement, "text", limit=rules.STATEMENT_LIMIT, field="statement.text"
    )
    parts = [(language, title, text)]
    rows = statement.get("translations", [])
    if not isinstance(rows, list):
        raise _fail("statement.translations", "must be tables")
    for row in rows:
        if not isinstance(row, dict):
            raise _fail("statement.translations", "must be tables")
        field = "statement.translations"
        parts.append(
            (
                _require_text(row, "language", limit=20, field=f"{field}.language"),
                _line(
                    _require_text(
                        row, "title", limit=rules.TITLE_LIMIT, field=f"{field}.title"
                    ),
                    f"{field}.title",
                ),
                _require_text(
                    row, "text", limit=rules.STATEMENT_LIMIT, field=f"{field}.text"
                ),
            )
        )
    return rules.make_statement(parts=parts, offices=list(offices))


def _replay(table: dict[str, Any], mode: PublicationMode) -> ReplayNote | None:
    if "replay" not in table:
        return None
    if mode is not PublicationMode.STANDARD:
        # A replay publishes at each point of its series, crowd or no crowd.
        raise _fail("replay", "is possible in standard mode only")
    row = _table(table, "replay")
    return ReplayNote(
        title=_require_text(row, "title", limit=200, field="replay.title"),
        url=_url(_text(row, "url", limit=200), "replay.url"),
        licence=_text(row, "licence", limit=120),
        scale=_integer(row, "scale", 1, 1, 1_000_000),
    )
