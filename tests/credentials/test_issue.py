"""One token an address and key; the same request gets the same bytes."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from tests.factories.cast import ASHA, OMAR
from tests.factories.issuers import EMAIL, OPEN, Office
from undersigned.credentials.issuer import (
    AlreadyIssued,
    IntakeClosed,
    IssuingStopped,
)
from undersigned.credentials.operations import (
    ClassNotOffered,
    TokenRequestMalformed,
    count_issued,
    open_ticket,
    stop_issuing,
)
from undersigned.credentials.rsa import BlindSigner
from undersigned.credentials.tickets import (
    TicketExpired,
    TicketNotValid,
    TicketNotYetValid,
)
from undersigned.kernel.batching import StoreStopped
from undersigned.kernel.errors import StorageFailed


def count(office: Office) -> dict[int, int]:
    return count_issued(issuer=office.issuer, origin=office.origin)


class TestATicket:
    def test_it_buys_one_token(self, office: Office) -> None:
        ticket, writing = office.grant(), office.write()
        answer = office.issue(ticket, writing.prepared.request)
        assert writing.finish(answer).authenticator
        assert count(office) == {0: 1}

    def test_it_gives_the_same_bytes_for_the_same_request(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        answer = office.issue(ticket, request)
        assert office.issue(ticket, request) == answer
        office.restart()
        assert office.issue(ticket, request) == answer
        assert count(office) == {0: 1}

    def test_it_buys_no_second_token(self, office: Office) -> None:
        ticket = office.grant()
        office.issue(ticket, office.write().prepared.request)
        with pytest.raises(AlreadyIssued):
            office.issue(ticket, office.write().prepared.request)
        assert count(office) == {0: 1}

    def test_a_second_one_for_the_same_address_buys_nothing(
        self, office: Office
    ) -> None:
        office.issue(office.grant(), office.write().prepared.request)
        with pytest.raises(AlreadyIssued):
            office.issue(office.grant(), office.write().prepared.request)
        office.issue(office.grant(OMAR), office.write().prepared.request)
        assert count(office) == {0: 2}

    def test_a_second_one_answers_the_first_request_again(self, office: Office) -> None:
        # Asha lost the ticket, not the browser's state: she asks again and finishes.
        request = office.write().prepared.request
        answer = office.issue(office.grant(), request)
        assert office.issue(office.grant(), request) == answer

    def test_one_address_may_stand_in_two_classes(self, office: Office) -> None:
        office.issue(office.grant(), office.write().prepared.request)
        ticket = office.grant(klass=OPEN)
        office.issue(ticket, office.write(OPEN).prepared.request)
        assert count(office) == {0: 1, 1: 1}

    def test_one_that_was_never_registered_buys_nothing(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        office.stop()
        office.record.unlink()
        office.restart()
        office.reopen()
        with pytest.raises(TicketNotValid):
            office.issue(ticket, request)

    def test_it_is_not_taken_when_it_has_expired(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        office.clock.advance(timedelta(days=2))
        with pytest.raises(TicketExpired):
            office.issue(ticket, request)
        office.clock.advance(timedelta(days=-2))
        office.issue(ticket, request)

    def test_it_is_not_taken_before_it_is_valid(self, office: Office) -> None:
        begins = office.clock.now() + timedelta(minutes=5)
        ticket = office.grant(klass=OPEN, valid_from=begins)
        request = office.write(OPEN).prepared.request
        with pytest.raises(TicketNotYetValid):
            office.issue(ticket, request)
        office.clock.advance(timedelta(minutes=5))
        office.issue(ticket, request)

    def test_mallorys_own_is_not_taken(self, office: Office) -> None:
        with pytest.raises(TicketNotValid):
            office.issue("bWFsbG9yeQ", office.write().prepared.request)

    def test_it_can_be_read_without_being_spent(self, office: Office) -> None:
        ticket = office.grant()
        for _time in range(2):
            facts = open_ticket(
                issuer=office.issuer,
                origin=office.origin,
                ticket=ticket,
                at=office.clock.now(),
            )
            assert facts.nullifier == office.make_nullifier(ASHA)
        office.issue(ticket, office.write().prepared.request)


class TestATokenRequest:
    def check_refused(self, office: Office, request: bytes) -> None:
        ticket, good = office.grant(), office.write().prepared.request
        with pytest.raises(TokenRequestMalformed):
            office.issue(ticket, request)
        # The refusal was the request's fault, and the ticket is not spent.
        office.issue(ticket, good)

    @pytest.mark.parametrize("length", [0, 1, 3, 258, 260, 512])
    def test_it_has_259_bytes(self, office: Office, length: int) -> None:
        self.check_refused(office, (b"\x00\x02" + bytes(600))[:length])

    @pytest.mark.parametrize("kind", [b"\x00\x00", b"\x00\x01", b"\x02\x00"])
    def test_it_is_of_type_two(self, office: Office, kind: bytes) -> None:
        request = office.write().prepared.request
        self.check_refused(office, kind + request[2:])

    def test_it_names_the_key_of_the_tickets_class(self, office: Office) -> None:
        request = bytearray(office.write().prepared.request)
        request[2] ^= 1
        self.check_refused(office, bytes(request))

    def test_it_is_below_the_modulus(self, office: Office) -> None:
        request = office.write().prepared.request
        self.check_refused(office, request[:3] + b"\xff" * 256)

    def test_its_class_must_be_offered(self, office: Office) -> None:
        with pytest.raises(ClassNotOffered):
            office.grant(klass=3)


class TestManyAtOnce:
    def test_each_gets_its_own_answer(self, office: Office) -> None:
        writings = [office.write() for _number in range(12)]
        tickets = [office.grant(f"{number}@example.org") for number in range(12)]
        futures = [
            office.start_issue(ticket, writing.prepared.request)
            for ticket, writing in zip(tickets, writings, strict=True)
        ]
        for writing, future in zip(writings, futures, strict=True):
            assert writing.finish(future.result(20)).authenticator
        assert count(office) == {0: 12}

    def test_one_address_wins_once(self, office: Office) -> None:
        tickets = [office.grant() for _number in range(5)]
        futures = [
            office.start_issue(ticket, office.write().prepared.request)
            for ticket in tickets
        ]
        errors = [future.exception(20) for future in futures]
        assert errors.count(None) == 1
        others = [error for error in errors if error is not None]
        assert {type(error) for error in others} == {AlreadyIssued}
        assert count(office) == {0: 1}


class TestAFaultInSigning:
    def test_no_answer_leaves_and_the_retry_is_answered(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fault(_self: BlindSigner, _blinded: bytes) -> bytes:
            raise StorageFailed("a blind signature failed its own check")

        ticket, writing = office.grant(), office.write()
        with monkeypatch.context() as patch:
            patch.setattr(BlindSigner, "blind_sign", fault)
            with pytest.raises(IntakeClosed):
                office.issue(ticket, writing.prepared.request)
        answer = office.issue(ticket, writing.prepared.request)
        assert writing.finish(answer).authenticator
        assert count(office) == {0: 1}


def test_what_is_destroyed_meanwhile_issues_nothing(office: Office) -> None:
    ticket, request = office.grant(), office.write().prepared.request
    started, gate = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        assert gate.wait(10)

    office.issuer.start_task(hold)
    assert started.wait(10)
    destroying = threading.Thread(target=office.destroy)
    destroying.start()
    while office.issuer._queue.qsize() < 1:
        destroying.join(0.01)
    future = office.start_issue(ticket, request)
    gate.set()
    destroying.join(10)
    assert isinstance(future.exception(10), IssuingStopped)


class TestAfterIssuingStopped:
    def test_only_what_was_answered_is_answered_again(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        other = office.grant(OMAR)
        answer = office.issue(ticket, request)
        stop_issuing(issuer=office.issuer, origin=office.origin)
        assert office.issue(ticket, request) == answer
        with pytest.raises(IssuingStopped):
            office.issue(other, office.write().prepared.request)
        with pytest.raises(AlreadyIssued):
            office.issue(ticket, office.write().prepared.request)
        assert count(office) == {0: 1}

    def test_no_ticket_is_granted(self, office: Office) -> None:
        office.grant()
        stop_issuing(issuer=office.issuer, origin=office.origin)
        with pytest.raises(IssuingStopped):
            office.grant(OMAR)

    def test_it_stays_so_over_a_restart(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        other = office.grant(OMAR)
        answer = office.issue(ticket, request)
        office.restart(closing=True)
        assert office.issue(ticket, request) == answer
        with pytest.raises(IssuingStopped):
            office.issue(other, office.write().prepared.request)


def test_an_unknown_version_issues_nothing(office: Office) -> None:
    with pytest.raises(IntakeClosed):
        count_issued(issuer=office.issuer, origin="undersigned.example/c/other")


def test_a_stopped_office_refuses_at_once(office: Office) -> None:
    ticket, request = office.grant(), office.write().prepared.request
    issuer = office.issuer
    issuer.stop()
    with pytest.raises(StoreStopped):
        office.issue(ticket, request)
    office.restart()
    office.issue(ticket, request)


def block_rebuild(office: Office) -> None:
    """Put a folder where the rebuilt record is written."""
    aside = office.record.with_name(f"{office.record.name}.rebuild")
    aside.mkdir()
    (aside / "in-the-way").touch()


class TestADiskThatFails:
    def test_nobody_is_left_waiting_when_the_record_cannot_be_rebuilt(
        self, office: Office
    ) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        block_rebuild(office)
        future = office.start_issue(ticket, request)
        # Answered or refused: the row is durable, so that a retry gets the answer.
        assert future.exception(5) is None or isinstance(
            future.exception(), StoreStopped
        )
        assert len(office.failures) == 1

    def test_nobody_elses_is_left_waiting_in_the_same_batch(
        self, office: Office
    ) -> None:
        rivers = office.grant(), office.write().prepared.request
        block_rebuild(office)
        office.name = "school"
        office.create((EMAIL,))
        schools = office.grant(), office.write().prepared.request
        gate = threading.Event()
        office.issuer.start_task(gate.wait)
        office.name = "river"
        futures = [office.start_issue(*rivers)]
        office.name = "school"
        futures.append(office.start_issue(*schools))
        gate.set()
        for future in futures:
            assert isinstance(future.exception(5), StoreStopped | None)
        assert len(office.failures) == 1

    def test_a_failed_commit_is_loud_and_issues_nothing(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        version = office.issuer.get_version(office.origin)
        assert version.file is not None
        version.file._db.execute("PRAGMA max_page_count=1")
        version.file._db.execute(
            "CREATE TEMP TRIGGER broken BEFORE INSERT ON main.issued "
            "BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )
        with pytest.raises(StoreStopped):
            office.issue(ticket, request)
        assert len(office.failures) == 1
        with pytest.raises(StoreStopped):
            office.issue(ticket, request)
        office.restart()
        office.issue(ticket, request)
        assert count(office) == {0: 1}
