"""Promises: kept, not yet due, or broken, and what each shows."""

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from undersigned_verify import entry as leaf
from undersigned_verify.canonical import encode_base64
from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.chunk import Checked, holds_nonce
from undersigned_verify.cli import main
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.instant import describe_instant, parse_instant
from undersigned_verify.note import sign_note
from undersigned_verify.promise import (
    MAX_PROMISE,
    Promise,
    PromiseVerdict,
    check_promise,
)
from undersigned_verify.proof import signature_nonce
from undersigned_verify.source import DirectorySource
from undersigned_verify.tile import WIDTH

from tests.verify.biglog import write_unsigned_log
from tests.verify.building import LogBuilder, write

DUE = 1_795_251_360
Output = pytest.CaptureFixture[str]


@pytest.fixture
def signed(log: LogBuilder) -> LogBuilder:
    return log.sign("asha", "noor").publish()


@pytest.fixture
def folder(tmp_path: Path, signed: LogBuilder) -> Path:
    return signed.export(tmp_path / "root") / signed.path


def check(
    data: bytes, folder: Path, *, now: int | None = None, live: bool = False
) -> PromiseVerdict:
    source = DirectorySource(folder, live=live)
    return check_promise(Promise.parse(data), source, now=now, clock=DUE + 60)


def with_leaf(log: LogBuilder, label: str, *, w: bool = True) -> bytes:
    """Return a promise as the browser keeps it."""
    data = leaf.encode(log.make_signature(label))
    extra = encode_base64(data + (log.secret_w(label) if w else b""))
    return f"extra {extra}\n\n".encode() + log.promise(label, DUE)


class TestForm:
    def test_alone_or_with_its_leaf(self, signed: LogBuilder) -> None:
        bare = Promise.parse(signed.promise("asha", DUE))
        nonce = signature_nonce(signed.make_signature("asha"), signed.challenge)
        assert (bare.origin, bare.nonce) == (signed.origin, nonce)
        assert (bare.publish_by, bare.extra) == (DUE, None)
        kept = Promise.parse(with_leaf(signed, "asha"))
        assert kept.note == bare.note
        for w in (True, False):
            found = Promise.parse(with_leaf(signed, "asha", w=w))
            found.verify(signed.key)
            found.check_leaf(signed.challenge)

    def test_copied_from_a_page(self, signed: LogBuilder) -> None:
        for data in (signed.promise("asha", DUE), with_leaf(signed, "asha")):
            expected = Promise.parse(data)
            for other in (
                data.removesuffix(b"\n"),
                b"\n" + data + b"\n\n",
                b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"),
            ):
                assert Promise.parse(other) == expected
            with pytest.raises(Fault):
                Promise.parse(data.replace(b"\n", b"\r"))

    @pytest.mark.parametrize(
        "text",
        [
            "undersigned promise v2\nORIGIN\nNONCE\n1\n",
            "undersigned promise v1\n\nNONCE\n1\n",
            "undersigned promise v1\nORIGIN\nNONCE\n1\nmore\n",
            "undersigned promise v1\nORIGIN\nNONCE\n",
            "undersigned promise v1\nORIGIN\nNONCE\n01\n",
            "undersigned promise v1\nORIGIN\nNONCE\n-1\n",
            "undersigned promise v1\nORIGIN\nNONCE0\n1\n",
            "undersigned promise v1\nORIGIN\nNONCE00\n1\n",
            "undersigned promise v1\nORIGIN\nUPPER\n1\n",
            "undersigned promise v1\nORIGIN\nxyz\n1\n",
        ],
    )
    def test_it_refuses(self, signed: LogBuilder, text: str) -> None:
        whole = (
            text.replace("ORIGIN", signed.origin)
            .replace("NONCE", "ab" * 32)
            .replace("UPPER", "AB" * 32)
        )
        note = sign_note(whole, f"{signed.origin}/promise", signed.log_key)
        with pytest.raises(Fault, match="promise-form"):
            Promise.parse(note)

    @pytest.mark.parametrize(
        "data,code",
        [
            (b"", "note-form"),
            (b"extra AAAA\n", "promise-form"),
            (b"extra \xff\n\nx", "promise-form"),
            (b"extra AAA\n\nx", "base64-not-canonical"),
            (b"x" * (MAX_PROMISE + 1), "promise-form"),
        ],
    )
    def test_it_is_no_other_file(self, data: bytes, code: str) -> None:
        with pytest.raises(Fault, match=code):
            Promise.parse(data)

    def test_a_checkpoint_is_no_promise_and_none_of_another_log(
        self, signed: LogBuilder
    ) -> None:
        with pytest.raises(Fault, match="promise-form"):
            Promise.parse(signed.note())
        promise = Promise.parse(signed.promise("asha", DUE))
        with pytest.raises(Fault, match="note-signature"):
            promise.verify(LogBuilder(origin="example.org/c/lake").key)
        text = promise.note.decode().partition("\n\n")[0] + "\n"
        forged = Promise.parse(sign_note(text, signed.origin, signed.log_key))
        with pytest.raises(Fault, match="note-signature"):
            forged.verify(signed.key)

    @given(st.binary(max_size=300))
    def test_whatever_it_is_given_it_answers_with_a_fault(self, data: bytes) -> None:
        with pytest.raises(Fault):
            Promise.parse(data)


class TestVerdict:
    def test_kept(self, signed: LogBuilder, folder: Path) -> None:
        for data in (signed.promise("noor", DUE), with_leaf(signed, "noor")):
            found = check(data, folder)
            assert found.is_kept
            assert found.index == signed.index_of("noor")
            assert found.state is not None
            assert found.state.name == "STANDING"

    def test_withdrawn_since(self, signed: LogBuilder, tmp_path: Path) -> None:
        signed.withdraw("asha").publish()
        folder = signed.export(tmp_path) / signed.path
        found = check(signed.promise("asha", DUE), folder)
        assert found.state is not None
        assert (found.is_kept, found.state.name) == (True, "WITHDRAWN")

    def test_not_yet_due(self, signed: LogBuilder, folder: Path) -> None:
        data = signed.promise("mei", DUE)
        assert not check(data, folder, now=DUE - 1).is_kept
        later = signed.promise("mei", DUE + 61)
        for live in (True, False):
            assert not check(later, folder, live=live).is_kept

    def test_broken(self, signed: LogBuilder, folder: Path) -> None:
        data = signed.promise("mei", DUE)
        for now, live in ((DUE, False), (DUE + 9, True), (None, True)):
            with pytest.raises(Fault, match="promise-broken") as caught:
                check(data, folder, now=now, live=live)
            promise, note = (item.data for item in caught.value.evidence)
            assert promise == data
            assert open_checkpoint(note, signed.key).size == len(signed.leaves)

    def test_an_old_copy_proves_nothing(self, signed: LogBuilder, folder: Path) -> None:
        with pytest.raises(Unreadable, match="--at"):
            check(signed.promise("mei", DUE), folder)

    def test_a_closed_log_needs_no_time(
        self, signed: LogBuilder, tmp_path: Path
    ) -> None:
        signed.release_key(2).publish().close().publish()
        folder = signed.export(tmp_path) / signed.path
        with pytest.raises(Fault, match="promise-broken"):
            check(signed.promise("mei", 2 * DUE), folder, now=1)
        assert check(signed.promise("asha", DUE), folder).is_kept

    def test_another_signature_with_the_same_r_is_not_it(
        self, signed: LogBuilder, folder: Path
    ) -> None:
        data = signed.promise("asha", DUE, stance=2)
        with pytest.raises(Fault, match="promise-broken"):
            check(data, folder, now=DUE)

    def test_a_leaf_of_another_signature(
        self, signed: LogBuilder, folder: Path
    ) -> None:
        extra = with_leaf(signed, "noor").partition(b"\n\n")[0]
        data = extra + b"\n\n" + signed.promise("asha", DUE)
        with pytest.raises(Fault, match="promise-leaf"):
            check(data, folder)
        with pytest.raises(Fault, match="receipt-leaf"):
            check(b"extra AAAA\n\n" + signed.promise("asha", DUE), folder)

    def test_the_log_is_checked_on_the_way(
        self, signed: LogBuilder, folder: Path
    ) -> None:
        write(folder / "count.json", b"{}")
        with pytest.raises(Fault, match="count-mismatch"):
            check(signed.promise("asha", DUE), folder)

    def test_the_key_may_be_known(self, signed: LogBuilder, folder: Path) -> None:
        promise = Promise.parse(signed.promise("asha", DUE))
        source = DirectorySource(folder)
        for key, code in (
            (signed.key, None),
            (LogBuilder(origin="example.org/c/lake").key, "log-keys"),
        ):
            if code is None:
                check_promise(promise, source, now=None, clock=0, key=key)
                continue
            with pytest.raises(Fault, match=code):
                check_promise(promise, source, now=None, clock=0, key=key)

    def test_in_a_log_of_many_chunks(self, tmp_path: Path) -> None:
        log = write_unsigned_log(tmp_path, 9_000)
        bundle = (tmp_path / log.path / "tile/entries/034").read_bytes()
        last = bundle[-leaf.SIGNATURE_SIZE :]
        signature = leaf.parse(last)
        assert isinstance(signature, leaf.Signature)
        nonce = signature_nonce(signature, log.challenge).hex()
        text = f"undersigned promise v1\n{log.origin}\n{nonce}\n{DUE}\n"
        data = sign_note(text, f"{log.origin}/promise", log.log_key)
        assert check(data, tmp_path / log.path).index == 35 * WIDTH - 1


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=40, unique=True))
def test_nonces_are_found_whole(nonces: list[bytes]) -> None:
    nonces.sort()
    joined = b"".join(nonces)
    parts = [sum(nonce[0] < byte for nonce in nonces) for byte in range(1, 256)]
    done = Checked(0, nonces=joined, parts=parts)
    assert all(holds_nonce(done, nonce) for nonce in nonces)
    for at in range(1, len(joined) - 32):
        inside = joined[at : at + 32]
        assert holds_nonce(done, inside) is (inside in nonces)
    assert holds_nonce(done, bytes(32)) is (bytes(32) in nonces)


class TestCommand:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "promise.txt"

    def test_kept(
        self, signed: LogBuilder, folder: Path, file: Path, capsys: Output
    ) -> None:
        write(file, with_leaf(signed, "asha"))
        root = folder.parents[1]
        for log in (root, folder):
            assert main(["promise", str(file), "--log", str(log)]) == 0
            shown = capsys.readouterr().out
            assert shown.startswith("The promise is kept.\n")
            assert "it stands and is counted" in shown
        command = ["promise", str(file), "--log", str(root), "--json"]
        assert main([*command, "--vkey", signed.key.vkey]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["verdict"], found["state"]) == ("kept", "standing")

    def test_not_yet_due_then_broken(
        self, signed: LogBuilder, folder: Path, file: Path, capsys: Output
    ) -> None:
        write(file, signed.promise("mei", DUE))
        command = ["promise", str(file), "--log", str(folder), "--at"]
        assert main([*command, "2026-11-01T00:00"]) == 0
        assert "The promise is not yet due." in capsys.readouterr().out
        assert main([*command, "2027-01-01"]) == 1
        shown = capsys.readouterr().out
        assert shown.startswith("REFUSED  promise-broken: The log's key promised")
        assert "2027-01-01T00:00:00Z" in shown
        assert signed.promise("mei", DUE).decode() in shown
        assert signed.note().decode() in shown
        assert main([*command, "2027-01-01", "--json"]) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["fault"]["code"] == "promise-broken"
        assert len(found["fault"]["evidence"]) == 2
        with pytest.raises(SystemExit):
            main([*command, "tomorrow"])

    def test_a_live_log_is_read_now(
        self, signed: LogBuilder, folder: Path, file: Path, capsys: Output
    ) -> None:
        handler = partial(_Quiet, directory=str(folder.parents[1]))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_address[1]}"
            for publish_by, status in ((1, 1), (4_000_000_000, 0)):
                write(file, signed.promise("mei", publish_by))
                assert main(["promise", str(file), "--log", address]) == status
            server.shutdown()
        assert "not yet due" in capsys.readouterr().out


class _Quiet(SimpleHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class TestInstants:
    @given(st.integers(0, 4_102_444_800))
    def test_they_read_back(self, seconds: int) -> None:
        assert parse_instant(describe_instant(seconds)) == seconds

    def test_zones(self) -> None:
        assert parse_instant("1970-01-01T01:00+01:00") == 0
        assert parse_instant("1970-01-02") == 86_400
        assert describe_instant(2**62) == f"{2**62} s since 1970"
