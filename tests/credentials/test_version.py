"""Keys and record of one statement version: made, loaded, lost, destroyed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.factories.cast import OMAR
from tests.factories.issuers import EMAIL, OPEN, Office
from tests.factories.keys import KeyBox
from undersigned.credentials.data import IssuingState
from undersigned.credentials.issuer import IntakeClosed, IssuingStopped
from undersigned.credentials.operations import (
    RecordNotLost,
    count_issued,
    get_class_key,
)
from undersigned.credentials.tickets import TicketNotValid
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.keystore import KeysLocked


def read_files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def get_state(office: Office) -> IssuingState:
    return office.issuer.get_version(office.origin).state


def check_closed(office: Office) -> None:
    """Nothing is given out, and whoever asks is told to come back."""
    with pytest.raises(IntakeClosed):
        office.grant()
    with pytest.raises(IntakeClosed):
        get_class_key(issuer=office.issuer, origin=office.origin, klass=EMAIL)


class TestCreating:
    def test_it_makes_one_key_a_class(self, office: Office) -> None:
        facts = office.create()
        assert [(key.key_index, key.klass) for key in facts] == [(0, EMAIL), (1, OPEN)]
        assert facts[0].spki != facts[1].spki

    def test_it_keeps_what_an_earlier_attempt_made(self, office: Office) -> None:
        before, files = office.create(), read_files(office.secrets)
        office.issue(office.grant(), office.write().prepared.request)
        assert office.create() == before
        assert read_files(office.secrets) == files
        assert count_issued(issuer=office.issuer, origin=office.origin) == {0: 1}

    @pytest.mark.parametrize("made", [0, 1, 2, 3])
    def test_it_finishes_what_was_cut_off(
        self, tmp_path: Path, keys: KeyBox, clock: FixedClock, made: int
    ) -> None:
        # After the version key, the first issuer key, the second, an empty record.
        office = Office(tmp_path, clock)
        office.start()
        office.create()
        office.stop()
        steps = [
            *sorted(office.secrets.iterdir(), key=lambda p: p.name, reverse=True),
            office.record,
        ]
        assert [step.name for step in steps] == [
            "version.key",
            "issuer-1-4.der",
            "issuer-0-1.der",
            "river.sqlite3",
        ]
        for step in steps[made:]:
            step.unlink()
        office.start()
        office.create()
        assert office.issue(office.grant(), office.write().prepared.request)
        office.stop()

    def test_it_finishes_a_record_that_was_cut_off(
        self, tmp_path: Path, keys: KeyBox, clock: FixedClock
    ) -> None:
        # SQLite had made the file, and no table yet.
        office = Office(tmp_path, clock)
        office.record.parent.mkdir()
        office.record.touch()
        office.start()
        office.create()
        state = get_state(office)
        office.stop()
        assert state is IssuingState.OPEN

    def test_it_is_refused_while_secrets_are_locked(self, office: Office) -> None:
        office.stop()
        office.is_locked = True
        office.start()
        with pytest.raises(KeysLocked):
            office.create()


def weaken(path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - weak on purpose
    path.write_bytes(
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    )


class TestWeakOrMissingKeys:
    def test_without_the_passphrase_intake_is_closed(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        office.is_locked = True
        office.restart()
        assert get_state(office) is IssuingState.KEYS_MISSING
        check_closed(office)
        with pytest.raises(IntakeClosed):
            office.issue(ticket, request)
        office.is_locked = False
        office.restart()
        office.issue(ticket, request)

    @pytest.mark.parametrize(
        "name", ["version.key", "issuer-0-1.der", "issuer-1-4.der"]
    )
    def test_without_one_of_them_intake_is_closed(
        self, office: Office, name: str
    ) -> None:
        office.stop()
        kept = (office.secrets / name).read_bytes()
        (office.secrets / name).unlink()
        office.restart()
        check_closed(office)
        (office.secrets / name).write_bytes(kept)
        office.restart()
        office.grant()

    def test_with_a_weak_one_intake_is_closed(self, office: Office) -> None:
        weaken(office.secrets / "issuer-0-1.der")
        office.restart()
        assert get_state(office) is IssuingState.KEYS_MISSING
        check_closed(office)

    def test_with_a_cut_off_version_key_intake_is_closed(self, office: Office) -> None:
        (office.secrets / "version.key").write_bytes(bytes(31))
        office.restart()
        check_closed(office)


def lose(record: Path) -> None:
    record.unlink()


def damage(record: Path) -> None:
    record.write_bytes(b"Mallory was here" * 300)


def empty(record: Path) -> None:
    record.write_bytes(b"")


@pytest.mark.parametrize("harm", [lose, damage, empty])
class TestALostRecord:
    def test_nothing_is_issued_until_an_operator_reopens(
        self, office: Office, harm: object
    ) -> None:
        office.issue(office.grant(), office.write().prepared.request)
        self.do(office, harm)
        assert get_state(office) is IssuingState.RECORD_LOST
        check_closed(office)
        office.reopen()
        assert get_state(office) is IssuingState.OPEN
        office.issue(office.grant(OMAR), office.write().prepared.request)

    def test_what_was_reopened_stays_open(self, office: Office, harm: object) -> None:
        self.do(office, harm)
        office.reopen()
        office.issue(office.grant(OMAR), office.write().prepared.request)
        office.restart()
        assert count_issued(issuer=office.issuer, origin=office.origin) == {0: 1}

    def test_old_tickets_are_void(self, office: Office, harm: object) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        self.do(office, harm)
        office.reopen()
        with pytest.raises(TicketNotValid):
            office.issue(ticket, request)

    def do(self, office: Office, harm: object) -> None:
        office.stop()
        assert callable(harm)
        harm(office.record)
        office.restart()


class TestReopening:
    def test_it_is_refused_while_the_record_is_there(self, office: Office) -> None:
        office.issue(office.grant(), office.write().prepared.request)
        with pytest.raises(RecordNotLost):
            office.reopen()
        assert count_issued(issuer=office.issuer, origin=office.origin) == {0: 1}


class TestDestroying:
    def test_it_leaves_neither_keys_nor_record(self, office: Office) -> None:
        office.issue(office.grant(), office.write().prepared.request)
        office.destroy()
        assert read_files(office.folder) == {}
        assert get_state(office) is IssuingState.GONE

    def test_it_leaves_the_log_key(self, office: Office) -> None:
        (office.secrets / "log.key").write_bytes(bytes(32))
        office.destroy()
        assert set(read_files(office.folder)) == {"secrets/c/river/log.key"}

    def test_it_leaves_other_versions_alone(self, office: Office) -> None:
        other = office.folder / "secrets/c/river-two"
        other.mkdir()
        (other / "version.key").write_bytes(bytes(32))
        office.destroy()
        assert set(read_files(office.folder)) == {"secrets/c/river-two/version.key"}

    def test_it_ends_issuing_for_good(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        office.issue(ticket, request)
        office.destroy()
        for restart in (False, True):
            if restart:
                office.restart(gone=True)
            with pytest.raises(IssuingStopped):
                office.issue(ticket, request)
            assert count_issued(issuer=office.issuer, origin=office.origin) == {}

    def test_it_can_be_done_twice_and_after_a_crash(self, office: Office) -> None:
        office.destroy()
        office.destroy()
        office.restart()
        office.destroy()
        assert read_files(office.folder) == {}

    @pytest.mark.parametrize("harm", [weaken, lose])
    def test_it_destroys_the_record_of_unusable_keys_too(
        self, office: Office, harm: object
    ) -> None:
        office.issue(office.grant(), office.write().prepared.request)
        office.stop()
        assert callable(harm)
        harm(office.secrets / "issuer-0-1.der")
        office.restart()
        office.destroy()
        assert read_files(office.folder) == {}

    def test_it_destroys_a_damaged_record_too(self, office: Office) -> None:
        office.stop()
        damage(office.record)
        office.restart()
        office.destroy()
        assert read_files(office.folder) == {}
