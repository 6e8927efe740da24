"""undersigned notice, and campaign hand-over."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run
from undersigned.campaigns.data import NoticeCode
from undersigned.cli import parser


def test_a_notice_is_posted_and_taken_down(run: Run, river: str) -> None:
    posted = run("notice", "post", river, "under-attack", "--json").json()
    assert [one["code"] for one in posted["notices"]] == ["under-attack"]
    assert run("notice", "take-down", river, "under-attack").out == (
        "No notice is shown.\n"
    )


@pytest.mark.parametrize(
    "words, code",
    [
        (("notice", "take-down", "{river}", "keys-lost"), "notice-stands"),
        (("notice", "post", "nowhere", "keys-lost"), "campaign-not-found"),
        (("campaign", "hand-over", "{river}"), "succession-not-agreed"),
    ],
)
def test_it_refuses_what_makes_no_sense(
    run: Run, river: str, words: tuple[str, ...], code: str
) -> None:
    named = [word.format(river=river) for word in words]
    assert run(*named, "--json").error()[1] == code


def test_the_command_line_knows_the_same_codes() -> None:
    assert tuple(map(str, NoticeCode)) == parser.NOTICES
