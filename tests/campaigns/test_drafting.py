"""Reading a campaign file: everything that is wrong with it is named."""

from __future__ import annotations

import unicodedata
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify.statement import check_characters, check_form

from tests.factories.campaigns import LEFT_OUT, TEXT, TITLE, Value, make_campaign_file
from tests.support import ROOT
from undersigned.campaigns.data import PublicationMode
from undersigned.campaigns.drafting import CampaignFileNotValid, parse_campaign_file
from undersigned.kernel.errors import Refused
from undersigned.safety.text import TextNotClean

EXAMPLES = sorted(ROOT.glob("examples/*.toml")) + sorted(
    ROOT.glob("src/undersigned/examples/*.toml")
)
CLOSES = date(2027, 3, 31)
TRANSLATION = """
[[statement.translations]]
language = "zh-Hans"
title = "公布土壤调查"
text = "主管部门应公布完整的土壤调查。"
"""


def make(**changes: Value) -> bytes:
    return make_campaign_file(**changes)  # type: ignore[arg-type]  # settings by name


def refuse(data: bytes) -> tuple[object, str]:
    """Return the field and the problem named for a file; the usual one is taken."""
    parse_campaign_file(make())
    with pytest.raises(CampaignFileNotValid) as caught:
        parse_campaign_file(data)
    return caught.value.data["field"], str(caught.value.data["problem"])


class TestAGoodFile:
    @pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
    def test_an_example_can_be_read(self, path: object) -> None:
        from pathlib import Path

        assert isinstance(path, Path)
        draft = parse_campaign_file(path.read_bytes())
        assert draft.offices
        check_characters(check_form(draft.statement.encode()))

    def test_it_says_little_and_gets_careful_defaults(self) -> None:
        draft = parse_campaign_file(make(mode=LEFT_OUT, classes=LEFT_OUT))
        assert draft.mode is PublicationMode.CAREFUL
        assert draft.classes == ("email",)
        assert draft.stances == ("for",)
        assert draft.k == 20
        assert draft.interval_seconds == 1800
        assert draft.show_names
        assert (draft.id, draft.closes_on, draft.replay) == (None, None, None)

    def test_danger_mode_turns_names_and_mail_off(self) -> None:
        draft = parse_campaign_file(
            make(mode="danger", classes=LEFT_OUT, closes_on=CLOSES)
        )
        assert draft.classes == ("invitation",)
        assert not draft.show_names

    def test_the_organiser_may_insist_on_mail_in_danger_mode(self) -> None:
        data = make(mode="danger", classes=["email", "invitation"], closes_on=CLOSES)
        assert parse_campaign_file(data).classes == ("email", "invitation")

    def test_classes_and_stances_come_in_the_protocols_order(self) -> None:
        draft = parse_campaign_file(
            make(
                classes=["open", "email", "invitation"],
                stances=["against", "for", "reservation"],
            )
        )
        assert draft.classes == ("email", "invitation", "open")
        assert draft.stances == ("for", "reservation", "against")

    @pytest.mark.parametrize(
        "mode, minutes, seconds",
        [("standard", 60, 60), ("careful", 15, 900), ("careful", 60, 3600)],
    )
    def test_the_clock_counts_in_the_slower_modes(
        self, mode: str, minutes: int, seconds: int
    ) -> None:
        draft = parse_campaign_file(make(mode=mode, interval_minutes=minutes))
        assert draft.interval_seconds == seconds

    def test_its_day_and_id_are_kept(self) -> None:
        draft = parse_campaign_file(make(id="river-path", closes_on=CLOSES, crowd=40))
        assert (draft.id, draft.closes_on, draft.k) == ("river-path", CLOSES, 40)

    def test_a_replay_names_its_source(self) -> None:
        tail = '[replay]\ntitle = "Figures"\nurl = "https://data.example/"\nscale = 100'
        replay = parse_campaign_file(make(tail=tail)).replay
        assert replay is not None
        assert (replay.title, replay.scale, replay.licence) == ("Figures", 100, "")


class TestTheStatement:
    def test_it_holds_demand_offices_and_every_language_shown(self) -> None:
        statement = parse_campaign_file(make(tail=TRANSLATION)).statement
        assert statement == (
            f"{TITLE}\n\nTo: District Education Office (Riverside)\n\n{TEXT}\n\n"
            "* * *\n\n"
            "公布土壤调查\n\n致: District Education Office (Riverside)\n\n"
            "主管部门应公布完整的土壤调查。\n"
        )

    def test_it_is_nfc_with_line_feeds_however_it_was_typed(self) -> None:
        statement = parse_campaign_file(
            make(text="Cafe\u0301\r\nand\rmore  \n\n", title=f" {TITLE} ")
        ).statement
        assert statement.endswith("\n\nCaf\u00e9\nand\nmore\n")
        assert statement.startswith(f"{TITLE}\n")

    @given(
        text=st.text(min_size=1, max_size=60),
        title=st.text(min_size=1, max_size=30),
        office=st.text(min_size=1, max_size=30),
    )
    def test_whatever_is_taken_the_verifier_takes(
        self, text: str, title: str, office: str
    ) -> None:
        try:
            draft = parse_campaign_file(make(text=text, title=title, office=office))
        except Refused:
            return
        assert unicodedata.is_normalized("NFC", draft.statement)
        check_characters(check_form(draft.statement.encode()))

    @pytest.mark.parametrize(
        "character",
        [
            *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
            *"\x00\x01\x08\x09\x0b\x0c\x1b\x7f\x80\x9f",
            *"\u2028\u2029\ufeff\ufff9\ufffa\ufffb\U000e0001\U000e0041",
            *"\u200b\u2060\u00ad",
            *"\ue000\ufffe",
        ],
        ids=lambda c: f"U+{ord(c):04X}",
    )
    @pytest.mark.parametrize("field", ["title", "text", "office"])
    def test_characters_that_mislead_or_hide_are_refused(
        self, character: str, field: str
    ) -> None:
        values: dict[str, Value] = {field: f"We ask{character} them"}
        parse_campaign_file(make(**{field: "We ask them"}))
        with pytest.raises(TextNotClean) as caught:
            parse_campaign_file(make(**values))
        assert caught.value.data["position"] == 6

    def test_they_are_refused_in_a_translation_and_an_organisers_name(self) -> None:
        for tail in (TRANSLATION.replace("公布", "公\u202e布"),):
            with pytest.raises(TextNotClean):
                parse_campaign_file(make(tail=tail))
        with pytest.raises(TextNotClean):
            parse_campaign_file(make().replace(b'"Omar"', '"Om\u202ear"'.encode()))

    @pytest.mark.parametrize("joiner", ["\u200c", "\u200d"])
    def test_joiners_that_scripts_need_are_kept(self, joiner: str) -> None:
        draft = parse_campaign_file(make(text=f"نمی{joiner}خواهیم"))
        assert joiner in draft.statement


class TestABadFile:
    @pytest.mark.parametrize(
        "changes, field, problem",
        [
            ({"title": LEFT_OUT}, "title", "missing"),
            ({"title": "  "}, "title", "missing"),
            ({"title": 7}, "title", "text"),
            ({"title": "a" * 151}, "title", "150"),
            ({"title": "two\nlines"}, "title", "one line"),
            ({"language": 7}, "language", "text"),
            ({"id": "abc"}, "id", "4 to 40"),
            ({"id": "River"}, "id", "4 to 40"),
            ({"id": "9lives"}, "id", "4 to 40"),
            ({"id": "river-"}, "id", "4 to 40"),
            ({"id": "a" * 41}, "id", "4 to 40"),
            ({"id": "../etc"}, "id", "4 to 40"),
            ({"id": 7}, "id", "4 to 40"),
            ({"mode": "secret"}, "mode", "danger"),
            ({"mode": 7}, "mode", "danger"),
            ({"mode": ["careful"]}, "mode", "danger"),
            ({"classes": []}, "classes", "at least one"),
            ({"classes": "email"}, "classes", "list"),
            ({"classes": ["email", "email"]}, "classes", "twice"),
            ({"classes": ["vouched"]}, "classes", "vouched"),
            ({"stances": ["maybe"]}, "stances", "maybe"),
            ({"stances": []}, "stances", "at least one"),
            ({"closes_on": "2027-03-31"}, "closes_on", "day"),
            ({"closes_on": 7}, "closes_on", "day"),
            ({"show_names": "yes"}, "show_names", "true or false"),
            ({"crowd": 19}, "crowd", "20 to 1000"),
            ({"crowd": 1001}, "crowd", "20 to 1000"),
            ({"crowd": "20"}, "crowd", "whole number"),
            ({"crowd": True}, "crowd", "whole number"),
            ({"interval_minutes": 14}, "interval_minutes", "15 to 60"),
            ({"interval_minutes": 61}, "interval_minutes", "15 to 60"),
            ({"mode": "danger"}, "closes_on", "required in danger"),
            (
                {"mode": "danger", "closes_on": CLOSES, "show_names": True},
                "show_names",
                "danger",
            ),
            ({"office": ""}, "offices.name", "missing"),
            ({"office": "two\nlines"}, "offices.name", "one line"),
            ({"office": "a" * 201}, "offices.name", "200"),
            ({"text": ""}, "statement.text", "missing"),
            ({"text": "a" * 20_001}, "statement.text", "20000"),
            ({"colour": "red"}, "colour", "not a known setting"),
        ],
    )
    def test_it_is_refused_by_name(
        self, changes: dict[str, Value], field: str, problem: str
    ) -> None:
        found, said = refuse(make(**changes))
        assert found == field
        assert problem in said

    @pytest.mark.parametrize(
        "old, new, field, problem",
        [
            (b'classes = ["email"]', b'classes = [["email"]]', "classes", "knows"),
            (b'classes = ["email"]', b"classes = [7]", "classes", "knows"),
            (b"[[offices]]", b"[offices]", "offices", "at least one"),
            (b"[organiser]", b"[[organiser]]", "organiser", "table"),
            (b"[statement]", b"[[statement]]", "statement", "table"),
            (b'"Riverside"', b"7", "jurisdiction", "text"),
            (b'"Riverside"', b'"a"\nurl = "ftp://x"', "offices.url", "http"),
            (b'"Riverside"', b'"a"\nurl = "javascript:x"', "offices.url", "http"),
            (b'"Riverside"', b'"a"\nurl = "http://[x"', "offices.url", "http"),
            (b'"Omar"', b'"two\\nlines"', "organiser.name", "one line"),
            (b'"careful"', b"", "file", "TOML"),
        ],
    )
    def test_it_is_refused_by_name_in_its_tables_too(
        self, old: bytes, new: bytes, field: str, problem: str
    ) -> None:
        data = make(mode="careful")
        assert old in data
        changed = data.replace(old, new, 1)
        with pytest.raises(CampaignFileNotValid) as caught:
            parse_campaign_file(changed)
        assert caught.value.data["field"] == field
        assert problem in str(caught.value.data["problem"])

    @pytest.mark.parametrize(
        "tail, field",
        [
            ("translations = 7", "statement.translations"),
            ("translations = [7]", "statement.translations"),
            (
                '[[statement.translations]]\ntitle="x"',
                "statement.translations.language",
            ),
            (
                '[[statement.translations]]\nlanguage="fr"\ntext="x"',
                "statement.translations.title",
            ),
            (
                '[[statement.translations]]\nlanguage="fr"\ntitle="x"',
                "statement.translations.text",
            ),
            ("[replay]\nscale = 1", "replay.title"),
            ('[replay]\ntitle = "x"\nscale = 0', "scale"),
            ('[replay]\ntitle = "x"\nurl = "file:///etc/passwd"', "replay.url"),
        ],
    )
    def test_it_is_refused_by_name_at_its_end_too(self, tail: str, field: str) -> None:
        found, _said = refuse(make(tail=tail))
        assert found == field

    def test_somebody_is_addressed(self) -> None:
        head, _offices, tail = make().partition(b"[[offices]]")
        data = head + tail[tail.index(b"[organiser]") :]
        assert refuse(data) == ("offices", "must name at least one office")

    def test_an_office_is_addressed_once(self) -> None:
        twice = b'[[offices]]\nname = "A"\n[[offices]]\nname = "A"\n[organiser]'
        data = make().replace(b"[organiser]", twice)
        assert refuse(data) == ("offices", "name one office twice")

    def test_offices_have_an_end(self) -> None:
        many = b"".join(b'[[offices]]\nname = "A%d"\n' % n for n in range(20))
        data = make().replace(b"[organiser]", many + b"[organiser]")
        assert refuse(data) == ("offices", "are more than 20")

    @pytest.mark.parametrize(
        "data, problem",
        [
            (b"\xff\xfe", "not UTF-8"),
            (b"title = ", "not TOML"),
            (b"title = 'a'\ntitle = 'b'", "not TOML"),
            (b"x" * 200_001, "larger than"),
            (b"a = " + b"[" * 5_000, "not TOML"),
        ],
    )
    def test_what_is_no_campaign_file_is_refused(
        self, data: bytes, problem: str
    ) -> None:
        field, said = refuse(data)
        assert field == "file"
        assert problem in said

    @given(data=st.binary(max_size=200))
    def test_no_bytes_break_it(self, data: bytes) -> None:
        with pytest.raises(Refused):
            parse_campaign_file(data)
