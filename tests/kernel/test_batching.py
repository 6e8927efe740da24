"""One thread that owns a store: batches, tasks, and an end that nobody misses."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest

from undersigned.kernel.batching import BatchThread, StoreStopped
from undersigned.kernel.errors import StorageFailed

PATIENCE_SECONDS = 5


@dataclass
class Item:
    """A name, and what became of it."""

    name: str
    fate: Future[str] = field(default_factory=Future)

    def wait(self) -> str:
        return self.fate.result(timeout=PATIENCE_SECONDS)


@dataclass
class Store:
    """A store in memory whose commits can be held up, or fail."""

    batches: list[list[str]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    error: Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)

    def commit(self, batch: list[Item]) -> None:
        self.busy.set()
        assert self.gate.wait(PATIENCE_SECONDS)
        if self.error is not None:
            for item in batch:
                item.fate.set_result("failed")
            raise self.error
        self.batches.append([item.name for item in batch])
        for item in batch:
            item.fate.set_result("durable")


@pytest.fixture
def store() -> Store:
    store = Store()
    store.gate.set()
    return store


@pytest.fixture
def thread(store: Store) -> Iterator[BatchThread[Item]]:
    thread = BatchThread[Item](
        name="test-store",
        commit=store.commit,
        refuse=lambda item: item.fate.set_result("refused"),
        on_failure=store.failures.append,
        max_batch=4,
        gather_seconds=0.0,
    )
    thread.start()
    yield thread
    store.gate.set()
    thread.stop()


def put(thread: BatchThread[Item], *names: str) -> list[Item]:
    items = [Item(name) for name in names]
    for item in items:
        thread.put(item)
    return items


class TestBatches:
    def test_what_gathers_during_a_commit_is_committed_together(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        store.gate.clear()
        (first,) = put(thread, "first")
        assert store.busy.wait(PATIENCE_SECONDS)
        rest = put(thread, "a", "b", "c")
        store.gate.set()
        assert {item.wait() for item in (first, *rest)} == {"durable"}
        assert store.batches == [["first"], ["a", "b", "c"]]

    def test_a_batch_has_its_most(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        store.gate.clear()
        put(thread, "first")
        assert store.busy.wait(PATIENCE_SECONDS)
        items = put(thread, *"abcdefg")
        store.gate.set()
        assert [item.wait() for item in items] == ["durable"] * 7
        assert [len(batch) for batch in store.batches] == [1, 4, 3]

    def test_a_task_runs_between_batches_in_its_turn(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        store.gate.clear()
        put(thread, "first")
        assert store.busy.wait(PATIENCE_SECONDS)
        put(thread, "before")
        seen = thread.start_task(lambda: [list(batch) for batch in store.batches])
        (after,) = put(thread, "after")
        store.gate.set()
        assert seen.result(PATIENCE_SECONDS) == [["first"], ["before"]]
        assert after.wait() == "durable"
        assert store.batches[-1] == ["after"]


class TestTasks:
    def test_one_returns_what_it_returns(self, thread: BatchThread[Item]) -> None:
        assert thread.run(lambda: 42) == 42
        name = thread.run(lambda: threading.current_thread().name)
        assert name == "test-store"

    def test_one_that_fails_is_its_callers_affair(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        def fail() -> None:
            raise LookupError("no such log")

        with pytest.raises(LookupError):
            thread.run(fail)
        assert thread.is_taking
        assert store.failures == []
        assert put(thread, "after")[0].wait() == "durable"

    @pytest.mark.parametrize(
        "error",
        [
            sqlite3.OperationalError("database or disk is full"),
            StorageFailed("couldn't sync"),
        ],
    )
    def test_a_storage_failure_in_one_stops_the_store_loudly(
        self, thread: BatchThread[Item], store: Store, error: Exception
    ) -> None:
        def fail() -> None:
            raise error

        with pytest.raises(StorageFailed):
            thread.run(fail)
        assert put(thread, "after")[0].wait() == "refused"
        assert not thread.is_taking
        assert [type(failure) for failure in store.failures] == [StorageFailed]
        assert thread.failure is store.failures[0]


class TestAFailure:
    def test_it_refuses_everything_that_comes_later(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        store.error = StorageFailed("disk full")
        store.gate.clear()
        (first,) = put(thread, "first")
        assert store.busy.wait(PATIENCE_SECONDS)
        queued = put(thread, "queued")
        task = thread.start_task(lambda: "ran")
        store.gate.set()
        assert first.wait() == "failed"
        assert queued[0].wait() == "refused"
        with pytest.raises(StoreStopped):
            task.result(PATIENCE_SECONDS)
        assert put(thread, "later")[0].wait() == "refused"
        with pytest.raises(StoreStopped):
            thread.run(lambda: "ran")
        assert store.batches == []
        assert store.failures == [store.error]

    def test_it_is_not_retried_in_place(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        store.error = StorageFailed("disk full")
        put(thread, "first")[0].wait()
        store.error = None
        assert put(thread, "second")[0].wait() == "refused"
        assert store.batches == []

    def test_it_is_as_loud_when_nobody_foresaw_it(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        # A thread that died silently would leave every later signer waiting.
        store.error = RuntimeError("a bug in the commit")
        put(thread, "first")[0].wait()
        item = Item("second")
        thread.put(item)
        assert item.wait() == "refused"
        assert store.failures


class TestStopping:
    def test_it_finishes_what_is_queued(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        store.gate.clear()
        put(thread, "first")
        assert store.busy.wait(PATIENCE_SECONDS)
        queued = put(thread, "a", "b")
        task = thread.start_task(lambda: "ran")
        store.gate.set()
        thread.stop()
        assert [item.wait() for item in queued] == ["durable", "durable"]
        assert task.result(PATIENCE_SECONDS) == "ran"

    def test_it_refuses_what_comes_after(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        thread.stop()
        assert put(thread, "late")[0].wait() == "refused"
        with pytest.raises(StoreStopped):
            thread.run(lambda: None)
        assert store.failures == []

    def test_it_leaves_nobody_waiting_who_comes_meanwhile(
        self, thread: BatchThread[Item], store: Store
    ) -> None:
        store.gate.clear()
        put(thread, "first")
        assert store.busy.wait(PATIENCE_SECONDS)
        stopping = threading.Thread(target=thread.stop)
        stopping.start()
        # The stop is under way while the first commit still runs.
        give_up = time.monotonic() + 1
        while thread.is_taking and time.monotonic() < give_up:
            stopping.join(timeout=0.01)
        (late,) = put(thread, "late")
        store.gate.set()
        stopping.join(PATIENCE_SECONDS)
        assert late.wait() in ("durable", "refused")

    def test_it_can_be_told_twice_or_before_the_start(self, store: Store) -> None:
        idle = BatchThread[Item](
            name="idle",
            commit=store.commit,
            refuse=lambda item: item.fate.set_result("refused"),
            on_failure=store.failures.append,
            max_batch=1,
            gather_seconds=0.0,
        )
        idle.stop()
        idle.stop()
        assert not idle.is_taking
