"""Whatever a log with a sound key sends: one history, one root hash of each size."""

from __future__ import annotations

import random
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from typing_extensions import override

from undersigned_verify.cosignature import find_cosignature, parse_witness_key
from undersigned_verify.merkle import EMPTY_ROOT
from undersigned_verify.note import parse_note

from tests.witness.conftest import ORIGIN, open_witness
from undersigned.drills.small_log import SmallLog
from undersigned.kernel.errors import UndersignedError
from undersigned.witness.operations import (
    CosignedOtherwise,
    LogNotTrusted,
    cosign_checkpoint,
    forget_log,
    get_witness_key,
    trust_log,
)
from undersigned.witness.request import encode_request

START = 1_795_953_600
# Of no use outside: the same in every run, so that failures come again.
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Cosigning(RuleBasedStateMachine):
    """The model: the history that was cosigned so far, and the last size and time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="undersigned-witness-", dir=_MEMORY))
        self.histories = [SmallLog(ORIGIN, private=KEY)]
        self.histories[0].append(4)
        self.random = random.Random(0)
        self.cosigned: dict[int, bytes] = {}
        self.size, self.time = 0, 0
        self.now = START
        self.trusted = True

    @override
    def teardown(self) -> None:
        self.witness.store.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @initialize()
    def begin(self) -> None:
        self.witness = open_witness(self.folder)
        trust_log(witness=self.witness, vkey=self.histories[0].vkey)
        self.key = parse_witness_key(get_witness_key(witness=self.witness))

    @rule(which=st.integers(0, 9), count=st.integers(1, 4))
    def grow(self, which: int, count: int) -> None:
        log = self.histories[which % len(self.histories)]
        log.append(count, salt=str(which % len(self.histories)).encode())

    @precondition(lambda self: len(self.histories) < 4)
    @rule(which=st.integers(0, 9), at=st.integers(0, 40))
    def fork(self, which: int, at: int) -> None:
        log = self.histories[which % len(self.histories)]
        self.histories.append(log.fork(min(at, log.size)))

    @rule(seconds=st.integers(-100_000, 100_000))
    def move_clock(self, seconds: int) -> None:
        self.now = max(0, self.now + seconds)

    @rule()
    def restart(self) -> None:
        self.witness.store.close()
        self.witness = open_witness(self.folder)

    @rule()
    def forget_and_trust_again(self) -> None:
        forget_log(witness=self.witness, origin=ORIGIN)
        with pytest.raises(LogNotTrusted):
            self.ask(self.histories[0].ask(self.size, self.histories[0].size))
        trust_log(witness=self.witness, vkey=self.histories[0].vkey)

    @rule(which=st.integers(0, 9), data=st.data())
    def submit(self, which: int, data: st.DataObject) -> None:
        """An honest request of some history, from the right size or another."""
        log = self.histories[which % len(self.histories)]
        size = data.draw(st.integers(0, log.size))
        old = data.draw(st.one_of(st.just(self.size), st.integers(0, log.size)))
        if old > log.size:
            old = log.size
        self.judge(log, old, size, log.ask(old, size))

    @rule(which=st.integers(0, 9), data=st.data())
    def submit_with_a_proof_of_anything(self, which: int, data: st.DataObject) -> None:
        log = self.histories[which % len(self.histories)]
        size = data.draw(st.integers(0, log.size))
        hashes = data.draw(st.lists(st.binary(min_size=32, max_size=32), max_size=4))
        body = encode_request(old_size=self.size, proof=hashes, note=log.sign(size))
        self.judge(log, self.size, size, body)

    def ask(self, body: bytes) -> str:
        return cosign_checkpoint(
            witness=self.witness, body=body, at=datetime.fromtimestamp(self.now, UTC)
        )

    def judge(self, log: SmallLog, old: int, size: int, body: bytes) -> None:
        extends = self.extends(log, size)
        try:
            line = self.ask(body)
        except UndersignedError as error:
            # Nothing was wrong with an honest request from the right size.
            honest = extends and old == self.size and body == log.ask(old, size)
            told = error.size if isinstance(error, CosignedOtherwise) else self.size
            if honest or told != self.size:
                raise
            return
        assert extends
        assert old == self.size
        note = parse_note(log.sign(size) + line.encode())
        found = find_cosignature(note, self.key)
        assert found is not None
        assert found.time >= max(self.time, self.now)
        assert found.time in (self.time, self.now)
        self.size, self.time = size, found.time
        assert self.cosigned.setdefault(size, log.root(size)) == log.root(size)

    def extends(self, log: SmallLog, size: int) -> bool:
        """Say whether this state continues what was cosigned last."""
        if size < self.size:
            return False
        last = self.cosigned.get(self.size, EMPTY_ROOT)
        return log.root(self.size) == last

    @invariant()
    def it_remembers_what_it_said(self) -> None:
        if not hasattr(self, "witness"):
            return
        log = self.witness.store.find_log(ORIGIN)
        assert log is not None
        assert (log.size, log.time) == (self.size, self.time)
        assert log.root == self.cosigned.get(self.size, EMPTY_ROOT)


_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
TestCosigning = Cosigning.TestCase
TestCosigning.settings = settings(max_examples=25, stateful_step_count=25)
