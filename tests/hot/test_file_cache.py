"""Files in memory: what lies there now, within bounds, and gone when told so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_folder
from undersigned.kernel.durable import write_atomic
from undersigned.web.hot.file_cache import FileCache, Stored
from undersigned.web.hot.files import PublicFile, load
from undersigned.web.hot.wire import NothingHere

LIMIT = 64 << 10


def read(cache: FileCache, path: Path) -> bytes | None:
    stored: Stored | None = cache.find(path.name)
    try:
        stored = stored or load(cache, path.name, PublicFile(path, [], []))
    except NothingHere:
        return None
    body: bytes = stored.body["body"]
    return body


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["read", "write", "remove", "forget"]),
            st.integers(0, 5),
            st.integers(0, 40 << 10),
        ),
        max_size=40,
    )
)
def test_it_never_shows_what_is_not_there_and_never_grows(
    acts: list[tuple[str, int, int]],
) -> None:
    with make_folder() as folder:
        cache, there = FileCache(LIMIT), {}
        for number, (act, name, size) in enumerate(acts):
            path = folder / str(name)
            if act == "write":
                there[name] = bytes([number]) * size
                write_atomic(path, there[name], stamped=True)
            elif act == "remove":
                there.pop(name, None)
                path.unlink(missing_ok=True)
            elif act == "forget":
                cache.forget(path.name)
            assert read(cache, path) == there.get(name)
            assert cache.held_bytes <= LIMIT


def test_what_was_forgotten_is_not_in_memory(tmp_path: Path) -> None:
    cache, path = FileCache(LIMIT), tmp_path / "a"
    path.write_bytes(b"text")
    assert read(cache, path) == b"text"
    assert cache.held_bytes > 0
    cache.forget("a")
    assert cache.held_bytes == 0


def test_what_is_used_stays(tmp_path: Path) -> None:
    cache = FileCache(LIMIT)
    often = tmp_path / "often"
    often.write_bytes(b"x")
    for number in range(100):
        assert read(cache, often) == b"x"
        path = tmp_path / str(number)
        path.write_bytes(b"y" * 1000)
        read(cache, path)
    assert cache.find("often") is not None
    assert cache.find("0") is None


def test_a_large_file_is_sent_and_not_held(tmp_path: Path) -> None:
    cache, path = FileCache(), tmp_path / "large"
    path.write_bytes(b"x" * (1 << 20))
    assert read(cache, path) == path.read_bytes()
    assert cache.held_bytes == 0


@pytest.mark.parametrize("name", ["nothing", ".", "a\0b"])
def test_what_is_no_file_is_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(NothingHere):
        load(FileCache(), "key", PublicFile(tmp_path / name, [], []))
