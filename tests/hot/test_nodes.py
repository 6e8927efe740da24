"""What the issuer's process tells its web nodes, and nobody else."""

from __future__ import annotations

import secrets
from datetime import timedelta

import msgspec
import pytest

from tests.factories.asgi import Browser, make_behind
from tests.factories.instances import Instance
from undersigned.config.rendering import STATIC
from undersigned.drills.signer import read_promise
from undersigned.drills.site import Answer
from undersigned.safety.switches import EVERYWHERE, Flip, Switch
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.files import Files
from undersigned.web.hot.nodes import (
    MAX_PROMISES,
    BookFacts,
    EntryFacts,
    NodePath,
    PromiseReply,
    PromiseRequest,
)
from undersigned.web.hot.wire import BodyNotValid

SECRET = "known to both, thirty-two and more"


@pytest.fixture
def path(instance: Instance) -> NodePath:
    return NodePath(instance.engine.services, SECRET)


def find_entry(path: NodePath) -> EntryFacts:
    """Return the only entry, as a node reads it."""
    body = msgspec.json.encode(path.describe_book())
    (entry,) = msgspec.json.decode(body, type=BookFacts).entries
    return entry


def ask(path: NodePath, *asked: tuple[str, bytes]) -> list[str | None]:
    body = msgspec.json.encode(PromiseRequest(list(asked)))
    reply = msgspec.json.encode(path.promise(body))
    return msgspec.json.decode(reply, type=PromiseReply).promises


class TestTheBook:
    def test_it_has_what_checking_needs(
        self, instance: Instance, path: NodePath
    ) -> None:
        campaign = instance.open_campaign(id="soil", show_names=True)
        found, entry = find_entry(path), instance.entry(campaign)
        assert (found.path, found.log_id) == ("c/soil", entry.log.log_id)
        assert found.challenge_digest == entry.challenge_digest
        assert frozenset(found.stances) == entry.stances
        assert found.keys == {i: key.spki for i, key in entry.keys.items()}
        assert (found.is_open, found.takes_names, found.takes_shown) == (True,) * 3

    def test_a_switch_closes_it(self, instance: Instance, path: NodePath) -> None:
        instance.open_campaign(id="soil", show_names=True)
        switches = instance.engine.services.book.switches
        for switch, is_open in ((Switch.SHOWN, True), (Switch.SIGNING, False)):
            switches.flip(
                Flip(switch, EVERYWHERE, False, "other", instance.clock.now())
            )
            found = find_entry(path)
            assert (found.is_open, found.takes_shown) == (is_open, False)

    def test_a_stopped_writer_closes_it(
        self, instance: Instance, path: NodePath
    ) -> None:
        instance.open_campaign(id="soil")
        instance.engine.services.ledger.writer.stop()
        assert not find_entry(path).is_open


class TestPromises:
    def test_each_nonce_gets_its_own(self, instance: Instance, path: NodePath) -> None:
        campaign = instance.open_campaign(id="soil")
        nonces = [secrets.token_bytes(32) for _number in range(3)]
        promises = ask(path, *(("c/soil", nonce) for nonce in nonces))
        log = instance.entry(campaign).log
        assert log.key is not None
        for nonce, promise in zip(nonces, promises, strict=True):
            body = msgspec.json.encode({"promise": promise})
            found = read_promise(
                Answer(200, {}, body), origin=log.origin, vkey=log.key.vkey
            )
            assert found.nonce == nonce
            due = instance.clock.now() + timedelta(days=2)
            assert found.publish_by < due.timestamp()

    def test_there_is_none_for_what_is_no_log_or_no_nonce(
        self, instance: Instance, path: NodePath
    ) -> None:
        instance.open_campaign(id="soil")
        right = secrets.token_bytes(32)
        found = ask(path, ("c/other", right), ("c/soil", b"short"), ("c/soil", right))
        assert found[:2] == [None, None]
        assert found[2] is not None

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"{}",
            b'{"asked": [["c/soil"]]}',
            b'{"asked": [["c/soil", "?"]]}',
            b"\xff",
            msgspec.json.encode(
                PromiseRequest([("c/soil", bytes(32))] * (MAX_PROMISES + 1))
            ),
        ],
    )
    def test_what_is_no_such_request_is_refused(
        self, path: NodePath, body: bytes
    ) -> None:
        with pytest.raises(BodyNotValid):
            path.promise(body)


@pytest.mark.parametrize("secret", [None, SECRET])
def test_without_the_secret_there_is_nothing(
    instance: Instance, secret: str | None
) -> None:
    services = instance.engine.services
    front = HotApp(
        services=services,
        files=Files(public=instance.environment.public, static=[STATIC]),
        behind=make_behind([]),
        nodes=NodePath(services, secret) if secret else None,
    )
    browser = Browser(app=front)
    # Where there are no nodes, Django (a stand-in that says 299) knows no such page.
    nothing = 404 if secret else 299
    for given in (
        "",
        "Node",
        "Node ",
        f"Node {SECRET[:-1]}",
        f"Node {SECRET}x",
        SECRET,
    ):
        assert browser.get("/node/book", authorization=given).status == nothing
    right = browser.get("/node/book", authorization=f"Node {SECRET}")
    assert right.status == (200 if secret else 299)
