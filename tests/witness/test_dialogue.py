"""One witness asked: what it may answer, and what is believed of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify.note import parse_note, sign_note

from tests.witness.conftest import ORIGIN
from tests.witness.peers import NOW_SECONDS, Peer, Scripted, make_peer
from undersigned.drills.small_log import SmallLog
from undersigned.witness.data import Standing
from undersigned.witness.dialogue import Answer, Dialogue, Outcome, Unanswered

TEXT = "text/plain"
SIZE = "text/x.tlog.size"


@pytest.fixture
def peer(tmp_path: Path, spine: SmallLog) -> Iterator[Peer]:
    """An honest witness that trusts the spine."""
    found = make_peer(tmp_path / "vic", "vic.example", spine)
    yield found
    found.close()


def offer(dialogue: Dialogue, spine: SmallLog, size: int | None = None) -> Outcome:
    note = spine.sign(size)
    return dialogue.offer(spine, note, at_seconds=NOW_SECONDS)


class TestAnHonestOne:
    def test_it_cosigns_what_verifies(self, peer: Peer, spine: SmallLog) -> None:
        dialogue = Dialogue(peer.listed, peer)
        found = offer(dialogue, spine)
        assert (found.standing, found.size) == (Standing.GOOD, 5)
        assert found.line is not None
        parse_note(spine.sign() + found.line.encode())
        assert peer.asked == 1

    def test_its_size_is_remembered(self, peer: Peer, spine: SmallLog) -> None:
        dialogue = Dialogue(peer.listed, peer)
        for _number in range(4):
            assert offer(dialogue, spine).line is not None
            spine.append(2)
        assert peer.asked == 4

    def test_after_our_restart_it_tells_its_size(
        self, peer: Peer, spine: SmallLog
    ) -> None:
        offer(Dialogue(peer.listed, peer), spine)
        spine.append(3)
        found = offer(Dialogue(peer.listed, peer), spine)
        assert (found.standing, found.size) == (Standing.GOOD, 8)
        assert peer.asked == 3

    def test_one_that_has_a_newer_one_of_ours_is_well(
        self, peer: Peer, spine: SmallLog
    ) -> None:
        """Anybody may show it what we have published."""
        spine.append(3)
        offer(Dialogue(peer.listed, peer), spine)
        found = offer(Dialogue(peer.listed, peer), spine, size=6)
        assert (found.standing, found.size, found.line) == (Standing.GOOD, 8, None)

    def test_one_that_is_ahead_of_us_is_heard(
        self, peer: Peer, spine: SmallLog
    ) -> None:
        spine.append(3)
        offer(Dialogue(peer.listed, peer), spine)
        restored = spine.fork(6)
        found = offer(Dialogue(peer.listed, peer), restored)
        assert (found.standing, found.size) == (Standing.AHEAD, 8)

    @pytest.mark.parametrize("size", [5, 7])
    def test_one_that_saw_another_history_is_heard(
        self, peer: Peer, spine: SmallLog, size: int
    ) -> None:
        offer(Dialogue(peer.listed, peer), spine)
        fork = spine.fork(3)
        fork.append(size - 3, salt=b"fork")
        found = offer(Dialogue(peer.listed, peer), fork)
        assert found.standing is Standing.BESIDE

    def test_one_that_does_not_trust_us_says_so(
        self, tmp_path: Path, spine: SmallLog
    ) -> None:
        stranger = make_peer(tmp_path / "s", "stranger.example", None)
        found = offer(Dialogue(stranger.listed, stranger), spine)
        assert found.standing is Standing.NOT_TRUSTING
        other = SmallLog(ORIGIN)
        other.append(2)
        deceived = make_peer(tmp_path / "d", "deceived.example", other)
        found = offer(Dialogue(deceived.listed, deceived), spine)
        assert found.standing is Standing.NOT_TRUSTING
        stranger.close()
        deceived.close()


def script(peer: Peer, *answers: Answer | Exception) -> Dialogue:
    return Dialogue(peer.listed, Scripted(list(answers)))


class TestAnswers:
    def test_an_unknown_key_beside_it_is_ignored(
        self, peer: Peer, spine: SmallLog
    ) -> None:
        good = peer.add_checkpoint("", spine.ask(0)).body
        stranger = SmallLog("stranger.example/w")
        text = parse_note(spine.sign()).text
        foreign = sign_note(text, stranger.origin, stranger.private)
        line = foreign.partition(b"\n\n")[2]
        found = offer(script(peer, Answer(200, TEXT, line + good)), spine)
        assert found.standing is Standing.GOOD
        assert found.line is not None
        assert found.line.encode() == good

    def test_only_an_unknown_key_is_broken(self, peer: Peer, spine: SmallLog) -> None:
        stranger = SmallLog("stranger.example/w")
        text = parse_note(spine.sign()).text
        line = sign_note(text, stranger.origin, stranger.private).partition(b"\n\n")[2]
        found = offer(script(peer, Answer(200, TEXT, line)), spine)
        assert (found.standing, found.line) == (Standing.BROKEN, None)

    @pytest.mark.parametrize(
        "change",
        [
            lambda good: b"",
            lambda good: b"\n",
            lambda good: good[:-1],
            lambda good: good + b"\n",
            lambda good: good * 2,
            lambda good: good.replace(b" ", b"  ", 1),
            lambda good: b"\n\n" + good,
            lambda good: b"more text\n\n" + good,
            lambda good: good[:-20] + b"A" * 18 + b"==\n",
            lambda good: b"<html>busy</html>\n",
            lambda good: b"\xff\xfe\n",
            lambda good: good * 120,
            lambda good: b"x" * 120_000,
        ],
    )
    def test_garbage_is_broken_and_never_a_line(
        self, peer: Peer, spine: SmallLog, change: Callable[[bytes], bytes]
    ) -> None:
        good = peer.add_checkpoint("", spine.ask(0)).body
        found = offer(script(peer, Answer(200, TEXT, change(good))), spine)
        assert (found.standing, found.line) == (Standing.BROKEN, None)

    def test_the_cosignature_of_another_checkpoint_is_broken(
        self, peer: Peer, spine: SmallLog
    ) -> None:
        other = peer.add_checkpoint("", spine.ask(0, 4)).body
        found = offer(script(peer, Answer(200, TEXT, other)), spine)
        assert (found.standing, found.line) == (Standing.BROKEN, None)

    def test_one_from_the_future_is_broken(self, peer: Peer, spine: SmallLog) -> None:
        good = peer.add_checkpoint("", spine.ask(0))
        dialogue = script(peer, good, good)
        early = NOW_SECONDS - 86_401
        found = dialogue.offer(spine, spine.sign(), at_seconds=early)
        assert found.standing is Standing.BROKEN
        found = dialogue.offer(spine, spine.sign(), at_seconds=early + 1)
        assert found.standing is Standing.GOOD

    @pytest.mark.parametrize(
        "status,standing",
        [
            (301, Standing.BROKEN),
            (302, Standing.BROKEN),
            (400, Standing.BROKEN),
            (403, Standing.NOT_TRUSTING),
            (404, Standing.NOT_TRUSTING),
            (422, Standing.BROKEN),
            (429, Standing.GONE),
            (500, Standing.BROKEN),
            (503, Standing.GONE),
        ],
    )
    def test_each_status_has_its_standing(
        self, peer: Peer, spine: SmallLog, status: int, standing: Standing
    ) -> None:
        found = offer(script(peer, Answer(status, TEXT, b"")), spine)
        assert (found.standing, found.line) == (standing, None)

    def test_silence_is_gone(self, peer: Peer, spine: SmallLog) -> None:
        found = offer(script(peer, Unanswered("nobody there")), spine)
        assert found.standing is Standing.GONE
        assert "nobody there" in found.detail

    @pytest.mark.parametrize(
        "body", [b"", b"5", b"05\n", b"-1\n", b"5\r\n", b"x\n", b"9" * 400 + b"\n"]
    )
    def test_a_conflict_without_a_size_is_broken(
        self, peer: Peer, spine: SmallLog, body: bytes
    ) -> None:
        found = offer(script(peer, Answer(409, SIZE, body)), spine)
        assert found.standing is Standing.BROKEN
        found = offer(script(peer, Answer(409, TEXT, b"5\n")), spine)
        assert found.standing is Standing.BROKEN

    def test_one_that_names_another_size_each_time_is_left(
        self, peer: Peer, spine: SmallLog
    ) -> None:
        sizes = [Answer(409, SIZE, b"%d\n" % size) for size in (1, 2, 3, 4)]
        found = offer(script(peer, *sizes), spine)
        assert found.standing is Standing.BROKEN

    def test_one_that_claims_the_moon_is_ahead_and_asked_afresh(
        self, peer: Peer, spine: SmallLog
    ) -> None:
        moon = Answer(409, SIZE, b"9223372036854775807\n")
        good = peer.add_checkpoint("", spine.ask(0))
        dialogue = script(peer, moon, good)
        assert offer(dialogue, spine).standing is Standing.AHEAD
        assert offer(dialogue, spine).standing is Standing.GOOD

    @given(st.integers(100, 599), st.binary(max_size=80), st.sampled_from([TEXT, SIZE]))
    def test_whatever_it_answers_nothing_unverified_comes_out(
        self, status: int, body: bytes, media: str
    ) -> None:
        spine = SmallLog(ORIGIN)
        spine.append(3)
        listed = LISTED
        transport = Scripted([Answer(status, media, body)] * 3)
        found = Dialogue(listed, transport).offer(
            spine, spine.sign(), at_seconds=NOW_SECONDS
        )
        assert found.line is None


LISTED = make_peer(None, "hypothesis.example", None).listed
