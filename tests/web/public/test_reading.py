"""Reading: the list, a campaign, and the pages around it."""

from __future__ import annotations

import html
import json
import re
from datetime import date

import pytest

from tests.factories.campaigns import TEXT, TITLE
from tests.factories.cast import OMAR_ACTS
from tests.factories.instances import Instance
from tests.factories.signers import show
from tests.web.conftest import Reader, text_of
from undersigned.campaigns.data import Campaign
from undersigned.signatures.operations.remove import publish_record
from undersigned.signatures.queries import list_records

BUDGET_BYTES = 60_000


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(id="soil", classes=["email", "open"], show_names=True)


def test_the_list_names_open_campaigns_and_no_drafts(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    instance.create(id="hidden-draft", title="Not yet for anybody")
    page = text_of(reader.opens("/en/"))
    assert TITLE in page
    assert "0 signatures stand" in page
    assert "Not yet for anybody" not in page


def test_an_empty_list_says_so(reader: Reader) -> None:
    assert "No campaign has been opened here yet." in text_of(reader.opens("/en/"))


def test_a_draft_has_no_page(instance: Instance, reader: Reader) -> None:
    instance.create(id="hidden-draft")
    assert reader.opens("/en/c/hidden-draft/").status_code == 404


def test_the_statement_stands_on_the_page_byte_for_byte(
    instance: Instance, reader: Reader
) -> None:
    campaign = instance.open_campaign(id="text", text=f"{TEXT}\n\n  <b>1 & 2</b>")
    body = reader.opens("/en/c/text/").content.decode()
    assert statement_in(body) == campaign.statement
    assert campaign.statement_sha256 in body


def statement_in(body: str) -> str:
    """Return what a browser takes for the text, as it is hashed before signing."""
    shown = re.search(r'<div id="statement"[^>]*>(.*?)</div>', body, re.DOTALL)
    assert shown is not None
    return html.unescape(re.sub(r"</?span[^>]*>", "", shown[1]))


def add_languages(**texts: str) -> str:
    """Return the end of a campaign file: by language, with _ for -, the text."""
    return "".join(
        f"""
[[statement.translations]]
language = "{language.replace("_", "-")}"
title = "{text}!"
text = "{text}"
"""
        for language, text in texts.items()
    )


def test_each_language_of_the_text_is_marked_and_no_character_changes(
    instance: Instance, reader: Reader
) -> None:
    campaign = instance.open_campaign(
        id="text",
        text=f"{TEXT}\n\n* * *\n\nThis is no other language.",
        tail=add_languages(
            zh_Hans="公布土壤调查。", ar="انشروا مسح التربة.", zh_Hant="公佈土壤調查。"
        ),
    )
    body = reader.opens("/en/c/text/").content.decode()
    assert statement_in(body) == campaign.statement
    langs = re.findall(r'<span lang="([^"]*)" dir="auto">', body.split("</h2>")[2])
    assert langs == ["en", "zh-Hans", "ar", "zh-Hant"]


@pytest.mark.parametrize("path", ["", "c/text/", "c/text/sign/", "c/text/removals/"])
def test_a_signed_title_in_the_readers_language_is_the_one_shown(
    instance: Instance, reader: Reader, path: str
) -> None:
    instance.open_campaign(id="text", tail=add_languages(zh_Hans="公布土壤调查。"))
    heading = r'lang="zh-Hans" dir="auto">公布土壤调查。!</(a|h1)>'
    chinese = reader.opens(f"/zh-hans/{path}").content.decode()
    assert re.search(heading, chinese)
    assert "其余页面" not in chinese
    english = reader.opens(f"/en/{path}").content.decode()
    assert not re.search(heading, english)
    assert f'lang="en" dir="auto">{TITLE}</' in english


def test_the_count_shows_its_parts_and_where_it_comes_from(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    instance.announce_approvers(campaign)
    signed = instance.sign_many(campaign, 4)
    instance.sign_many(campaign, 2, klass="open")
    instance.publish(campaign)
    instance.withdraw(campaign, signed[0])
    instance.submit(instance.propose(campaign, instance.index_of(campaign, signed[1])))
    instance.publish(campaign)
    page = text_of(reader.opens("/en/c/soil/"))
    assert "2 signatures stand under this text" in page
    assert "Published in all 6" in page
    assert "Withdrawn by signers − 1" in page
    assert "Removed, with reasons − 1" in page
    assert "By computing work only, shown apart − 2" in page
    assert "as honest as the issuer" in page
    assert re.search(r"As of checkpoint \d+, 21 November 2026, \d\d:\d\d UTC", page)
    assert "undersigned-verify audit https://undersigned.example/c/soil" in page
    assert "− 1 · made by a script No." in page
    removals = text_of(reader.opens("/en/c/soil/removals/"))
    assert "c" * 64 in removals
    assert "made by a script" in removals
    assert "mina, petra" in removals


def test_a_split_campaign_never_shows_its_net_as_support(
    instance: Instance, reader: Reader
) -> None:
    campaign = instance.open_campaign(id="split", stances=["for", "against"])
    instance.sign(campaign, stance="for")
    instance.sign(campaign, "vic@example.org", stance="against")
    instance.publish(campaign)
    page = text_of(reader.opens("/en/c/split/"))
    assert "signatures stand under this text in all, for and against together" in page
    assert "For1" in page.replace(" ", "")
    assert "Against1" in page.replace(" ", "")
    assert "2 signatures, for and against" in text_of(reader.opens("/en/"))


def test_nobody_is_said_to_be_against_where_that_is_not_offered(
    instance: Instance, reader: Reader
) -> None:
    campaign = instance.open_campaign(id="split", stances=["for", "reservation"])
    instance.sign(campaign, stance="for")
    instance.publish(campaign)
    instance.sign(campaign, "vic@example.org", stance="reservation")
    instance.publish(campaign)
    pages = [text_of(reader.opens(f"/en/{path}")) for path in ("", "c/split/")]
    assert "2 signatures, all answers together" in pages[0]
    assert "2 signatures stand under this text, all answers together." in pages[1]
    assert "each checkpoint, all answers together." in pages[1]
    brief = text_of(reader.opens("/en/c/split/sign/"))
    assert "and which answer it gives" in brief
    for page in (*pages, brief):
        assert "against" not in page.replace("Against whom", "")


def test_a_slow_mode_does_not_tell_that_somebody_signed_just_now(
    instance: Instance, reader: Reader
) -> None:
    campaign = instance.open_campaign(id="slow", mode="careful", interval_minutes=15)
    before = text_of(reader.opens("/en/c/slow/"))
    brief = text_of(reader.opens("/en/c/slow/sign/"))
    instance.sign(campaign)
    assert text_of(reader.opens("/en/c/slow/")) == before
    assert text_of(reader.opens("/en/c/slow/sign/")) == brief
    assert "20 or more together; fewer only after a day" in brief


def test_no_page_changes_before_the_next_checkpoint(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    paths = ["/en/", "/en/c/soil/", "/en/c/soil/growth/", "/en/c/soil/names/"]
    before = [reader.opens(path).content for path in paths]
    instance.sign(campaign, shown=show(name="Asha"))
    assert [reader.opens(path).content for path in paths] == before
    instance.publish(campaign)
    assert all(
        reader.opens(path).content != old
        for path, old in zip(paths, before, strict=True)
    )


@pytest.mark.parametrize(
    "mode, polls", [("standard", 1), ("careful", 1), ("danger", 0)]
)
def test_the_open_page_keeps_its_count_fresh_where_that_tells_nobody_anything(
    instance: Instance, reader: Reader, mode: str, polls: int
) -> None:
    campaign = instance.create(
        id="soil", mode=mode, classes=["invitation"], closes_on=date(2026, 12, 31)
    )
    instance.open(campaign, accept_unsealed_keys=True)
    body = reader.opens("/en/c/soil/").content.decode()
    assert body.count("/static/undersigned/count.js") == polls
    assert body.count('data-poll="/c/soil/count.json"') == polls
    # What a script may change stands in count.json under just that name.
    count = json.loads((instance.data / "public/c/soil/count.json").read_bytes())
    for name in re.findall(r'data-(?:count|taken)="([a-z_.]+)"', body):
        found = count
        for part in name.split("."):
            found = found[part]
        assert isinstance(found, int)


def test_names_show_what_was_shown_and_nothing_unreleased(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    instance.sign(campaign, shown=show(name="Asha", comment="For my daughter."))
    instance.publish(campaign)
    page = reader.opens("/en/c/soil/names/")
    assert "Asha" in text_of(page)
    assert "For my daughter." not in text_of(page)
    assert page["X-Robots-Tag"] == "noindex"


def test_a_campaign_without_names_says_so(instance: Instance, reader: Reader) -> None:
    instance.open_campaign(id="quiet", show_names=False)
    assert "shows no names" in text_of(reader.opens("/en/c/quiet/names/"))
    assert "/en/c/quiet/names/" not in reader.opens("/en/c/quiet/").content.decode()


def test_a_long_history_keeps_the_page_small(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    for number in range(45):
        instance.sign(campaign, f"signer-{number}@example.org")
        instance.publish(campaign)
    page = reader.opens("/en/c/soil/")
    body = page.content.decode()
    # The page loads a style sheet, an icon and the script that renews the count.
    assert body.count("<script") == 1
    assets = set(re.findall(r"/static/([\w./-]+)\?v=", body))
    assert assets == {"look.css", "mark.svg", "undersigned/count.js"}
    sizes = [len(_static(name)) for name in assets]
    assert len(page.content) + sum(sizes) < BUDGET_BYTES
    table = body.split("<tbody>")[1].split("</tbody>")[0]
    assert 30 < table.count("<tr>") <= 40
    assert '<svg class="chart"' in body


def _static(name: str) -> bytes:
    from undersigned.config.rendering import STATIC

    return (STATIC / name).read_bytes()


def test_a_closed_campaign_offers_no_signing(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    from datetime import timedelta

    from tests.factories.cast import OMAR_ACTS
    from undersigned.campaigns.operations import begin_closing

    begin_closing(
        actor=OMAR_ACTS,
        campaign_id=campaign.id,
        issuer=instance.engine.services.issuer,
        reason="done",
        at=instance.clock.now(),
    )
    closing = text_of(reader.opens("/en/c/soil/"))
    assert "This campaign is closing" in closing
    assert "Sign this demand" not in closing
    for _step in range(4):
        instance.advance(timedelta(days=1))
    closed = text_of(reader.opens("/en/c/soil/"))
    assert "This campaign is closed" in closed
    assert "withdrawal ended with it" in text_of(reader.opens("/en/c/soil/withdraw/"))
    assert reader.opens("/en/c/soil/sign/").status_code == 302


def test_pages_may_be_kept_shorter_than_a_publication_lasts(
    reader: Reader, campaign: Campaign
) -> None:
    kept = reader.opens("/en/c/soil/")["Cache-Control"]
    seconds = int(re.findall(r"max-age=(\d+)", kept)[0])
    assert "public" in kept
    assert 0 < seconds < campaign.interval_seconds


def test_a_lost_record_of_tokens_is_said_beside_the_count(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    words = "may have been counted twice"
    assert words not in text_of(reader.opens("/en/c/soil/"))
    publish_record(
        actor=OMAR_ACTS,
        ledger=instance.engine.services.ledger,
        campaign=campaign,
        kind="issuance-record-lost",
        sha256="e" * 64,
        at=instance.clock.now(),
    )
    instance.publish(campaign)
    (record,) = list_records(
        ledger=instance.engine.services.ledger, origin=campaign.origin
    )
    page = text_of(reader.opens("/en/c/soil/"))
    assert words in page
    assert f"From entry No. {record.index} of the log on" in page
    assert "可能被计入两次" in text_of(reader.opens("/zh-hans/c/soil/"))
