"""What witnesses say of a checkpoint, and whose word makes a quorum."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.cosignature import (
    cosignature_line,
    find_cosignature,
    parse_witness_key,
    witness_key,
)
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey, parse_note, sign_note
from undersigned_verify.policy import Policy, parse_policy

from tests.verify.building import secret

LOG = Ed25519PrivateKey.from_private_bytes(secret("spine"))
WITNESSES = {
    name: Ed25519PrivateKey.from_private_bytes(secret(name))
    for name in ("ash", "beech", "cedar", "dogwood")
}
TEXT = Checkpoint("undersigned.example/spine", 3, bytes(range(32))).text()
TIME = 1_795_953_600

# As served by a public witness; only the line in its Ed25519 form is kept here. Source:
# witness.navigli.sunlight.geomys.org, for a certificate transparency log.
PUBLIC_KEY = (
    "witness.navigli.sunlight.geomys.org+a3e00fe2+"
    "BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G"
)
PUBLIC_NOTE = (
    "coachandhorses2026h1.staging.certificate.transparency.goog\n"
    "185550722\n"
    "YXAM0VmnrfvLaBCOOYSJhCaE5F10oGBOo+hkbDa1kng=\n"
    "\n"
    "— coachandhorses2026h1.staging.certificate.transparency.goog MpXgsHy8ZwxXnO+WjtVr"
    "PxAzL49Rs1gWTkNVNeEa//5peAzaocRCB3qt3EaibjzY5GILLtGgBP7dBhgcSHy+JQh0OAc=\n"
    "— witness.navigli.sunlight.geomys.org o+AP4gAAAABqb7DzNrGFRJnQ9vrJ8xpnwZytnr/ZYczD"
    "IsvwvouiSjwOjn7a72ccxBk+lKnZ7dKqkYKER1s/KxLTaVwQD7lJZTC/CQ==\n"
).encode()


def cosign(name: str, time: int = TIME, text: str = TEXT) -> str:
    return cosignature_line(
        text, name=f"{name}.example/w", private=WITNESSES[name], time=time
    )


def key_of(name: str) -> VerifierKey:
    public = WITNESSES[name].public_key().public_bytes_raw()
    return witness_key(f"{name}.example/w", public)


def sign(*lines: str) -> bytes:
    return sign_note(TEXT, "undersigned.example/spine", LOG) + "".join(lines).encode()


class TestACosignature:
    def test_a_public_witnesss_own_is_read(self) -> None:
        key = parse_witness_key(PUBLIC_KEY)
        assert key.vkey == PUBLIC_KEY
        found = find_cosignature(parse_note(PUBLIC_NOTE), key)
        assert found is not None
        assert found.time == 0x6A6FB0F3

    @given(st.integers(0, 2**63 - 1))
    def test_it_says_when(self, time: int) -> None:
        found = find_cosignature(parse_note(sign(cosign("ash", time))), key_of("ash"))
        assert found is not None
        assert (found.name, found.time) == ("ash.example/w", time)

    @pytest.mark.parametrize("time", [-1, 2**63])
    def test_it_has_no_time_that_does_not_fit(self, time: int) -> None:
        with pytest.raises(ValueError, match="no time"):
            cosign("ash", time)

    def test_another_witnesss_is_not_this_ones(self) -> None:
        note = parse_note(sign(cosign("beech")))
        assert find_cosignature(note, key_of("ash")) is None

    @given(st.integers(0, 71), st.integers(0, 7))
    def test_no_changed_bit_verifies(self, byte: int, bit: int) -> None:
        note = parse_note(sign(cosign("ash")))
        name, identity, blob = note.signatures[1]
        changed = bytearray(blob)
        changed[byte] ^= 1 << bit
        note.signatures[1] = (name, identity, bytes(changed))
        with pytest.raises(Fault) as caught:
            find_cosignature(note, key_of("ash"))
        assert caught.value.code in {"cosignature-invalid", "cosignature-form"}

    @pytest.mark.parametrize("length", [5, 63, 64, 71, 73])
    def test_it_has_its_length(self, length: int) -> None:
        note = parse_note(sign(cosign("ash")))
        name, identity, blob = note.signatures[1]
        note.signatures[1] = (name, identity, (blob * 2)[:length])
        with pytest.raises(Fault) as caught:
            find_cosignature(note, key_of("ash"))
        assert caught.value.code == "cosignature-form"

    def test_it_is_of_these_bytes(self) -> None:
        other = Checkpoint("undersigned.example/spine", 4, bytes(range(32))).text()
        note = parse_note(sign(cosign("ash", text=other)))
        with pytest.raises(Fault) as caught:
            find_cosignature(note, key_of("ash"))
        assert caught.value.code == "cosignature-invalid"

    def test_a_logs_key_is_no_witnesss(self) -> None:
        with pytest.raises(Fault):
            parse_witness_key(VerifierKey.of("a.example", bytes(32)).vkey)
        with pytest.raises(Fault):
            VerifierKey.parse(key_of("ash").vkey)


@contextmanager
def suppress_policy_faults() -> Iterator[None]:
    try:
        yield
    except Fault as fault:
        if fault.code != "policy-form":
            raise


def policy(*lines: str) -> Policy:
    return parse_policy("".join(f"{line}\n" for line in lines).encode())


def witness_lines(*names: str) -> list[str]:
    return [f"witness {name} {key_of(name).vkey}" for name in names]


class TestAPolicy:
    def test_none_asks_for_nothing(self) -> None:
        assert policy("quorum none").is_met(sign())
        assert not policy("quorum none").asks_for_witnesses

    @pytest.mark.parametrize(
        "signed, met",
        [
            ((), False),
            (("ash",), False),
            (("ash", "beech"), False),
            (("ash", "cedar"), True),
            (("beech", "dogwood", "cedar"), True),
            (("cedar", "dogwood"), False),
        ],
    )
    def test_groups_count_as_one(self, signed: tuple[str, ...], met: bool) -> None:
        found = policy(
            "# two lots of friends",
            *witness_lines("ash", "beech", "cedar", "dogwood"),
            "group first any ash beech",
            "\tgroup\tsecond 1 cedar  dogwood ",
            "",
            "group both all first second",
            "quorum both",
        )
        assert found.asks_for_witnesses
        assert found.is_met(sign(*map(cosign, signed))) is met

    def test_a_threshold_counts(self) -> None:
        found = policy(
            *witness_lines("ash", "beech", "cedar"),
            "group some 2 ash beech cedar",
            "quorum some",
        )
        assert not found.is_met(sign(cosign("cedar")))
        assert found.is_met(sign(cosign("cedar"), cosign("ash")))

    def test_a_false_line_neither_helps_nor_harms(self) -> None:
        found = policy(
            *witness_lines("ash", "beech"), "group g 1 ash beech", "quorum g"
        )
        false = cosign("ash", text=TEXT.replace("3", "4"))
        assert not found.is_met(sign(false))
        assert found.is_met(sign(false, cosign("beech")))

    def test_it_names_logs_and_addresses(self) -> None:
        log = VerifierKey.of("undersigned.example/spine", bytes(32))
        found = policy(
            f"log {log.vkey} https://undersigned.example/spine", "quorum none"
        )
        assert found.knows_log(log)
        assert found.logs[0].url == "https://undersigned.example/spine"
        assert not found.knows_log(VerifierKey.of("other.example/spine", bytes(32)))
        assert policy("quorum none").knows_log(log)

    def test_names_are_octets(self) -> None:
        vkey = key_of("ash").vkey.encode()
        data = b"witness \xff\xfe " + vkey + b"\nquorum \xff\xfe\n"
        assert parse_policy(data).is_met(sign(cosign("ash")))

    @pytest.mark.parametrize(
        "lines",
        [
            [],
            ["quorum ash"],
            ["quorum none", "quorum none"],
            ["quorum none none"],
            ["quorums none"],
            ["witness ash nonsense", "quorum none"],
            ["witness ash", "quorum none"],
            ["log nonsense", "quorum none"],
            [*witness_lines("ash"), *witness_lines("ash"), "quorum none"],
            [*witness_lines("ash"), f"witness b {key_of('ash').vkey}", "quorum ash"],
            [f"witness none {key_of('ash').vkey}", "quorum none"],
            ["group g any ash", *witness_lines("ash"), "quorum g"],
            [*witness_lines("ash"), "group g 2 ash", "quorum g"],
            [*witness_lines("ash"), "group g 0 ash", "quorum g"],
            [*witness_lines("ash"), "group g 01 ash", "quorum g"],
            [*witness_lines("ash"), "group g +1 ash", "quorum g"],
            [*witness_lines("ash"), "group g some ash", "quorum g"],
            [*witness_lines("ash"), "group g any", "quorum g"],
            [*witness_lines("ash"), "group g any ash ash", "quorum g"],
            [*witness_lines("ash"), "group g any none", "quorum g"],
            [*witness_lines("ash"), "group g any ash", "group h any ash", "quorum h"],
            [f"log {key_of('ash').vkey}", "quorum none"],
            [f"witness a {VerifierKey.of('a', bytes(32)).vkey}", "quorum none"],
            ["quorum none\r"],
            ["quorum\x0bnone"],
        ],
    )
    def test_what_is_no_policy_is_refused(self, lines: list[str]) -> None:
        with pytest.raises(Fault) as caught:
            policy(*lines)
        assert caught.value.code == "policy-form"

    def test_the_last_line_ends(self) -> None:
        with pytest.raises(Fault):
            parse_policy(b"quorum none")

    @given(st.binary(max_size=300))
    def test_whatever_it_is_given_it_answers_with_a_fault(self, data: bytes) -> None:
        with suppress_policy_faults():
            parse_policy(data)
