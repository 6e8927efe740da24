"""``POST witness/add-checkpoint``: the statuses of C2SP tlog-witness, and no others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from undersigned_verify.cosignature import find_cosignature, parse_witness_key
from undersigned_verify.note import parse_note

from tests.factories.asgi import Answer, Browser, make_behind
from tests.factories.instances import Instance
from undersigned.drills.small_log import SmallLog
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.keystore import Keystore
from undersigned.safety.intake import Intake
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.files import Files
from undersigned.web.hot.witness import WitnessApp, WitnessPath
from undersigned.witness.operations import get_witness_key, trust_log
from undersigned.witness.request import MAX_REQUEST_BYTES, encode_request
from undersigned.witness.witness import Witness

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ADDRESS = "/witness/add-checkpoint"
SIZE = "text/x.tlog.size"


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    """Petra's witness."""
    data = tmp_path / "petra"
    found = Witness(data, host="petra.example", keystore=Keystore(data / "secrets"))
    yield found
    found.store.close()


@pytest.fixture
def spine(witness: Witness) -> SmallLog:
    """A log that it has cosigned at size 5, and that has grown to 8."""
    log = SmallLog("omar.example/spine")
    log.append(5)
    trust_log(witness=witness, vkey=log.vkey)
    return log


@pytest.fixture
def path(witness: Witness) -> Iterator[WitnessPath]:
    """Its address."""
    found = WitnessPath(witness=witness, clock=FixedClock(NOW))
    yield found
    found.stop()


@pytest.fixture
def client(path: WitnessPath) -> Browser:
    """What speaks to it alone."""
    return Browser(app=WitnessApp(path))


def post(client: Browser, body: bytes) -> Answer:
    return client.post(ADDRESS, body, media="text/plain")


def test_it_cosigns(client: Browser, witness: Witness, spine: SmallLog) -> None:
    answer = post(client, spine.ask(0))
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    key = parse_witness_key(get_witness_key(witness=witness))
    found = find_cosignature(parse_note(spine.sign() + answer.body), key)
    assert found is not None
    assert found.time == int(NOW.timestamp())


Make = Callable[[SmallLog], bytes]


def forked(spine: SmallLog, size: int) -> SmallLog:
    fork = spine.fork(3)
    fork.append(size - 3, salt=b"fork")
    return fork


def unknown(_spine: SmallLog) -> bytes:
    other = SmallLog("mallory.example/spine")
    other.append(5)
    return other.ask(0)


def false(_spine: SmallLog) -> bytes:
    mallory = SmallLog("omar.example/spine")
    mallory.append(8)
    return mallory.ask(5)


@pytest.mark.parametrize(
    "make,status,code",
    [
        (lambda spine: b"", 400, "witness-request-malformed"),
        (lambda spine: spine.sign(), 400, "witness-request-malformed"),
        (lambda spine: b"old 5\n\n", 400, "witness-request-malformed"),
        (
            lambda spine: encode_request(old_size=9, proof=[], note=spine.sign()),
            400,
            "witness-request-malformed",
        ),
        (false, 403, "log-signature-missing"),
        (unknown, 404, "log-not-trusted"),
        (lambda spine: spine.ask(0), 409, None),
        (lambda spine: spine.ask(7), 409, None),
        (lambda spine: spine.ask(3, 4), 409, None),
        (lambda spine: forked(spine, 5).ask(5), 409, None),
        (lambda spine: forked(spine, 5).ask(0), 409, None),
        (lambda spine: forked(spine, 8).ask(5), 422, "consistency-not-proven"),
        (
            lambda spine: encode_request(old_size=5, proof=[], note=spine.sign()),
            422,
            "consistency-not-proven",
        ),
    ],
)
def test_it_refuses_as_the_specification_says(
    client: Browser, spine: SmallLog, make: Make, status: int, code: str | None
) -> None:
    assert post(client, spine.ask(0)).status == 200
    spine.append(3)
    answer = post(client, make(spine))
    assert answer.status == status
    if code is None:
        assert answer.headers["content-type"] == SIZE
        assert answer.body == b"5\n"
    else:
        assert answer.problem() == (status, code)
    # And what is right is cosigned after all.
    assert post(client, spine.ask(5)).status == 200


def test_too_much_is_413(client: Browser, spine: SmallLog) -> None:
    assert post(client, b"x" * (MAX_REQUEST_BYTES + 1)).problem()[0] == 413


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_405(client: Browser, method: str) -> None:
    answer = client.send(method, ADDRESS)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("where", ["/", "/add-checkpoint", f"{ADDRESS}/", "/witness"])
def test_there_is_nothing_else(client: Browser, where: str) -> None:
    assert client.post(where, b"").problem() == (404, "nothing-here")


def test_who_hangs_up_is_not_answered(client: Browser) -> None:
    answer = client.send("POST", ADDRESS, chunks=[b"old 0\n"], hangs_up=True)
    assert answer.status == 0


def test_a_network_that_asks_too_often_is_429(
    witness: Witness, spine: SmallLog
) -> None:
    path = WitnessPath(
        witness=witness, clock=FixedClock(NOW), intake=Intake(burst=2, per_minute=1)
    )
    client = Browser(app=WitnessApp(path))
    statuses = [post(client, spine.ask(0)).status for _number in range(4)]
    assert statuses == [200, 409, 429, 429]
    path.stop()


def test_a_storage_failure_is_503_for_everybody_after_it(
    client: Browser, spine: SmallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_handle: int) -> None:
        raise OSError(28, "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert post(client, spine.ask(0)).problem() == (503, "witness-stopped")
    assert post(client, spine.ask(0)).problem() == (503, "witness-stopped")
    assert post(client, unknown(spine)).problem()[0] == 404


def test_a_state_from_a_copy_is_503(
    client: Browser, witness: Witness, spine: SmallLog
) -> None:
    post(client, spine.ask(0))
    (witness.store.folder / "witness-mark.json").unlink()
    assert post(client, spine.ask(5)).problem() == (503, "witness-state-lost")


def test_many_at_once_get_one_history(client: Browser, spine: SmallLog) -> None:
    post(client, spine.ask(0))
    bodies = []
    for number in range(6):
        fork = spine.fork(5)
        fork.append(2, salt=str(number).encode())
        bodies.append(fork.ask(5))
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = pool.map(partial(post, client), bodies)
    assert sorted(one.status for one in answers) == [200, *[409] * 5]


class TestInsideAnInstance:
    @pytest.fixture
    def browser(self, instance: Instance, tmp_path: Path) -> Iterator[Browser]:
        """What speaks to a whole instance."""
        found = Browser(app=make_behind([]))
        app = HotApp(
            services=instance.engine.services,
            files=Files(public=instance.environment.public, static=[tmp_path]),
            behind=make_behind(found.passed_on),
            witness=WitnessPath(
                witness=instance.engine.witnessing.witness, clock=instance.clock
            ),
        )
        found.app = app
        yield found
        app.stop()

    def test_it_knows_no_log_before_one_is_trusted(self, browser: Browser) -> None:
        log = SmallLog("omar.example/spine")
        log.append(2)
        assert post(browser, log.ask(0)).problem() == (404, "log-not-trusted")

    def test_it_cosigns_one_that_is_trusted_while_it_runs(
        self, browser: Browser, instance: Instance
    ) -> None:
        log = SmallLog("omar.example/spine")
        log.append(2)
        trust_log(witness=instance.engine.witnessing.witness, vkey=log.vkey)
        assert post(browser, log.ask(0)).status == 200
        assert browser.passed_on == []

    def test_its_refusals_have_the_houses_shape(self, browser: Browser) -> None:
        answer = browser.get(ADDRESS)
        assert answer.problem() == (405, "method-not-taken")
        assert answer.headers["allow"] == "POST"
