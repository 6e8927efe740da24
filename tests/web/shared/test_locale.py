"""Numbers, days and spans in each language, and the pseudo language."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from undersigned.web.shared import locale

AT = datetime(2026, 3, 9, 2, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "language,number,day,moment",
    [
        ("en", "1,234,567", "9 March 2026", "9 March 2026, 02:05 UTC"),
        ("zh-hans", "1,234,567", "2026年3月9日", "2026年3月9日 02:05（UTC）"),
        ("en-xr", "1,234,567", "9 March 2026", "9 March 2026, 02:05 UTC"),
    ],
)
def test_each_language_writes_its_own_way(
    language: str, number: str, day: str, moment: str
) -> None:
    assert locale.say_number(1_234_567, language) == number
    assert locale.say_day(date(2026, 3, 9), language) == day
    assert locale.say_moment(AT, language) == moment


@pytest.mark.parametrize(
    "seconds,english,chinese",
    [
        (1, "1 second", "1秒钟"),
        (60, "1 minute", "1分钟"),
        (90, "90 seconds", "90秒钟"),
        (150, "3 minutes", "3分钟"),
        (1800, "30 minutes", "30分钟"),
        (3600, "1 hour", "1小时"),
        (86400, "1 day", "1天"),
    ],
)
def test_a_span_is_said_in_one_unit(seconds: int, english: str, chinese: str) -> None:
    assert locale.say_span(seconds, "en") == english
    assert locale.say_span(seconds, "zh-hans") == chinese


def test_the_pseudo_language_keeps_what_is_not_text() -> None:
    said = locale.make_pseudo("Since %(day)s, see <a href='x'>here</a> &amp; 5 %%")
    assert said == "⟦Šîñçé %(day)s, šéé <a href='x'>ĥéŕé</a> &amp; 5 %%⟧"


def test_production_has_no_pseudo_language() -> None:
    assert "en-xr" not in dict(locale.list_languages("production"))
    assert "en-xr" in dict(locale.list_languages("development"))


def test_catalogues_are_made_when_missing_or_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "zh_Hans" / "LC_MESSAGES" / "django.po"
    source.parent.mkdir(parents=True)
    head = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    source.write_text(f'{head}msgid "Sign"\nmsgstr "签名"\n', encoding="utf-8")
    monkeypatch.setattr(locale, "FOLDER", tmp_path)
    written = [path.parts[-3] for path in locale.compile_catalogs()]
    assert written == ["zh_Hans", "en_XR"]
    assert locale.compile_catalogs() == []
    assert len(locale.compile_catalogs(force=True)) == 2
