"""Numbers, days, instants and spans as the reader's language writes them."""

from __future__ import annotations

from datetime import UTC, date, datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from undersigned.web.shared import locale

register = template.Library()


def _language() -> str:
    return get_language() or "en"


@register.filter
def number(value: int) -> str:
    """Write a whole number."""
    return locale.say_number(value, _language())


@register.filter
def counted(value: int, name: str) -> SafeString:
    """Write a number of ``count.json`` that a script may keep fresh."""
    return format_html('<span data-count="{}">{}</span>', name, number(value))


@register.filter
def day(value: date) -> SafeString:
    """Write a day with its year."""
    said = locale.say_day(value, _language())
    return format_html('<time datetime="{}">{}</time>', value.isoformat(), said)


def _machine(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


@register.filter
def moment(value: datetime) -> SafeString:
    """Write an instant to the minute, with its year and zone."""
    said = locale.say_moment(value, _language())
    return format_html('<time datetime="{}">{}</time>', _machine(value), said)


@register.filter
def short_moment(value: datetime) -> SafeString:
    """Write an instant for a column whose head names year and zone."""
    said = locale.say_moment(value, _language(), short=True)
    return format_html('<time datetime="{}">{}</time>', _machine(value), said)


@register.filter
def span(seconds: int) -> str:
    """Write a length of time."""
    return locale.say_span(seconds, _language())


def _with_sign(sign: str, value: int) -> SafeString:
    # Without a direction of its own "− 942" is set as "942 −" from right to left.
    return format_html('<bdi dir="ltr">{}{}</bdi>', sign, number(value))


@register.filter
def taken(value: int) -> SafeString:
    """Write how many are taken off a count."""
    return _with_sign("− " if value else "", value)


@register.filter
def change(value: int) -> SafeString:
    """Write by how many a count rose or fell."""
    return _with_sign("−" if value < 0 else "+", abs(value))


@register.simple_tag
def gap() -> str:
    """Write what stands between two sentences: a space, and in Chinese nothing."""
    return "" if _language().startswith("zh") else " "
