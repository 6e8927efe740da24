"""The folder of pages: whole or absent, scrubbed where asked, and nothing beside it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_folder
from undersigned.kernel.durable import stamp_of
from undersigned.kernel.errors import StorageFailed
from undersigned.web.rendered.store import FolderStore

ADDRESSES = st.lists(
    st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True), max_size=4
).map(lambda parts: "".join(f"/{part}" for part in parts) + "/")
BODIES = st.binary(max_size=3000) | st.binary(max_size=9).map(lambda part: part * 300)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "pages")


@given(st.lists(st.tuples(ADDRESSES, BODIES), max_size=12), st.data())
def test_it_holds_what_was_put_last_and_not_removed(
    puts: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    with make_folder() as folder:
        store, expected = FolderStore(folder / "pages"), {}
        for address, body in puts:
            store.put(address, body, scrub=data.draw(st.booleans()))
            expected[address] = body
            if data.draw(st.integers(0, 3)) == 0:
                store.remove(address)
                del expected[address]
        present = {address for address, body in expected.items() if body}
        assert {a for a in store.list_addresses() if expected[a]} == present
        for address in present:
            path = store.find_file(address)
            assert path.is_relative_to(store.root)
            packed = path.with_name("index.html.gz")
            assert path.read_bytes() == expected[address]
            if packed.exists():
                assert gzip.decompress(packed.read_bytes()) == expected[address]
            for file in [path, *([packed] if packed.exists() else [])]:
                assert file.stat().st_mtime_ns == stamp_of(file.read_bytes())


def test_no_reader_sees_half_a_page(store: FolderStore) -> None:
    store.put("/en/", b"first" * 100)
    path = store.find_file("/en/")
    with path.open("rb") as old:
        store.put("/en/", b"second" * 100)
        assert old.read() == b"first" * 100
    assert path.read_bytes() == b"second" * 100
    assert [each.name for each in sorted(path.parent.iterdir())] == [
        "index.html",
        "index.html.gz",
    ]


def test_the_same_again_is_not_written(store: FolderStore) -> None:
    store.put("/en/", b"text" * 100)
    before = store.find_file("/en/").stat().st_ino
    store.put("/en/", b"text" * 100)
    assert store.find_file("/en/").stat().st_ino == before


@pytest.mark.parametrize("act", ["put", "remove"])
def test_what_is_scrubbed_can_be_read_nowhere(store: FolderStore, act: str) -> None:
    store.put("/en/", b"Asha " * 100)
    path = store.find_file("/en/")
    with path.open("rb") as plain, path.with_name("index.html.gz").open("rb") as packed:
        if act == "put":
            store.put("/en/", b"Vic " * 100, scrub=True)
        else:
            store.remove("/en/")
        assert set(plain.read()) == set(packed.read()) == {0}


def test_a_page_that_packs_badly_is_kept_as_it_is(store: FolderStore) -> None:
    store.put("/en/", b"text" * 100)
    store.put("/en/", b"x")
    assert not store.find_file("/en/").with_name("index.html.gz").exists()


def test_removing_what_is_not_there_is_no_error(store: FolderStore) -> None:
    store.remove("/en/")
    assert store.list_addresses() == set()
    store.clean()
    store.blur()


def test_what_a_crash_left_is_cleaned_up(store: FolderStore) -> None:
    store.put("/en/", b"text" * 100)
    aside = store.root / "en" / ".index.html.new"
    aside.write_bytes(b"Asha")
    assert store.list_addresses() == {"/en/"}
    with aside.open("rb") as left:
        store.clean()
        assert left.read() == bytes(4)
    assert not aside.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "pages").write_bytes(b"a file where a folder should be")
    with pytest.raises(StorageFailed):
        FolderStore(tmp_path / "pages").put("/en/", b"text")
