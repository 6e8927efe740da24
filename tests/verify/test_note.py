"""Signed notes, verifier keys and checkpoints."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify.canonical import encode_base64
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint, parse_decimal
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import EMPTY_ROOT
from undersigned_verify.note import (
    MAX_NOTE,
    VerifierKey,
    parse_note,
    sign_note,
    signature_line,
    verify_note,
)

from tests.verify.building import secret

PRIVATE = Ed25519PrivateKey.from_private_bytes(secret("log"))
KEY = VerifierKey.of("example.org/c/river", PRIVATE.public_key().public_bytes_raw())
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1)
SUMDB = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
    "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ov"
    "TG01oOTGwnWLox33WWd1RvMc+QQ=\n"
).encode()


class TestKey:
    @given(
        NAMES.filter(lambda name: "+" not in name), st.binary(min_size=32, max_size=32)
    )
    def test_it_reads_back_what_it_writes(self, name: str, public: bytes) -> None:
        key = VerifierKey.of(name, public)
        assert VerifierKey.parse(key.vkey) == key

    @pytest.mark.parametrize(
        "vkey",
        [
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop",
        ],
    )
    def test_it_reads_others_keys(self, vkey: str) -> None:
        assert VerifierKey.parse(vkey).vkey == vkey

    @pytest.mark.parametrize(
        "vkey",
        [
            "PeterNeumann+c74f20a3",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
            "PeterNeumann+c74f20a3+BBpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWAA==",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
            "PeterNeumann+c74f20a3+a+b",
        ],
    )
    def test_it_refuses(self, vkey: str) -> None:
        with pytest.raises(Fault, match=r"vkey-form|base64-not-canonical"):
            VerifierKey.parse(vkey)

    def test_it_verifies_nothing_that_is_not_a_signature(self) -> None:
        assert KEY.verify(b"text", PRIVATE.sign(b"text"))
        assert not KEY.verify(b"other", PRIVATE.sign(b"text"))
        assert not KEY.verify(b"text", b"short")


class TestNote:
    def test_it_reads_others_notes(self) -> None:
        note = parse_note(SUMDB)
        for vkey in (
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop",
        ):
            verify_note(note, VerifierKey.parse(vkey))
        with pytest.raises(Fault, match="note-signature"):
            verify_note(note, KEY)

    @given(
        st.text(st.characters(exclude_categories=["C"]), min_size=1).map("{}\n".format)
    )
    def test_it_reads_back_what_it_signs(self, text: str) -> None:
        note = parse_note(sign_note(text, KEY.name, PRIVATE))
        assert note.text == text
        verify_note(note, KEY)

    def test_the_text_may_have_empty_lines(self) -> None:
        text = "one\n\ntwo\n"
        assert parse_note(sign_note(text, KEY.name, PRIVATE)).text == text

    def test_signatures_of_others_are_ignored(self) -> None:
        text = "text\n"
        other = Ed25519PrivateKey.from_private_bytes(secret("other"))
        lines = [
            signature_line(text, KEY.name, PRIVATE),
            # The same name with another key, the same key under another name.
            signature_line(text, KEY.name, other),
            signature_line(text, "witness.example", PRIVATE),
        ]
        for order in (lines, lines[::-1]):
            verify_note(parse_note(f"{text}\n{''.join(order)}".encode()), KEY)

    def test_a_signature_that_fails_is_not_ignored(self) -> None:
        note = parse_note(
            sign_note("text\n", KEY.name, PRIVATE).replace(b"text", b"test")
        )
        with pytest.raises(Fault, match="does not verify"):
            verify_note(note, KEY)

    @pytest.mark.parametrize(
        "change",
        [
            lambda note: note[:-1],
            lambda note: note + b"x\n",
            lambda note: note + b"\n",
            lambda note: note.replace(b"\n\n", b"\n"),
            lambda note: note.replace("—".encode(), b"-"),
            lambda note: note.replace("— ".encode(), "—".encode()),
            lambda note: note.replace(b"=\n", b"\n"),
            lambda note: note.replace(b"text", b"tab\t"),
            lambda note: note.replace(b"text\n", b"text\r\n"),
            lambda note: note.replace(b"text", b"\xff"),
            lambda note: note.replace(b"river", b"ri\xc2\xa0ver"),
            lambda note: note.replace(b"river ", b"river"),
            lambda note: note + note.partition(b"\n\n")[2],
            lambda note: note + b"\xe2\x80\x94 x AAAAAA==\n",
            lambda note: (
                note + "".join(f"— n{i} AAAAAAAA\n" for i in range(100)).encode()
            ),
            lambda note: b"x" * MAX_NOTE + note,
            lambda note: note[4:],
            lambda note: b"",
        ],
    )
    def test_it_refuses(self, change) -> None:  # type: ignore[no-untyped-def]  # a lambda
        note = sign_note("text\n", KEY.name, PRIVATE)
        with pytest.raises(Fault, match=r"note-form|base64-not-canonical"):
            parse_note(change(note))

    @pytest.mark.parametrize("text", ["no feed", "tab\t\n", "", "a\n\n— x AAAAAAAA"])
    def test_it_signs_no_text_that_it_would_refuse(self, text: str) -> None:
        with pytest.raises(Fault, match="note-form"):
            sign_note(text, KEY.name, PRIVATE)

    def test_it_signs_under_no_name_that_it_would_refuse(self) -> None:
        with pytest.raises(Fault, match="vkey-form"):
            sign_note("text\n", "a b", PRIVATE)


class TestCheckpoint:
    @given(st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))
    def test_it_reads_back_what_it_signs(self, size: int, root: bytes) -> None:
        checkpoint = Checkpoint(KEY.name, size, root)
        data = sign_note(checkpoint.text(), KEY.name, PRIVATE)
        assert open_checkpoint(data, KEY) == checkpoint

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "o\n1\n",
            f"o\n1\n{encode_base64(bytes(32))}",
            f"\n1\n{encode_base64(bytes(32))}\n",
            f"o\n1\n{encode_base64(bytes(32))}\nextension\n",
            f"o\n01\n{encode_base64(bytes(32))}\n",
            f"o\n+1\n{encode_base64(bytes(32))}\n",
            f"o\n-1\n{encode_base64(bytes(32))}\n",
            f"o\n\n{encode_base64(bytes(32))}\n",
            f"o\n\u0661\n{encode_base64(bytes(32))}\n",
            f"o\n{2**63}\n{encode_base64(bytes(32))}\n",
            f"o\n{'9' * 5000}\n{encode_base64(bytes(32))}\n",
            f"o\n1\n{encode_base64(bytes(31))}\n",
        ],
    )
    def test_it_refuses(self, text: str) -> None:
        with pytest.raises(Fault, match="checkpoint-form"):
            Checkpoint.parse(text)

    def test_it_refuses_base64_of_another_spelling(self) -> None:
        encoded = encode_base64(bytes(32))
        with pytest.raises(Fault, match="base64-not-canonical"):
            Checkpoint.parse(f"o\n1\n{encoded[:-2]}B=\n")

    def test_an_empty_tree_has_one_root_only(self) -> None:
        text = Checkpoint("o", 0, EMPTY_ROOT).text()
        assert Checkpoint.parse(text).size == 0
        with pytest.raises(Fault, match="checkpoint-root"):
            Checkpoint.parse(Checkpoint("o", 0, bytes(32)).text())

    def test_a_key_speaks_for_its_own_log_only(self) -> None:
        data = sign_note(Checkpoint("other", 1, bytes(32)).text(), KEY.name, PRIVATE)
        with pytest.raises(Fault, match="checkpoint-origin"):
            open_checkpoint(data, KEY)

    @given(st.integers(0, 2**63 - 1))
    def test_a_decimal_reads_back(self, number: int) -> None:
        assert parse_decimal(str(number)) == number
