"""Languages of the pages: who reads what, digits and dates, compiled catalogues.

Dates are shown in UTC and say so: a reader's own zone is not known without scripts,
and should not be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from babel.dates import format_date, format_datetime, format_timedelta
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

FOLDER = Path(__file__).resolve().parents[2] / "locale"
"""Where the catalogues lie: the value of Django's LOCALE_PATHS."""

LANGUAGES: tuple[tuple[str, str], ...] = (("en", "English"), ("zh-hans", "简体中文"))
PSEUDO: tuple[str, str] = ("en-xr", "Ŗŧļ")
"""English with accents, set from right to left: to look at, never in production."""
BIDI: tuple[str, ...] = (PSEUDO[0],)

_BABEL = {"en": "en_GB", "zh-hans": "zh_Hans_CN", "en-xr": "en_GB"}
_DAY = {"en": "d MMMM y", "zh-hans": "y年M月d日"}
_SHORT_DAY = {"en": "d MMM", "zh-hans": "M月d日"}
_MOMENT = {"en": "d MMMM y, HH:mm 'UTC'", "zh-hans": "y年M月d日 HH:mm（'UTC'）"}
_SHORT_MOMENT = {"en": "d MMM, HH:mm", "zh-hans": "M月d日 HH:mm"}


def list_languages(mode: str) -> list[tuple[str, str]]:
    """Return code and own name of each language offered in this instance mode."""
    return [*LANGUAGES, PSEUDO] if mode != "production" else list(LANGUAGES)


def html_code(language: str) -> str:
    """Return the BCP 47 code for a ``lang`` attribute."""
    return {"zh-hans": "zh-Hans", "en-xr": "en"}.get(language, language)


def direction(language: str) -> str:
    """Return ``ltr`` or ``rtl``."""
    return "rtl" if language in BIDI else "ltr"


def _babel(language: str) -> str:
    return _BABEL.get(language, "en_GB")


def _pattern(patterns: dict[str, str], language: str) -> str:
    return patterns.get(language, patterns["en"])


def say_number(value: int, language: str) -> str:
    """Return ``value`` in the language's digits and grouping."""
    return format_decimal(value, locale=_babel(language))


def say_day(value: date, language: str, *, short: bool = False) -> str:
    """Return a day; ``short`` leaves the year out."""
    pattern = _pattern(_SHORT_DAY if short else _DAY, language)
    return format_date(value, pattern, locale=_babel(language))


def say_moment(value: datetime, language: str, *, short: bool = False) -> str:
    """Return an instant in UTC to the minute; ``short`` leaves year and zone out."""
    pattern = _pattern(_SHORT_MOMENT if short else _MOMENT, language)
    at = value.astimezone(UTC)
    return format_datetime(at, pattern, tzinfo=UTC, locale=_babel(language))


def say_clock(value: datetime) -> str:
    """Return hours and minutes in UTC, for ticks within one day."""
    return value.astimezone(UTC).strftime("%H:%M")


def say_span(seconds: int, language: str) -> str:
    """Return a length of time in one unit, never rounded up across a unit."""
    unit, size = "second", 1
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            unit, size = name, length
            break
    else:
        if seconds >= 120:
            unit, size = "minute", 60
    rounded = -(-seconds // size) * size
    return format_timedelta(
        timedelta(seconds=rounded),
        granularity=unit,  # type: ignore[arg-type]  # Babel's own Literal, same words
        threshold=1e9 if unit != "day" else 30,
        locale=_babel(language),
    )


_KEPT = re.compile(r"(%\(\w+\)[sd]|%%|<[^>]+>|&\w+;|https?://\S+)")
_ACCENTS = str.maketrans(
    "aceghijklnorstuwyzACDEGHIJKLNORSTUWYZ",
    "åçéĝĥîĵķļñöŕšţûŵýžÅÇÐÉĜĤÎĴĶĻÑÖŔŠŢÛŴÝŽ",
)


def make_pseudo(text: str) -> str:
    """Return ``text`` with accents, in brackets that show where a string ends.

    Placeholders and mark-up stay as they are.
    """
    parts = _KEPT.split(text)
    accented = [
        part if place % 2 else part.translate(_ACCENTS)
        for place, part in enumerate(parts)
    ]
    return f"⟦{''.join(accented)}⟧" if text else text


def _read(path: Path) -> Catalog:
    with path.open("rb") as source:
        return read_po(source, locale=path.parts[-3])


def _make_pseudo_catalog(messages: Iterable[object]) -> Catalog:
    pseudo = Catalog(locale="en", domain="django")
    for message in messages:
        key, context = message.id, message.context  # type: ignore[attr-defined]  # Babel's Message is untyped in iteration
        if not key:
            continue
        if isinstance(key, tuple):
            pseudo.add(key, tuple(make_pseudo(form) for form in key), context=context)
        else:
            pseudo.add(key, make_pseudo(key), context=context)
    return pseudo


def _write(path: Path, catalog: Catalog) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named by process: several may start at once, and each writes the same bytes.
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("wb") as target:
        write_mo(target, catalog)
    aside.replace(path)
    return path


def compile_catalogs(*, force: bool = False) -> list[Path]:
    """Write each ``django.mo`` beside its ``.po`` when it is missing or older.

    The pseudo language has no ``.po``: its catalogue is made from the message ids of
    the first one. Returns what was written. Needs no gettext tools, only Babel.
    """
    written = []
    for source in sorted(FOLDER.glob("*/LC_MESSAGES/django.po")):
        pseudo = FOLDER / "en_XR" / "LC_MESSAGES" / "django.mo"
        target = source.with_suffix(".mo")
        for path in (target, pseudo):
            age = path.stat().st_mtime if path.exists() else 0
            if not force and age >= source.stat().st_mtime:
                continue
            catalog = _read(source)
            if path == pseudo:
                catalog = _make_pseudo_catalog(list(catalog))
            try:
                written.append(_write(path, catalog))
            except OSError:
                # An installation that its user may not write to: what was shipped
                # with it serves, and an older catalogue is better than no start.
                if not path.exists():
                    raise
    return written
