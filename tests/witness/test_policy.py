"""Our witnesses and the quorum, and the policy that they make."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify.cosignature import witness_key
from undersigned_verify.note import parse_note
from undersigned_verify.policy import parse_policy

from undersigned.drills.small_log import SmallLog
from undersigned.kernel.errors import StorageFailed
from undersigned.witness.key import WitnessKey
from undersigned.witness.operations import OwnLog, VKeyNotValid
from undersigned.witness.policy import (
    MAX_WITNESSES,
    Quorum,
    QuorumNotPossible,
    TooManyWitnesses,
    WitnessList,
    WitnessListed,
    WitnessNotListed,
    WitnessURLNotValid,
    add_witness,
    parse_url,
    publish_policy,
    read_witness_list,
    remove_witness,
    set_quorum,
)

HOST = "omar.example"


def make_key(name: str) -> WitnessKey:
    return WitnessKey(name, Ed25519PrivateKey.generate().private_bytes_raw())


def add(folder: Path, *names: str) -> list[WitnessKey]:
    keys = [make_key(f"{name}.example/witness") for name in names]
    for name, key in zip(names, keys, strict=True):
        add_witness(
            folder=folder,
            host=HOST,
            vkey=key.vkey,
            url=f"https://{name}.example/witness/",
        )
    return keys


class TestTheList:
    def test_it_is_empty_at_first(self, tmp_path: Path) -> None:
        assert read_witness_list(tmp_path) == WitnessList()

    def test_it_is_kept_by_name(self, tmp_path: Path) -> None:
        add(tmp_path, "vic", "asha")
        found = read_witness_list(tmp_path)
        assert [one.name for one in found.witnesses] == [
            "asha.example/witness",
            "vic.example/witness",
        ]
        assert found.witnesses[0].url == "https://asha.example/witness"
        mode = stat.S_IMODE((tmp_path / "witnesses.json").stat().st_mode)
        assert mode == 0o600

    @pytest.mark.parametrize(
        "count,needed", [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3)]
    )
    def test_most_of_them_make_a_quorum(
        self, tmp_path: Path, count: int, needed: int
    ) -> None:
        add(tmp_path, *(f"w{number}" for number in range(count)))
        assert read_witness_list(tmp_path).needed == needed

    def test_a_quorum_may_be_chosen(self, tmp_path: Path) -> None:
        add(tmp_path, "asha", "vic", "mina")
        quorums: list[tuple[Quorum, int]] = [(1, 1), (3, 3), ("none", 0)]
        for quorum, needed in quorums:
            assert set_quorum(folder=tmp_path, quorum=quorum).needed == needed
        assert set_quorum(folder=tmp_path, quorum="majority").needed == 2

    @pytest.mark.parametrize("quorum", [0, -1, 4, True])
    def test_one_that_cannot_be_met_is_refused(
        self, tmp_path: Path, quorum: int
    ) -> None:
        add(tmp_path, "asha", "vic", "mina")
        with pytest.raises(QuorumNotPossible):
            set_quorum(folder=tmp_path, quorum=quorum)
        assert read_witness_list(tmp_path).needed == 2

    def test_nobody_leaves_who_is_needed(self, tmp_path: Path) -> None:
        add(tmp_path, "asha", "vic")
        set_quorum(folder=tmp_path, quorum=2)
        with pytest.raises(QuorumNotPossible):
            remove_witness(folder=tmp_path, name="vic.example/witness")
        set_quorum(folder=tmp_path, quorum=1)
        left = remove_witness(folder=tmp_path, name="vic.example/witness")
        assert [one.name for one in left.witnesses] == ["asha.example/witness"]
        with pytest.raises(WitnessNotListed):
            remove_witness(folder=tmp_path, name="vic.example/witness")

    def test_nobody_stands_in_it_twice(self, tmp_path: Path) -> None:
        (key,) = add(tmp_path, "asha")
        same_key = witness_key("other.example/w", key.verifier.public)
        same_name = make_key("asha.example/witness")
        for vkey in (key.vkey, same_key.vkey, same_name.vkey):
            with pytest.raises(WitnessListed):
                add_witness(
                    folder=tmp_path, host=HOST, vkey=vkey, url="https://x.example"
                )

    def test_its_own_instance_is_no_witness(self, tmp_path: Path) -> None:
        with pytest.raises(OwnLog):
            add_witness(
                folder=tmp_path,
                host=HOST,
                vkey=make_key(f"{HOST}/witness").vkey,
                url="https://omar.example/witness",
            )

    @pytest.mark.parametrize(
        "vkey",
        [
            "",
            "x+y+z",
            "x" * 10_000,
            SmallLog("a.example/spine").vkey,
            make_key("none").vkey,
            make_key("witnesses").vkey,
        ],
        # Keys are drawn: workers of a parallel run must name their tests alike.
        ids=["empty", "no-base64", "long", "of-a-log", "none", "a-word-of-policies"],
    )
    def test_a_key_that_cannot_stand_in_a_policy_is_refused(
        self, tmp_path: Path, vkey: str
    ) -> None:
        with pytest.raises(VKeyNotValid):
            add_witness(folder=tmp_path, host=HOST, vkey=vkey, url="https://x.example")

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "witness",
            "ftp://a.example/w",
            "https://",
            "https://:8000/",
            "https://me:secret@a.example/w",
            "https://a.example/w?x=1",
            "https://a.example/w?",
            "https://a.example/w#x",
            "https://a.example/a b",
            "https://a.example/w\n",
            "https://a.example:99999/",
            "https://a.example:0/",
            "https://[::1/",
            "https://ä.example/",
            "https://a.example/" + "x" * 400,
        ],
    )
    def test_an_address_has_its_form(self, url: str) -> None:
        with pytest.raises(WitnessURLNotValid):
            parse_url(url)

    @pytest.mark.parametrize(
        "url,found",
        [
            ("https://a.example", "https://a.example"),
            ("https://a.example/", "https://a.example"),
            ("http://127.0.0.1:8000/witness", "http://127.0.0.1:8000/witness"),
            ("https://[::1]:8000/w/", "https://[::1]:8000/w"),
        ],
    )
    def test_an_address_ends_without_a_slash(self, url: str, found: str) -> None:
        assert parse_url(url) == found

    def test_it_has_an_end(self, tmp_path: Path) -> None:
        add(tmp_path, *(f"w{number}" for number in range(MAX_WITNESSES)))
        with pytest.raises(TooManyWitnesses):
            add(tmp_path, "more")

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "[]",
            "{}",
            '{"quorum": 1, "witnesses": []}',
            '{"quorum": "some", "witnesses": []}',
            '{"quorum": "none", "witnesses": [{"vkey": "x", "url": "y"}]}',
        ],
    )
    def test_a_damaged_one_is_no_empty_one(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "witnesses.json").write_text(text)
        with pytest.raises(StorageFailed):
            read_witness_list(tmp_path)

    def test_two_who_add_at_once_lose_nobody(self, tmp_path: Path) -> None:
        threads = [
            threading.Thread(target=add, args=(tmp_path, f"w{number}"))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(read_witness_list(tmp_path).witnesses) == 8


class TestThePolicy:
    def publish(self, folder: Path, log: SmallLog) -> bytes:
        return publish_policy(
            folder=folder,
            public=folder / "public",
            spine_vkey=log.vkey,
            spine_url=f"https://{HOST}/spine",
        )

    def test_without_witnesses_it_asks_for_none(self, tmp_path: Path) -> None:
        log = SmallLog(f"{HOST}/spine")
        data = self.publish(tmp_path, log)
        assert data == (tmp_path / "public" / "policy.txt").read_bytes()
        found = parse_policy(data)
        assert found.logs[0].key.vkey == log.vkey
        assert found.logs[0].url == f"https://{HOST}/spine"
        assert not found.asks_for_witnesses

    def test_its_quorum_is_met_by_most_and_by_no_fewer(self, tmp_path: Path) -> None:
        log = SmallLog(f"{HOST}/spine")
        log.append(3)
        keys = add(tmp_path, "asha", "vic", "mina")
        found = parse_policy(self.publish(tmp_path, log))
        text = parse_note(log.sign()).text
        lines = [key.cosign(text, time=1).encode() for key in keys]
        assert not found.is_met(log.sign())
        assert not found.is_met(log.sign() + lines[2])
        assert found.is_met(log.sign() + lines[2] + lines[0])
        assert found.is_met(log.sign() + b"".join(lines))

    def test_without_a_quorum_it_still_names_them(self, tmp_path: Path) -> None:
        add(tmp_path, "asha", "vic")
        set_quorum(folder=tmp_path, quorum="none")
        found = parse_policy(self.publish(tmp_path, SmallLog(f"{HOST}/spine")))
        assert not found.asks_for_witnesses
        assert len(found.witnesses) == 2
        assert found.witnesses[b"asha.example/witness"].url is not None

    def test_it_is_written_again_only_when_it_changes(self, tmp_path: Path) -> None:
        log = SmallLog(f"{HOST}/spine")
        self.publish(tmp_path, log)
        path = tmp_path / "public" / "policy.txt"
        before = path.stat().st_ino
        self.publish(tmp_path, log)
        assert path.stat().st_ino == before
        add(tmp_path, "asha")
        self.publish(tmp_path, log)
        assert b"asha.example/witness" in path.read_bytes()
