"""C2SP signed notes with Ed25519 keys (algorithm 0x01; 0x04 for witnesses).

A note is text that ends in a line feed, an empty line, and signature lines
``— NAME BASE64(key id, signature)``. A verifier key is ``NAME+HASH+BASE64``, where
HASH is the key id in hexadecimal. Example of both: the tests' ``PeterNeumann``.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from undersigned_verify.canonical import encode_base64, parse_base64
from undersigned_verify.errors import Fault

ED25519: Final = 1
COSIGNATURE: Final = 4  # of a witness, with a time: see cosignature.py
# Cosignatures of many witnesses fit with room to spare; a flood of lines does not.
MAX_NOTE: Final = 100_000
MAX_SIGNATURES: Final = 100

_WRONG_KIND: Final = {
    ED25519: "The key is not an Ed25519 key.",
    COSIGNATURE: "The key is not a witness's Ed25519 key.",
}
_DASH: Final = "\u2014 "


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """Return the 4-byte id of a key: SHA-256(name, LF, algorithm, key)[:4]."""
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise Fault("vkey-form", "A key's name is empty or has a space or plus.")


@dataclass(frozen=True)
class VerifierKey:
    """A public key under the name it signs with."""

    name: str
    key_id: bytes
    public: bytes
    algorithm: int = ED25519

    @classmethod
    def of(cls, name: str, public: bytes, algorithm: int = ED25519) -> Self:
        """Return the Ed25519 key of this name; ``public`` is its 32 bytes."""
        return cls(name, key_id(name, algorithm, public), public, algorithm)

    @classmethod
    def parse(cls, text: str, algorithm: int = ED25519) -> Self:
        """Parse ``NAME+HASH+BASE64``; Fault unless canonical and of ``algorithm``.

        Both algorithms have Ed25519 keys; what they sign differs.
        """
        try:
            name, digits, encoded = text.split("+", 2)
        except ValueError as error:
            raise Fault("vkey-form") from error
        _check_name(name)
        material = parse_base64(encoded)
        if len(material) != 33 or material[0] != algorithm:
            raise Fault("vkey-form", _WRONG_KIND[algorithm])
        key = cls.of(name, material[1:], algorithm)
        if digits != key.key_id.hex():
            raise Fault("vkey-form", "The key's hash does not belong to it.")
        return key

    @property
    def vkey(self) -> str:
        """The one text form of this key, without a line feed."""
        material = bytes([self.algorithm]) + self.public
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(material)}"

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` (64 bytes) is this key's over ``text``."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Note:
    """A parsed note. Nothing in it is trusted before ``verify_note``."""

    text: str
    # Name, 4-byte key id, signature bytes; in the order of their lines.
    signatures: list[tuple[str, bytes, bytes]]


def parse_note(data: bytes) -> Note:
    """Return the parts of a signed note; Fault unless the form is exact.

    The same key may sign once only, so that a note cannot be padded with copies.
    """
    if len(data) > MAX_NOTE:
        raise Fault("note-form", "The note is too long.")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise Fault("note-form", "The note is not UTF-8.") from error
    if any(c < " " and c != "\n" for c in whole):
        raise Fault("note-form", "The note has a control character.")
    body, separator, tail = whole.rpartition("\n\n")
    if not separator or not body or not tail.endswith("\n"):
        raise Fault("note-form")
    signatures = [_parse_line(line) for line in tail[:-1].split("\n")]
    signers = {(name, identity) for name, identity, _ in signatures}
    if len(signers) != len(signatures) or len(signatures) > MAX_SIGNATURES:
        raise Fault("note-form", "A key signs twice, or there are too many.")
    return Note(body + "\n", signatures)


def _parse_line(line: str) -> tuple[str, bytes, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise Fault("note-form", "A signature line does not have its form.")
    try:
        _check_name(name)
    except Fault as error:
        raise Fault("note-form", error.detail) from error
    blob = parse_base64(encoded)
    if len(blob) < 5:
        raise Fault("note-form", "A signature is too short.")
    return name, blob[:4], blob[4:]


def verify_note(note: Note, key: VerifierKey) -> None:
    """Check the signature of ``key`` on a note; Fault if absent or wrong.

    Lines of other keys are ignored, as C2SP demands, even with the same name or id.
    """
    for name, identity, signature in note.signatures:
        if (name, identity) == (key.name, key.key_id):
            if key.verify(note.text.encode(), signature):
                return
            raise Fault("note-signature", "The signature does not verify.")
    raise Fault("note-signature", f"The note is not signed by {key.name!r}.")


def signature_line(text: str, name: str, private: Ed25519PrivateKey) -> str:
    """Return one signature line with its line feed, over ``text``."""
    _check_name(name)
    identity = key_id(name, ED25519, private.public_key().public_bytes_raw())
    return f"{_DASH}{name} {encode_base64(identity + private.sign(text.encode()))}\n"


def sign_note(text: str, name: str, private: Ed25519PrivateKey) -> bytes:
    """Return the whole signed note; ``text`` must end in a line feed."""
    data = f"{text}\n{signature_line(text, name, private)}".encode()
    if parse_note(data).text != text:
        raise Fault("note-form")
    return data
