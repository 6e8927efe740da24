"""One instance in a folder: what people do with it, told in their words.

Everything goes through the operations that pages and the command line call.
"""

from __future__ import annotations

import os
import queue
import re
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from typing_extensions import override

from undersigned_verify.audit import AuditReport, audit_log
from undersigned_verify.proof import parse_receipt

from tests.factories.campaigns import Value, make_draft
from tests.factories.cast import ASHA, MINA, OMAR_ACTS, PETRA
from tests.factories.signers import Shown, Writing, write_signature
from tests.factories.stores import ServerHome, is_on_server
from undersigned.campaigns.data import Campaign
from undersigned.campaigns.operations import create_campaign, open_campaign
from undersigned.campaigns.queries import get_any_campaign
from undersigned.campaigns.rules import CLASS_NUMBERS, STANCE_NUMBERS
from undersigned.config.engine import Engine, open_engine
from undersigned.config.env import Environment, read_environment
from undersigned.credentials.bulk import issue_chunk
from undersigned.credentials.operations import (
    get_version_key,
    grant_ticket,
    issue,
)
from undersigned.eligibility.data import Mail
from undersigned.eligibility.desk import Mailbox
from undersigned.eligibility.operations import ask_by_email, confirm_code
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.errors import UndersignedError
from undersigned.kernel.ids import CampaignId
from undersigned.ledger.data import Published
from undersigned.ledger.operations import publish_now
from undersigned.signatures.book import BookEntry
from undersigned.signatures.data import Pooled
from undersigned.signatures.operations.redeem import (
    SignRequest,
    make_pooled,
    redeem_and_wait,
    start_redeem,
)
from undersigned.signatures.operations.remove import (
    RemovalProposal,
    announce_approver,
    approve_proposal,
    propose_removal,
    submit_removals,
)
from undersigned.signatures.operations.withdraw import withdraw_signature
from undersigned.signatures.queries import (
    find_signature_receipt,
    get_count,
    get_key,
)

HOST = "undersigned.example"
CASE = "c" * 64
LEDGER_URL = "UNDERSIGNED_LEDGER_URL"
DATABASES = {"UNDERSIGNED_DATABASE_URL", LEDGER_URL}
PATIENCE_SECONDS = 10


class WaitingMailbox(Mailbox):
    """A mailbox that can be waited for: mails come from a thread of their own."""

    def __init__(self) -> None:
        super().__init__()
        self._came: queue.Queue[Mail] = queue.Queue()

    @override
    def send(self, mail: Mail) -> None:
        """Keep the mail and wake who waits."""
        super().send(mail)
        self._came.put(mail)

    def next(self) -> Mail:
        """Return the next mail, waiting for it."""
        return self._came.get(timeout=PATIENCE_SECONDS)

    def is_empty(self) -> bool:
        """Say whether no mail has come that was not taken."""
        return self._came.empty()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person holds after asking by e-mail."""

    token: str
    mail: Mail

    @property
    def code(self) -> str:
        """The code in the mail, as it is printed there."""
        lines = [line.strip() for line in self.mail.body.splitlines()]
        return next(line for line in lines if re.fullmatch(r"[0-9]{4} [0-9]{4}", line))

    @property
    def link_token(self) -> str:
        """The opaque part of the link in the mail."""
        return self.mail.body.split("?t=")[1].split()[0]


@dataclass(frozen=True, slots=True)
class Signed:
    """A pooled signature and what its signer keeps."""

    request: SignRequest
    nonce: bytes
    w: bytes
    pooled: Pooled


def wait_for_token(
    start: Callable[[Callable[[bytes | UndersignedError], None]], None],
) -> bytes:
    """Call ``start`` with a callback and return, or raise, what it is given."""
    future: Future[bytes] = Future()

    def done(result: bytes | UndersignedError) -> None:
        if isinstance(result, UndersignedError):
            future.set_exception(result)
        else:
            future.set_result(result)

    start(done)
    return future.result(timeout=PATIENCE_SECONDS)


class Instance:
    """An instance that can be started, stopped and started again."""

    def __init__(self, data: Path, clock: FixedClock, **environ: str) -> None:
        self.data = data
        self.clock = clock
        self.environ = {
            "UNDERSIGNED_DATA": str(data),
            "UNDERSIGNED_HOST": HOST,
            "UNDERSIGNED_BASE_URL": f"https://{HOST}",
            "UNDERSIGNED_MODE": "development",
            # The run's, where it has one (conftest.py above this folder).
            **{k: v for k, v in os.environ.items() if k in DATABASES},
            **environ,
        }
        if is_on_server() and LEDGER_URL not in self.environ:
            self.environ[LEDGER_URL] = ServerHome().url
        self._running = ExitStack()
        self._engine: Engine | None = None
        self.mailbox = WaitingMailbox()

    # --- running ------------------------------------------------------------------

    @property
    def environment(self) -> Environment:
        """The settings as read from ``environ``."""
        return read_environment(self.environ)

    def start(self, at_step: Callable[[str], None] = lambda _name: None) -> Engine:
        """Open the engine and note the present tick of every publication clock."""
        opened: AbstractContextManager[Engine] = open_engine(
            self.environment, clock=self.clock, at_step=at_step, run_clock=False
        )
        self._engine = self._running.enter_context(opened)
        self._engine.services.desk.sender = self.mailbox
        self._engine.tick(self.clock.now())
        return self._engine

    def stop(self) -> None:
        """Stop, as on a signal."""
        self._engine = None
        self._running.close()

    def restart(self, **environ: str) -> Engine:
        """Stop and start again, with other settings where some are given."""
        self.stop()
        self.environ.update(environ)
        return self.start()

    @property
    def engine(self) -> Engine:
        """The running engine."""
        assert self._engine is not None, "the instance is stopped"
        return self._engine

    # --- campaigns ----------------------------------------------------------------

    def create(self, **changes: Value) -> CampaignId:
        """Record a draft (settings as in ``make_campaign_file``)."""
        return create_campaign(
            actor=OMAR_ACTS,
            draft=make_draft(**changes),
            host=HOST,
            at=self.clock.now(),
        )

    def open(self, campaign_id: CampaignId, **options: bool) -> Campaign:
        """Open a draft."""
        services = self.engine.services
        campaign = open_campaign(
            actor=OMAR_ACTS,
            campaign_id=campaign_id,
            ledger=services.ledger,
            issuer=services.issuer,
            host=HOST,
            at=self.clock.now(),
            **options,
        )
        self.engine.enter_campaign(campaign)
        # The new log's publication clock starts here.
        self.engine.tick(self.clock.now())
        return campaign

    def open_campaign(self, **changes: Value) -> Campaign:
        """Record a draft and open it."""
        return self.open(self.create(**changes))

    def look_up(self, campaign: Campaign) -> Campaign:
        """Return the campaign as it stands now."""
        return get_any_campaign(campaign_id=campaign.id)

    def entry(self, campaign: Campaign) -> BookEntry:
        """Return the campaign's entry in the signing book."""
        found = self.engine.services.book.find(campaign.path)
        assert found is not None
        return found

    def folder(self, campaign: Campaign) -> Path:
        """Return the campaign's public folder."""
        return self.data / "public" / campaign.path

    # --- eligibility and tokens ---------------------------------------------------

    def ask(self, campaign: Campaign, address: str = ASHA) -> Asked:
        """Ask by e-mail and wait for the mail."""
        token = ask_by_email(
            desk=self.engine.services.desk,
            campaign=campaign,
            address=address,
            language="en",
            at=self.clock.now(),
        )
        return Asked(token, self.mailbox.next())

    def confirm(self, campaign: Campaign, asked: Asked) -> str:
        """Return the ticket for the code in the mail."""
        return confirm_code(
            desk=self.engine.services.desk,
            campaign=campaign,
            token=asked.token,
            code=asked.code,
            at=self.clock.now(),
        )

    def get_ticket(
        self, campaign: Campaign, address: str = ASHA, klass: str = "email"
    ) -> str:
        """Return a ticket as a confirmed address or code gets it, without a mail."""
        issuer, number = self.engine.services.issuer, CLASS_NUMBERS[klass]
        key = get_version_key(issuer=issuer, origin=campaign.origin)
        return grant_ticket(
            issuer=issuer,
            origin=campaign.origin,
            klass=number,
            nullifier=key.make_nullifier(klass=number, value=address),
            at=self.clock.now(),
        )

    def write(
        self,
        campaign: Campaign,
        *,
        klass: str = "email",
        stance: str = "for",
        shown: Shown | None = None,
    ) -> Writing:
        """Draw a signer's secrets for this campaign."""
        entry = self.entry(campaign)
        key = get_key(book_entry=entry, klass=klass)
        return write_signature(
            key_index=key.key_index,
            spki=key.spki,
            challenge_digest=entry.challenge_digest,
            stance=STANCE_NUMBERS[stance],
            shown=shown,
        )

    def issue(self, campaign: Campaign, ticket: str, request: bytes) -> bytes:
        """Return the blind signature for a token request."""
        return wait_for_token(
            lambda done: issue(
                issuer=self.engine.services.issuer,
                origin=campaign.origin,
                ticket=ticket,
                request=request,
                at=self.clock.now(),
                done=done,
            )
        )

    def make_signature(
        self,
        campaign: Campaign,
        address: str = ASHA,
        *,
        klass: str = "email",
        stance: str = "for",
        shown: Shown | None = None,
    ) -> tuple[Writing, SignRequest]:
        """Return a signature that is ready to be sent, and its signer's secrets."""
        ticket = self.get_ticket(campaign, address, klass)
        writing = self.write(campaign, klass=klass, stance=stance, shown=shown)
        answer = self.issue(campaign, ticket, writing.prepared.request)
        return writing, writing.finish(answer)

    # --- signing ------------------------------------------------------------------

    def redeem(self, campaign: Campaign, request: SignRequest) -> Pooled:
        """Hand in a signature and wait until it is durable."""
        return redeem_and_wait(
            book=self.engine.services.book,
            book_entry=self.entry(campaign),
            request=request,
            at=self.clock.now(),
        )

    def sign(
        self,
        campaign: Campaign,
        address: str = ASHA,
        *,
        klass: str = "email",
        stance: str = "for",
        shown: Shown | None = None,
    ) -> Signed:
        """Sign as ``address``, from ticket to promise."""
        writing, request = self.make_signature(
            campaign, address, klass=klass, stance=stance, shown=shown
        )
        pooled = self.redeem(campaign, request)
        return Signed(request, pooled.nonce, writing.prepared.w, pooled)

    def sign_many(
        self, campaign: Campaign, count: int, klass: str = "email", who: str = "crowd"
    ) -> list[Signed]:
        """Sign as ``count`` synthetic people."""
        writings = [self.write(campaign, klass=klass) for _number in range(count)]
        by_request = {one.prepared.request: one for one in writings}
        answers = issue_chunk(
            issuer=self.engine.services.issuer,
            origin=campaign.origin,
            klass=CLASS_NUMBERS[klass],
            addresses=[f"{who}-{number}@signer.invalid" for number in range(count)],
            prepared=[one.prepared for one in writings],
            at=self.clock.now(),
        )
        sent = []
        for prepared, answer in answers:
            request = by_request[prepared.request].finish(answer)
            _nonce, durable = start_redeem(
                book=self.engine.services.book,
                book_entry=self.entry(campaign),
                request=request,
            )
            sent.append((prepared, request, durable))
        signed = []
        for prepared, request, durable in sent:
            durable.result(PATIENCE_SECONDS)
            pooled = make_pooled(
                book_entry=self.entry(campaign),
                nonce=prepared.nonce,
                at=self.clock.now(),
            )
            signed.append(Signed(request, prepared.nonce, prepared.w, pooled))
        return signed

    def withdraw(self, campaign: Campaign, signed: Signed) -> None:
        """Withdraw a signature with its own secret."""
        withdraw_signature(
            book=self.engine.services.book,
            book_entry=self.entry(campaign),
            nonce=signed.nonce,
            w=signed.w,
        )

    # --- publication --------------------------------------------------------------

    def advance(self, span: timedelta) -> list[Published]:
        """Let time pass, and do what it asks for."""
        self.clock.advance(span)
        return self.engine.tick(self.clock.now())

    def publish(self, campaign: Campaign) -> list[Published]:
        """Let one publication interval pass."""
        return self.advance(timedelta(seconds=campaign.interval_seconds))

    def publish_anyway(self, campaign: Campaign) -> list[Published]:
        """Publish at once whatever waits, outside clock and crowd."""
        return publish_now(
            ledger=self.engine.services.ledger,
            origin=campaign.origin,
            at=self.clock.now(),
            ignore_crowd=True,
        )

    def find_receipt(self, campaign: Campaign, signed: Signed) -> bytes | None:
        """Return a signature's receipt once it is published."""
        return find_signature_receipt(
            book=self.engine.services.book,
            book_entry=self.entry(campaign),
            nonce=signed.nonce,
        )

    def index_of(self, campaign: Campaign, signed: Signed) -> int:
        """Return where a published signature stands in the log."""
        receipt = self.find_receipt(campaign, signed)
        assert receipt is not None, "not published yet"
        return parse_receipt(receipt)[0].index

    def net(self, campaign: Campaign) -> int:
        """Return the published net count."""
        ledger = self.engine.services.ledger
        return get_count(ledger=ledger, origin=campaign.origin).net

    def audit(self, campaign: Campaign) -> AuditReport:
        """Recount the campaign's public log, as Vic does."""
        return audit_log(self.folder(campaign), workers=1)

    # --- moderation ---------------------------------------------------------------

    def announce_approvers(self, campaign: Campaign) -> None:
        """Announce Mina's and Petra's keys, and publish them."""
        for name, key in (("mina", MINA), ("petra", PETRA)):
            announce_approver(
                actor=OMAR_ACTS,
                ledger=self.engine.services.ledger,
                campaign=campaign,
                approver_id=name,
                public_key=key.public_key().public_bytes_raw(),
                at=self.clock.now(),
            )
        self.publish_anyway(campaign)

    def propose(self, campaign: Campaign, *indexes: int) -> RemovalProposal:
        """Return a removal that Mina and Petra have approved."""
        (proposal,) = propose_removal(
            origin=campaign.origin,
            targets=[(index, index) for index in indexes],
            reason="scripted-burst",
            case_sha256=CASE,
        )
        for name, key in (("mina", MINA), ("petra", PETRA)):
            proposal = approve_proposal(
                proposal=proposal, approver_id=name, secret_key=key
            )
        return proposal

    def submit(self, proposal: RemovalProposal) -> None:
        """Hand a removal in."""
        submit_removals(
            actor=OMAR_ACTS,
            ledger=self.engine.services.ledger,
            proposals=[proposal],
            at=self.clock.now(),
        )
