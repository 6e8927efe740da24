"""No byte of a log can change: Mallory tries them at random."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undersigned_verify import entry as leaf
from undersigned_verify.audit import audit_log
from undersigned_verify.source import DirectorySource

from tests.verify.building import CASE, MINA, NOOR, Issuer, LogBuilder, write


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, issuers: list[Issuer]) -> Path:
    """A log with every type of leaf, from beginning to close."""
    log = LogBuilder()
    log.announce(0, issuers[0]).announce(1, issuers[1], klass=4)
    log.announce(2, issuers[2], flags=1)
    log.add(MINA.announcement, NOOR.announcement).publish()
    log.sign("a", "b", "c").sign("o", key_index=1).sign("q", key_index=2).publish()
    log.withdraw("a").remove("b").remove_key(2).publish()
    log.add(log.approve(leaf.PaperSheet(1, 9, 8, CASE))).reinstate("b").publish()
    log.close().publish().add(leaf.PublicRecord("answer", CASE)).publish()
    return log.export(tmp_path_factory.mktemp("whole")) / log.path


def audit(folder: Path) -> bool:
    return audit_log(DirectorySource(folder), workers=1).accepted


@settings(deadline=None)
@given(st.data())
def test_no_byte_of_any_file_can_change(whole: Path, data: st.DataObject) -> None:
    files = sorted(path for path in whole.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    kept = path.read_bytes()
    changed = bytearray(kept)
    match data.draw(st.sampled_from(["flip", "insert", "delete", "cut", "append"])):
        case "flip":
            at = data.draw(st.integers(0, len(kept) - 1))
            changed[at] ^= data.draw(st.integers(1, 255))
        case "insert":
            at = data.draw(st.integers(0, len(kept)))
            changed[at:at] = data.draw(st.binary(min_size=1, max_size=40))
        case "delete":
            at = data.draw(st.integers(0, len(kept) - 1))
            del changed[at : at + data.draw(st.integers(1, 40))]
        case "cut":
            del changed[data.draw(st.integers(0, len(kept) - 1)) :]
        case _:
            changed += data.draw(st.binary(min_size=1, max_size=400))
    try:
        write(path, bytes(changed))
        # growth.csv alone is unsigned, and nothing rests on it.
        assert audit(whole) is (path.name == "growth.csv")
        path.unlink()
        # A kept checkpoint that is gone may leave two intervals that are in order.
        if path.parent.name != "checkpoints" and path.name != "growth.csv":
            assert not audit(whole)
    finally:
        write(path, kept)


def test_untouched_it_is_accepted(whole: Path) -> None:
    assert audit(whole)
