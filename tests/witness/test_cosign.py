"""What is cosigned, what is refused, in which order, and what is kept of it."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.cosignature import (
    Cosignature,
    find_cosignature,
    parse_witness_key,
)
from undersigned_verify.note import VerifierKey, parse_note, sign_note

from tests.conftest import make_folder
from tests.witness.conftest import HOST, ORIGIN, open_witness
from undersigned.drills.small_log import SmallLog
from undersigned.kernel.errors import (
    StorageFailed,
    Unavailable,
    UndersignedError,
)
from undersigned.kernel.keystore import KeysLocked
from undersigned.witness.data import EvidenceKind
from undersigned.witness.operations import (
    ConsistencyNotProven,
    CosignedOtherwise,
    LogKeyDiffers,
    LogNotTrusted,
    LogSignatureMissing,
    OwnLog,
    VKeyNotValid,
    cosign_checkpoint,
    forget_log,
    get_witness_key,
    replace_witness_key,
    trust_log,
)
from undersigned.witness.request import (
    MAX_PROOF,
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    RequestMalformed,
    encode_request,
)
from undersigned.witness.store import WitnessStateLost, WitnessStopped
from undersigned.witness.witness import Witness

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def ask(witness: Witness, body: bytes, at: datetime = NOW) -> str:
    return cosign_checkpoint(witness=witness, body=body, at=at)


def refuse(witness: Witness, body: bytes) -> UndersignedError:
    with pytest.raises(UndersignedError) as caught:
        ask(witness, body)
    return caught.value


def read(witness: Witness, log: SmallLog, size: int, line: str) -> Cosignature:
    key = parse_witness_key(get_witness_key(witness=witness))
    found = find_cosignature(parse_note(log.sign(size) + line.encode()), key)
    assert found is not None
    return found


class TestARequest:
    def test_the_specifications_own_example_is_read(self) -> None:
        """C2SP tlog-witness, from its section on add-checkpoint."""
        found = AddCheckpoint.parse(
            b"old 20852014\n"
            b"PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
            b"jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
            b"5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
            b"/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n"
            b"\n"
            b"example.com/behind-the-sofa\n"
            b"20852163\n"
            b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
            b"\n"
            b"\xe2\x80\x94 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZ"
            b"niMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
            b"\xe2\x80\x94 example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62"
            b"DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n"
        )
        assert (found.old_size, len(found.proof)) == (20852014, 4)
        assert found.checkpoint.size == 20852163
        assert len(found.note.signatures) == 2

    @given(
        st.integers(0, 2**63 - 1),
        st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF),
    )
    def test_parse_is_the_inverse_of_encode(self, old: int, proof: list[bytes]) -> None:
        log = SmallLog(ORIGIN)
        log.append(3)
        note = log.sign()
        found = AddCheckpoint.parse(
            encode_request(old_size=old, proof=proof, note=note)
        )
        assert (found.old_size, list(found.proof)) == (old, proof)
        assert found.note == parse_note(note)

    @pytest.mark.parametrize(
        "change",
        [
            lambda body: b"",
            lambda body: b"\n\n",
            lambda body: body[1:],
            lambda body: body.replace(b"old 0", b"old 00"),
            lambda body: body.replace(b"old 0", b"old -1"),
            lambda body: body.replace(b"old 0", b"old +0"),
            lambda body: body.replace(b"old 0", b"old  0"),
            lambda body: body.replace(b"old 0", b"old 0 "),
            lambda body: body.replace(b"old 0", b"old 0\r"),
            lambda body: body.replace(b"old 0", b"old"),
            lambda body: body.replace(b"old 0", b"old 9223372036854775808"),
            lambda body: body.replace(b"old 0", b"old " + b"9" * 5000),
            lambda body: body.replace(b"old 0", "old ٣".encode()),
            lambda body: body.replace(b"old 0\n", b"old 0\nAAAA\n"),
            lambda body: body.replace(b"old 0\n", b"old 0\n" + b"A" * 44 + b"\n"),
            lambda body: body.replace(
                b"old 0\n", b"old 0\n" + (b"A" * 43 + b"=\n") * (MAX_PROOF + 1)
            ),
            lambda body: body.replace(b"\n5\n", b"\n05\n"),
            lambda body: body.replace(b"\n5\n", b"\n5\nan extension line\n5\n"),
            lambda body: body[:-1],
            lambda body: body + b"\n",
            lambda body: body + b"x" * MAX_REQUEST_BYTES,
            lambda body: body.replace(b"omar", b"\xff\xfe"),
        ],
    )
    def test_what_has_not_its_form_is_malformed(
        self, witness: Witness, spine: SmallLog, change: Callable[[bytes], bytes]
    ) -> None:
        body = spine.ask(0)
        assert isinstance(refuse(witness, change(body)), RequestMalformed)
        ask(witness, body)

    @given(st.binary(max_size=400))
    def test_whatever_it_is_given_it_is_malformed_at_worst(self, data: bytes) -> None:
        for body in (data, b"old 0\n\n" + data):
            with pytest.raises(RequestMalformed):
                AddCheckpoint.parse(body)


class TestALog:
    def test_its_first_checkpoint_is_cosigned(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        found = read(witness, spine, 5, ask(witness, spine.ask(0)))
        assert found == Cosignature(f"{HOST}/witness", int(NOW.timestamp()))

    def test_it_may_be_empty(self, witness: Witness) -> None:
        log = SmallLog("empty.example/spine")
        trust_log(witness=witness, vkey=log.vkey)
        read(witness, log, 0, ask(witness, log.ask(0)))
        log.append(3)
        read(witness, log, 3, ask(witness, log.ask(0)))

    @settings(max_examples=20)
    @given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6).map(sorted))
    def test_it_grows(self, sizes: list[int]) -> None:
        log = SmallLog(ORIGIN)
        log.append(30)
        with make_folder() as folder:
            witness = open_witness(folder)
            trust_log(witness=witness, vkey=log.vkey)
            old = 0
            for size in sizes:
                read(witness, log, size, ask(witness, log.ask(old, size)))
                old = size
            witness.store.close()

    def test_the_same_again_is_cosigned_again(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        ask(witness, spine.ask(0))
        later = datetime(2026, 11, 21, 10, tzinfo=UTC)
        found = read(witness, spine, 5, ask(witness, spine.ask(5), at=later))
        assert found.time == int(later.timestamp())

    def test_time_never_goes_back(self, witness: Witness, spine: SmallLog) -> None:
        ask(witness, spine.ask(0))
        spine.append()
        early = datetime(2020, 1, 1, tzinfo=UTC)
        found = read(witness, spine, 6, ask(witness, spine.ask(5), at=early))
        assert found.time == int(NOW.timestamp())

    def test_the_signatures_of_others_are_ignored(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        other = SmallLog("mallory.example/w")
        line = sign_note(parse_note(spine.sign()).text, other.origin, other.private)
        body = spine.ask(0) + line.partition(b"\n\n")[2]
        read(witness, spine, 5, ask(witness, body))
        log = witness.store.find_log(ORIGIN)
        assert log is not None
        # Kept with the log's own signature only.
        assert log.note == spine.sign()

    def test_an_unknown_one_is_404(self, witness: Witness) -> None:
        other = SmallLog("mallory.example/spine")
        other.append(2)
        assert isinstance(refuse(witness, other.ask(0)), LogNotTrusted)

    def test_a_false_signature_is_403(self, witness: Witness, spine: SmallLog) -> None:
        mallory = SmallLog(ORIGIN)
        mallory.append(9)
        assert isinstance(refuse(witness, mallory.ask(0)), LogSignatureMissing)
        # Before anything is said of sizes.
        assert isinstance(refuse(witness, mallory.ask(9)), LogSignatureMissing)
        ask(witness, spine.ask(0))

    def test_an_old_size_above_its_own_is_400(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        body = encode_request(old_size=6, proof=[], note=spine.sign())
        assert isinstance(refuse(witness, body), RequestMalformed)

    @pytest.mark.parametrize("old", [0, 2, 4, 6])
    def test_another_old_size_is_409_with_ours(
        self, witness: Witness, spine: SmallLog, old: int
    ) -> None:
        ask(witness, spine.ask(0))
        spine.append(3)
        error = refuse(witness, spine.ask(old))
        assert isinstance(error, CosignedOtherwise)
        assert error.size == 5
        read(witness, spine, 8, ask(witness, spine.ask(5)))

    def test_a_bad_proof_is_422(self, witness: Witness, spine: SmallLog) -> None:
        ask(witness, spine.ask(0))
        spine.append(3)
        good = spine.consistency_proof(5, 8)
        for proof in (good[:-1], [*good, bytes(32)], good[::-1], [], [bytes(32)] * 3):
            body = encode_request(old_size=5, proof=proof, note=spine.sign())
            assert isinstance(refuse(witness, body), ConsistencyNotProven)
        read(witness, spine, 8, ask(witness, spine.ask(5)))

    def test_a_proof_where_none_belongs_is_422(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        body = encode_request(old_size=0, proof=[bytes(32)], note=spine.sign())
        assert isinstance(refuse(witness, body), ConsistencyNotProven)
        ask(witness, spine.ask(0))
        body = encode_request(old_size=5, proof=[bytes(32)], note=spine.sign())
        assert isinstance(refuse(witness, body), ConsistencyNotProven)

    def test_forgotten_it_is_unknown_and_its_state_is_kept(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        ask(witness, spine.ask(0))
        fork = spine.fork(3)
        fork.append(4, salt=b"fork")
        forget_log(witness=witness, origin=ORIGIN)
        assert isinstance(refuse(witness, spine.ask(5)), LogNotTrusted)
        with pytest.raises(LogNotTrusted):
            forget_log(witness=witness, origin=ORIGIN)
        assert trust_log(witness=witness, vkey=spine.vkey).size == 5
        assert isinstance(refuse(witness, fork.ask(0)), CosignedOtherwise)
        read(witness, spine, 5, ask(witness, spine.ask(5)))

    def test_it_may_change_its_key_once_forgotten(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        ask(witness, spine.ask(0))
        renewed = SmallLog(ORIGIN)
        renewed.append(5)
        with pytest.raises(LogKeyDiffers):
            trust_log(witness=witness, vkey=renewed.vkey)
        forget_log(witness=witness, origin=ORIGIN)
        assert trust_log(witness=witness, vkey=renewed.vkey).size == 5
        assert isinstance(refuse(witness, spine.ask(5)), LogSignatureMissing)
        renewed.append(2)
        read(witness, renewed, 7, ask(witness, renewed.ask(5)))

    @pytest.mark.parametrize("vkey", ["", "x", "a+b+c", "x" * 10_000])
    def test_its_key_has_its_form(self, witness: Witness, vkey: str) -> None:
        with pytest.raises(VKeyNotValid):
            trust_log(witness=witness, vkey=vkey)

    def test_a_witnesss_key_is_no_logs(self, witness: Witness) -> None:
        with pytest.raises(VKeyNotValid):
            trust_log(witness=witness, vkey=get_witness_key(witness=witness))

    def test_our_own_is_refused(self, witness: Witness) -> None:
        with pytest.raises(OwnLog):
            trust_log(witness=witness, vkey=SmallLog(f"{HOST}/spine").vkey)


class TestAFork:
    def test_of_the_same_size_is_409_and_both_are_kept(
        self, witness: Witness, spine: SmallLog, caplog: pytest.LogCaptureFixture
    ) -> None:
        ask(witness, spine.ask(0))
        fork = spine.fork(3)
        fork.append(2, salt=b"fork")
        for old in (5, 0, 3):
            error = refuse(witness, fork.ask(old))
            assert isinstance(error, CosignedOtherwise)
            assert error.size == 5
        (found,) = witness.store.list_evidence()
        assert found.kind is EvidenceKind.FORK
        key = VerifierKey.parse(spine.vkey)
        ours, theirs = (
            open_checkpoint(found.ours, key),
            open_checkpoint(found.theirs, key),
        )
        assert (ours.size, theirs.size) == (5, 5)
        assert ours.root != theirs.root
        assert [one.levelname for one in caplog.records] == ["CRITICAL"]
        assert "FORK" in caplog.text
        # The log that was seen first is still cosigned: it is for people to judge.
        read(witness, spine, 5, ask(witness, spine.ask(5)))

    def test_of_another_size_is_422_and_both_are_kept(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        ask(witness, spine.ask(0))
        fork = spine.fork(3)
        fork.append(6, salt=b"fork")
        assert isinstance(refuse(witness, fork.ask(5)), ConsistencyNotProven)
        (found,) = witness.store.list_evidence()
        assert found.kind is EvidenceKind.UNPROVEN
        assert (found.ours, found.theirs) == (spine.sign(5), fork.sign())

    def test_after_fork_fills_no_disk(self, witness: Witness, spine: SmallLog) -> None:
        ask(witness, spine.ask(0))
        for number in range(20):
            fork = spine.fork(4)
            fork.append(1, salt=str(number).encode())
            refuse(witness, fork.ask(5))
        assert len(witness.store.list_evidence()) == 16

    def test_without_a_valid_signature_proves_nothing(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        ask(witness, spine.ask(0))
        mallory = SmallLog(ORIGIN)
        mallory.append(5, salt=b"mallory")
        refuse(witness, mallory.ask(5))
        assert witness.store.list_evidence() == []


class TestAState:
    def test_it_is_its_owners_alone(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        ask(witness, spine.ask(0))
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in data.rglob("*")
            if path.is_file()
        }
        assert set(modes.values()) == {0o600}
        assert {"witness.sqlite3", "witness-mark.json", "witness.key"} <= set(modes)
        assert stat.S_IMODE(data.stat().st_mode) == 0o700

    def test_nothing_is_made_before_it_is_needed(self, tmp_path: Path) -> None:
        witness = open_witness(tmp_path / "data")
        log = SmallLog(ORIGIN)
        assert isinstance(refuse(witness, log.ask(0)), LogNotTrusted)
        assert witness.store.list_logs() == []
        assert witness.store.list_evidence() == []
        assert witness.store.find_trouble() is None
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["secrets"]

    def test_it_survives_a_restart(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        vkey = get_witness_key(witness=witness)
        ask(witness, spine.ask(0))
        witness.store.close()
        again = open_witness(data)
        assert get_witness_key(witness=again) == vkey
        error = refuse(again, spine.ask(0))
        assert isinstance(error, CosignedOtherwise)
        assert error.size == 5
        again.store.close()

    def test_an_older_database_cosigns_nothing(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        ask(witness, spine.ask(0))
        old = (data / "witness.sqlite3").read_bytes()
        spine.append(2)
        ask(witness, spine.ask(5))
        witness.store.close()
        (data / "witness.sqlite3").write_bytes(old)
        again = open_witness(data)
        fork = spine.fork(5)
        fork.append(2, salt=b"fork")
        for body in (fork.ask(5), spine.ask(5), spine.ask(5, 5)):
            assert isinstance(refuse(again, body), WitnessStateLost)
        assert "put back from a copy" in str(again.store.find_trouble())
        again.store.close()

    @pytest.mark.parametrize(
        "lost",
        [
            ["witness.sqlite3"],
            ["witness-mark.json"],
            ["witness.sqlite3", "witness-mark.json"],
        ],
    )
    def test_a_key_without_its_state_cosigns_nothing(
        self, witness: Witness, data: Path, spine: SmallLog, lost: list[str]
    ) -> None:
        ask(witness, spine.ask(0))
        witness.store.close()
        for name in lost:
            (data / name).unlink()
        again = open_witness(data)
        with pytest.raises(WitnessStateLost):
            trust_log(witness=again, vkey=spine.vkey)
        with pytest.raises(WitnessStateLost):
            get_witness_key(witness=again)
        assert again.find_trouble() is not None
        again.store.close()

    def test_a_key_from_a_copy_cosigns_nothing(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        key = data / "secrets" / "witness.key"
        old = key.read_bytes()
        replace_witness_key(witness=witness)
        ask(witness, spine.ask(0))
        assert witness.find_trouble() is None
        key.write_bytes(old)
        assert isinstance(refuse(witness, spine.ask(5)), WitnessStateLost)
        assert "put back from a copy" in str(witness.find_trouble())

    def test_a_state_without_its_key_cosigns_nothing(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        ask(witness, spine.ask(0))
        (data / "secrets" / "witness.key").unlink()
        error = refuse(witness, spine.ask(5))
        assert error.code == "key-missing"
        with pytest.raises(UndersignedError):
            get_witness_key(witness=witness)

    def test_a_whole_directory_put_back_is_seen_by_its_own_cosignature(
        self, witness: Witness, data: Path, spine: SmallLog, tmp_path: Path
    ) -> None:
        """Everything is old, mark too; but the log shows what we have cosigned."""
        ask(witness, spine.ask(0))
        copies = {
            name: (data / name).read_bytes()
            for name in ("witness.sqlite3", "witness-mark.json")
        }
        spine.append(2)
        line = ask(witness, spine.ask(5))
        witness.store.close()
        for name, content in copies.items():
            (data / name).write_bytes(content)
        again = open_witness(data)
        body = spine.ask(5) + line.encode()
        assert isinstance(refuse(again, body), WitnessStateLost)
        # And it stays stopped, also for what does not show it.
        fork = spine.fork(5)
        fork.append(2, salt=b"fork")
        assert isinstance(refuse(again, fork.ask(5)), WitnessStateLost)
        again.store.close()

    def test_a_log_that_remembers_more_is_noted(
        self, witness: Witness, spine: SmallLog
    ) -> None:
        ask(witness, spine.ask(0, 3))
        error = refuse(witness, spine.ask(5, 5))
        assert isinstance(error, CosignedOtherwise)
        log = witness.store.find_log(ORIGIN)
        assert log is not None
        assert (log.size, log.claimed) == (3, 5)

    def test_a_new_key_takes_the_state_on(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        old = get_witness_key(witness=witness)
        ask(witness, spine.ask(0))
        (data / "witness-mark.json").unlink()
        assert isinstance(refuse(witness, spine.ask(5)), WitnessStateLost)
        new = replace_witness_key(witness=witness)
        assert new != old
        assert new.startswith(f"{HOST}/witness+")
        spine.append(1)
        read(witness, spine, 6, ask(witness, spine.ask(5)))
        assert witness.store.find_trouble() is None

    def test_another_host_needs_another_key(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        witness.store.close()
        moved = open_witness(data, host="new.example")
        assert isinstance(refuse(moved, spine.ask(0)), WitnessStateLost)
        assert replace_witness_key(witness=moved).startswith("new.example/witness+")
        ask(moved, spine.ask(0))
        moved.store.close()

    def test_sealed_secrets_cosign_nothing(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        locked = Witness(data, host=HOST, keystore=None)
        assert isinstance(refuse(locked, spine.ask(0)), KeysLocked)
        locked.store.close()

    def test_a_damaged_mark_is_no_missing_one(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        (data / "witness-mark.json").write_text("{")
        with pytest.raises(StorageFailed):
            ask(witness, spine.ask(0))
        # For good: what is on this disk is no longer known.
        assert isinstance(refuse(witness, spine.ask(0)), WitnessStopped)


class TestStorage:
    @pytest.mark.parametrize("step", ["checked", "written", "committed", "marked"])
    def test_cut_off_at_any_step_it_says_nothing_and_forks_nothing(
        self, witness: Witness, data: Path, spine: SmallLog, step: str
    ) -> None:
        class Killed(BaseException):
            pass

        def at_step(name: str) -> None:
            if name == step:
                raise Killed

        ask(witness, spine.ask(0, 3))
        witness.store.at_step = at_step
        with pytest.raises(Killed):
            ask(witness, spine.ask(3))
        witness.store.close()
        again = open_witness(data)
        log = again.store.find_log(ORIGIN)
        assert log is not None
        assert log.size == (5 if step in ("committed", "marked") else 3)
        fork = spine.fork(3)
        fork.append(2, salt=b"fork")
        if log.size == 5:
            assert isinstance(refuse(again, fork.ask(5)), CosignedOtherwise)
        read(again, spine, 5, ask(again, spine.ask(log.size)))
        again.store.close()

    def test_a_failure_stops_it_for_good(
        self, witness: Witness, spine: SmallLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_handle: int) -> None:
            raise OSError(5, "the disk has failed")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(StorageFailed):
                ask(witness, spine.ask(0))
        assert isinstance(refuse(witness, spine.ask(5)), WitnessStopped)

    def test_somebody_who_copies_the_file_makes_it_wait_and_not_stop(
        self,
        witness: Witness,
        data: Path,
        spine: SmallLog,
    ) -> None:
        ask(witness, spine.ask(0))
        with witness.store.change():
            pass
        assert witness.store._db is not None
        witness.store._db.execute("PRAGMA busy_timeout=50")
        reader = sqlite3.connect(data / "witness.sqlite3", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM log").fetchall()
        error = refuse(witness, spine.ask(5))
        assert type(error) is Unavailable
        reader.execute("ROLLBACK")
        reader.close()
        read(witness, spine, 5, ask(witness, spine.ask(5)))

    def test_threads_and_processes_race_and_one_history_comes_out(
        self, witness: Witness, data: Path, spine: SmallLog
    ) -> None:
        """Two stores over one folder stand in for two processes: they share files."""
        ask(witness, spine.ask(0))
        other = open_witness(data)
        histories = [spine.fork(5) for _number in range(4)]
        for number, log in enumerate(histories):
            log.append(2, salt=str(number).encode())
        start = threading.Barrier(8)
        cosigned: list[bytes] = []
        conflicts: list[int] = []

        def submit(which: Witness, log: SmallLog) -> None:
            start.wait()
            try:
                ask(which, log.ask(5))
                cosigned.append(log.root(7))
            except CosignedOtherwise as error:
                conflicts.append(error.size)

        threads = [
            threading.Thread(target=submit, args=(which, log))
            for log in histories
            for which in (witness, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(cosigned) == 1
        assert conflicts == [7] * 7
        other.store.close()
