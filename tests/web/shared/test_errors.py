"""One table from an error to a status, a page and JSON."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator

import pytest

import undersigned
from tests.factories.instances import Instance
from tests.web.conftest import Reader, text_of
from undersigned.kernel.errors import Refused, Unavailable, UndersignedError
from undersigned.web.shared import problem
from undersigned.web.shared.errors import handler400, handler403, handler500

# Only the operator's command line can meet these: it speaks for itself.
OPERATORS_ONLY = {
    "benches-not-here",
    "campaign-exists",
    "campaign-file-not-valid",
    "campaign-not-in-state",
    "closing-day-past",
    "folder-damaged",
    "folder-exists",
    "how-far-unknown",
    "keys-must-be-sealed",
    "log-forked",
    "log-not-closed",
    "log-seen-further",
    "mirror-of-another",
    "mirror-refused",
    "not-a-replay",
    "notice-stands",
    "origin-reserved",
    "signing-key-differs",
    "reason-not-valid",
    "succession-not-agreed",
    "switch-stands",
    "record-not-lost",
    "replay-running",
    "restore-unfinished",
    "nothing-shown",
    "proposal-not-valid",
    "replay-not-possible",
    "rolled-back",
    "series-not-valid",
    "writer-busy",
    # Of witnessing; the first is told to logs as a size (tests/hot/test_witness.py).
    "cosigned-otherwise",
    "log-key-differs",
    "own-log",
    "quorum-not-possible",
    "too-many-logs",
    "too-many-witnesses",
    "vkey-not-valid",
    "witness-listed",
    "witness-not-listed",
    "witness-url-not-valid",
}


def find_errors() -> Iterator[type[UndersignedError]]:
    for module in pkgutil.walk_packages(undersigned.__path__, "undersigned."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting = list(UndersignedError.__subclasses__())
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        # Not what other tests define, and not the drills' and replays' own.
        if error.__module__.startswith("undersigned."):
            yield error


def test_every_error_that_a_visitor_can_meet_has_its_own_words() -> None:
    families = {*problem.FAMILIES, UndersignedError}
    silent = {
        error.code
        for error in find_errors()
        if error not in families
        and error.code not in problem.CODES
        and not error.__module__.startswith(("undersigned.cli", "undersigned.config"))
    }
    assert silent <= OPERATORS_ONLY


def test_every_word_belongs_to_an_error() -> None:
    codes = {error.code for error in find_errors()}
    assert set(problem.CODES) <= codes


def test_json_has_one_shape_and_says_when_to_return() -> None:
    status, body, headers = problem.problem(Unavailable(retry_after_seconds=7))
    assert status == 503
    found = json.loads(body)
    assert set(found) == {"type", "title", "status", "code", "detail"}
    assert found["type"] == "about:blank"
    assert (b"retry-after", b"7") in headers
    assert (b"content-type", b"application/problem+json") in headers


def test_an_unknown_code_gets_its_familys_words() -> None:
    class NewRule(Refused):
        code = "new-rule"

    assert problem.say(NewRule()).status == 400


def test_a_missing_page_is_kind_in_every_language(reader: Reader) -> None:
    page = reader.opens("/en/no-such-page/")
    assert page.status_code == 404
    assert "There is nothing here" in text_of(page)
    chinese = reader.opens("/zh-hans/c/no-such-campaign/")
    assert chinese.status_code == 404
    assert "没有这项联署" in text_of(chinese)


def test_programs_get_json(reader: Reader) -> None:
    page = reader.opens("/en/c/no-such-campaign/", accept="application/json")
    assert page["Content-Type"] == "application/problem+json"
    assert json.loads(page.content)["code"] == "campaign-not-found"


def test_a_wrong_method_is_told_the_right_ones(
    instance: Instance, reader: Reader
) -> None:
    page = reader.sends("/en/promises/")
    assert page.status_code == 405
    assert page["Allow"] == "GET, HEAD"
    assert "does not take such a request" in text_of(page)


def test_a_body_that_is_too_large_is_refused_kindly(reader: Reader) -> None:
    page = reader.sends("/en/check/", {"text": "x" * 400_000})
    assert page.status_code == 413
    assert "That is too large" in text_of(page)


def test_a_locked_instance_still_reads(instance: Instance, reader: Reader) -> None:
    campaign = instance.open_campaign(id="soil")
    instance.engine.services.issuer.versions.clear()
    page = reader.sends("/en/c/soil/sign/ask/", {"klass": "email", "address": "a@b.cd"})
    assert page.status_code in (404, 503)
    assert reader.opens(f"/en/c/{campaign.id}/").status_code == 200


@pytest.mark.parametrize("status", sorted(problem.STATUSES))
def test_every_status_has_a_page(reader: Reader, status: int) -> None:
    from django.test import RequestFactory

    from undersigned.web.shared.errors import status_page

    page = status_page(RequestFactory().get("/en/x/"), status)
    assert page.status_code == status
    assert str(status) in text_of(page)


def test_djangos_own_handlers_speak_in_the_same_voice() -> None:
    from django.test import RequestFactory

    request = RequestFactory().get("/en/x/")
    assert handler400(request, ValueError()).status_code == 400
    assert handler403(request, PermissionError()).status_code == 403
    assert handler500(request).status_code == 500
