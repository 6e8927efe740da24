"""Worker processes, and the file that nonces go through."""

import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from undersigned_verify import crew as crew_module
from undersigned_verify.chunk import Checker, Chunk, Context, find_repeats
from undersigned_verify.crew import Crew, _make_pipe, serve, work
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.spill import Spill

from tests.verify.building import LogBuilder

CONTEXT = Context(LogBuilder().key.vkey, bytes(32))


def parts(count: int) -> list[bytes]:
    """Return tasks that each have one repeated nonce."""
    return [sha256(bytes([i])).digest() * 2 for i in range(count)]


def do_all(crew: Crew, tasks: list[bytes]) -> None:
    for task in tasks:
        list(crew.do(task))


class TestCrew:
    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_results_come_in_order(self, workers: int) -> None:
        with Crew(workers, CONTEXT) as crew:
            found: list[object] = []
            for task in parts(9):
                found += crew.do(task)
            found += crew.finish()
        assert found == [{task[:32]} for task in parts(9)]

    def test_a_lost_worker_is_reported(self) -> None:
        with Crew(2, CONTEXT) as crew:
            for worker in crew._workers:
                worker._process.kill()
                worker._process.wait()
            with pytest.raises(Unreadable, match="worker process ended"):
                do_all(crew, parts(20))

    def test_a_worker_lost_at_work_is_reported(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(crew_module, "_START", "import time; time.sleep(60)")
        with Crew(2, CONTEXT) as crew:
            do_all(crew, parts(2))
            for worker in crew._workers:
                worker._process.kill()
            with pytest.raises(Unreadable, match="worker process ended"):
                list(crew.finish())

    def test_a_worker_lost_before_it_was_told_is_reported(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(crew_module, "_START", "raise SystemExit")
        with (
            pytest.raises(Unreadable, match="worker process ended"),
            Crew(2, CONTEXT) as crew,
        ):
            do_all(crew, [task * 50_000 for task in parts(20)])

    def test_without_large_pipes_it_only_waits_more(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*arguments: object) -> int:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("undersigned_verify.crew.fcntl.fcntl", refuse)
        # Tasks larger than a pipe, which must not be sent to a busy worker.
        tasks = [task * 10_000 for task in parts(9)]
        with Crew(2, CONTEXT) as crew:
            found = [result for task in tasks for result in crew.do(task)]
            found += crew.finish()
        assert found == [{task[:32]} for task in tasks]

    def test_other_systems_have_no_large_pipes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        reading, writing, room = _make_pipe()
        with reading, writing:
            assert room == 0

    def test_a_worker_answers_until_the_other_end_closes(self) -> None:
        their_tasks, tasks, _ = _make_pipe()
        results, their_results, _ = _make_pipe()
        thread = threading.Thread(target=serve, args=(their_tasks, their_results))
        thread.start()
        with results, tasks:
            tasks.send(CONTEXT)
            tasks.send(bytes(64))
            assert results.recv() == {bytes(32)}
        thread.join(10)
        assert not thread.is_alive()

    def test_a_worker_leaves_ctrl_c_to_its_parent(self) -> None:
        their_tasks, tasks, _ = _make_pipe()
        results, their_results, _ = _make_pipe()
        with tasks:
            tasks.send(CONTEXT)
        handles = os.dup(their_tasks.fileno()), os.dup(their_results.fileno())
        before = signal.getsignal(signal.SIGINT)
        try:
            with their_tasks, their_results, results:
                work(handles)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, before)

    def test_a_worker_knows_none_of_its_parent_s_secrets(self, tmp_path: Path) -> None:
        # The caller's main module is not run again, and would fail loudly here.
        script = tmp_path / "caller.py"
        script.write_text(
            "import os, pathlib\n"
            "from undersigned_verify.chunk import Context\n"
            "from undersigned_verify.crew import Crew\n"
            f"with Crew(2, {CONTEXT!r}) as crew:\n"
            "    for worker in crew._workers:\n"
            "        worker._send(__import__('pickle').dumps(b''))\n"
            "        worker.pipe.recv()\n"
            "        pid = worker._process.pid\n"
            "        print(pathlib.Path(f'/proc/{pid}/environ').read_text())\n"
            "print('done')\n"
        )
        if not Path("/proc/self/environ").exists():
            pytest.skip("this system does not show a process's environment")
        done = subprocess.run(
            [sys.executable, str(script)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "UNDERSIGNED_PASSPHRASE": "open sesame",
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.endswith("done\n")
        assert "open sesame" not in done.stdout


class TestRepeats:
    def test_each_is_found_once(self) -> None:
        one, two, three = (bytes([i]) * 32 for i in range(3))
        assert find_repeats(b"") == set()
        assert find_repeats(one + two + three) == set()
        assert find_repeats(two + one + two + three + two + one) == {one, two}


class TestSpill:
    @pytest.mark.parametrize("limit", [1, 1000, 10**9])
    def test_every_nonce_comes_back_in_its_part(self, limit: int) -> None:
        seeded = random.Random(3)
        nonces = [seeded.randbytes(32) for _ in range(500)]
        found: list[bytes] = []
        with Spill(limit) as spill:
            for low in range(0, 500, 70):
                batch = sorted(nonces[low : low + 70])
                starts = [sum(n[0] < i for n in batch) for i in range(1, 256)]
                spill.add(b"".join(batch), starts)
            for first, part in enumerate(spill.parts()):
                each = [part[i : i + 32] for i in range(0, len(part), 32)]
                assert all(nonce[0] == first for nonce in each)
                found += each
        assert sorted(found) == sorted(nonces)


class TestChunk:
    def test_a_chunk_with_nothing_in_it_contributes_nothing(self) -> None:
        done = Checker(CONTEXT).check(Chunk(0, [], [], [], True, {}))
        assert (done.leaves, done.nonces, done.faults) == (0, b"", [])

    def test_faults_travel_whole(self) -> None:
        fault = Fault("token-invalid", "Detail.", index=7, path="a/b")
        again = pickle.loads(pickle.dumps(fault))  # noqa: S301  # made a line above
        assert isinstance(again, Fault)
        assert str(again) == str(fault) == "token-invalid (leaf 7, a/b): Detail."
        assert (again.index, again.path, again.detail) == (7, "a/b", "Detail.")
        assert str(Fault("leaf-type")) == "leaf-type: A leaf's type is unknown."
