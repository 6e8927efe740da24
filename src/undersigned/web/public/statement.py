"""The signed text as pages show it: by language, without changing a character of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from undersigned.campaigns.data import Campaign
from undersigned.web.shared import locale


@dataclass(frozen=True, slots=True)
class StatementPart:
    """A stretch of the signed text in one language, or a break between two.

    ``lang``: BCP 47, "" where it is not known. ``title``: "" for a break.
    """

    text: str
    lang: str = ""
    title: str = ""
    is_text: bool = True


def text_language(campaign: Campaign) -> str:
    """Return the ``lang`` attribute of the campaign's own words."""
    return locale.html_code(campaign.language)


_BREAK = "* * *\n\n"
_HEAD = re.compile(r"(?P<title>[^\n]+)\n\n(?P<to>[^\n:]+): (?P<names>[^\n]+)\n\n")
_BY_TO = {"إلى": "ar", "À": "fr", "A": "es"}


def _guess_language(to: str, text: str) -> str:
    """Return the language of a translation: the signed text does not name it.

    ``to``: what stands before the offices (``campaigns.rules``).
    """
    if to == "致":
        known = (len(text.encode(each, "ignore")) for each in ("gb2312", "big5"))
        simplified, traditional = known
        return "zh-Hans" if simplified >= traditional else "zh-Hant"
    return _BY_TO.get(to, "en" if " the " in text else "")


def split_statement(campaign: Campaign) -> list[StatementPart]:
    """Return the signed text by language; the joined parts are its exact characters.

    A language begins with its title and the same offices again. A text that is built
    otherwise is one part.
    """
    whole, lang = campaign.statement, text_language(campaign)
    first = _HEAD.match(whole)
    if first is None:
        return [StatementPart(whole, lang, campaign.title)]
    heads = [first] + [
        head
        for found in re.finditer(re.escape("\n\n" + _BREAK), whole)
        if (head := _HEAD.match(whole, found.end())) and head["names"] == first["names"]
    ]
    parts: list[StatementPart] = []
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        end = following.start() - len(_BREAK) if following else len(whole)
        text = whole[head.start() : end]
        if head is not first:
            lang = _guess_language(head["to"], text)
            parts.append(StatementPart(_BREAK, is_text=False))
        parts.append(StatementPart(text, lang, head["title"]))
    return parts


def choose_title(campaign: Campaign, language: str) -> tuple[str, str]:
    """Return the title in the page's language and its ``lang``.

    Only a title that is part of the signed text is used; else the first one.
    """
    wanted = locale.html_code(language)
    primary = wanted.split("-")[0]
    near = [
        part
        for part in split_statement(campaign)
        if part.is_text and part.lang.split("-")[0] == primary
    ]
    exact = [part for part in near if part.lang == wanted]
    for part in (*exact, *near):
        return part.title, part.lang
    return campaign.title, text_language(campaign)
