"""The running process: one writer, one issuer, one desk, one clock.

``open_engine`` takes the writer lock of the data directory, so that there is never a
second writer (PROTOCOL §5), loads every log and campaign, and starts the threads.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from django.db import connection

from undersigned import web
from undersigned.audit.operations import record_act
from undersigned.campaigns.data import Campaign, CampaignState
from undersigned.campaigns.queries import (
    find_closing,
    list_all_campaigns,
)
from undersigned.config.database import drop_broken_connection
from undersigned.config.env import Environment
from undersigned.config.ledger import open_store
from undersigned.config.mail import make_sender
from undersigned.config.objects import make_carrier
from undersigned.config.rendering import make_renderer as make_page_renderer
from undersigned.config.spine import start_witnessed
from undersigned.config.witnessing import make_witnessing, open_keystore
from undersigned.credentials.issuer import Issuer
from undersigned.credentials.operations import count_issued, load_version
from undersigned.eligibility.desk import EligibilityDesk, MailNotSent
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.clock import Clock, SystemClock, round_down
from undersigned.kernel.durable import blur_times, make_private_folder
from undersigned.kernel.ids import CampaignId
from undersigned.kernel.keystore import Keystore
from undersigned.kernel.writer_lock import hold_writer_lock
from undersigned.ledger.data import (
    RECORD_LOST,
    PooledSignature,
    Published,
    ShownRecord,
)
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.open_log import OpenLog
from undersigned.ledger.operations import (
    note_client,
    note_issued,
    publish_due,
    restore_fixed_files,
)
from undersigned.ledger.queries import (
    count_records,
    find_place_in_spine,
    read_newest_spine_checkpoint,
)
from undersigned.safety.arrivals import Arrivals
from undersigned.safety.intake import Intake
from undersigned.safety.switches import Flip, Switches
from undersigned.safety.turns import Lines
from undersigned.signatures.book import SigningBook
from undersigned.signatures.operations.close import (
    advance_closing,
    advance_closings,
    close_due_campaigns,
)
from undersigned.signatures.operations.recheck import is_as_redeemed
from undersigned.signatures.operations.shown import keep_shown_records
from undersigned.signatures.operations.withdraw import erase_shown_records
from undersigned.web.mail.confirmation import make_renderer
from undersigned.web.objects.carrier import Carrier
from undersigned.web.rendered.renderer import Renderer
from undersigned.web.rendered.store import FolderStore
from undersigned.web.shared.services import InstanceFacts, Services
from undersigned.witness.witnessing import Witnessing

log = logging.getLogger("undersigned.engine")

DAY_SECONDS = 86_400
# The signing client as every browser gets it.
CLIENT = Path(web.__file__).with_name("static") / "undersigned" / "sign.js"


@dataclass(slots=True)
class Engine:
    """Everything that runs, and the environment it runs in."""

    environment: Environment
    services: Services
    keystore: Keystore | None
    witnessing: Witnessing
    # Rendered pages, and what makes them; its thread runs where a server does.
    pages: FolderStore
    renderer: Renderer
    # What puts public files into an object store, where there is one; likewise.
    carrier: Carrier | None
    failures: list[BaseException] = field(default_factory=list)
    # Called when a store has stopped for good, on its thread.
    on_failed: Callable[[], None] = lambda: None
    stopping: threading.Event = field(default_factory=threading.Event)
    # The minute in which issuance files were last left without order.
    settled_at: datetime | None = None
    # The clock ticks on one thread, and a command may close a campaign on another.
    _ticking: threading.Lock = field(default_factory=threading.Lock)

    def enter_campaign(self, campaign: Campaign) -> None:
        """Make an opened campaign known to the signing path."""
        self.services.book.add(campaign)

    def tick(self, at: datetime) -> list[Published]:
        """Do what time asks for: publications, closing days, closings."""
        services = self.services
        with self._ticking:
            ticked: list[str] = []
            published = publish_due(
                ledger=services.ledger, at=at, on_tick=ticked.append
            )
            for origin in ticked:
                self.settle_issuance(origin, at)
            if ticked:
                public = {self.environment.public.name, self.pages.root.name}
                blur_times(self.environment.data, leave=public)
                self.pages.blur()
            minute = round_down(at, seconds=60)
            if minute != self.settled_at:
                self.settled_at = minute
                services.issuer.rebuild_changed()
                self._note_issued(at)
                services.book.switches.log_waiting()
            close_due_campaigns(issuer=services.issuer, at=at)
            advance_closings(
                ledger=services.ledger,
                issuer=services.issuer,
                at=at,
                is_settled=self._is_witnessed,
            )
            return published

    def _note_issued(self, at: datetime) -> None:
        """Have the spine tell how many tokens were issued, where that grew by much."""
        issuer = self.services.issuer
        for origin, version in list(issuer.versions.items()):
            if version.file is not None and issuer.is_taking:
                totals = count_issued(issuer=issuer, origin=origin)
                note_issued(
                    ledger=self.services.ledger, origin=origin, totals=totals, at=at
                )

    def advance_closing(self, campaign_id: CampaignId, at: datetime) -> None:
        """Take one campaign's closing as far as its clocks allow."""
        services = self.services
        with self._ticking:
            closing = find_closing(campaign_id=campaign_id)
            if closing is not None:
                advance_closing(
                    ledger=services.ledger,
                    issuer=services.issuer,
                    closing=closing,
                    at=at,
                    is_settled=self._is_witnessed,
                )

    def _is_witnessed(self, origin: str) -> bool:
        """Whether our witnesses have seen all of a log, where we have a quorum (§5)."""
        ledger = self.services.ledger
        place = find_place_in_spine(ledger=ledger, origin=origin)
        note = read_newest_spine_checkpoint(ledger=ledger)
        if place is None or note is None:
            # No spine's key: there is nothing that could be shown to anybody.
            return ledger.spine.key is None
        policy = self.witnessing.read_policy()
        return policy is None or policy.is_met(note)

    def show_changes(self) -> None:
        """Let the public pages show now what a command has changed."""
        if self.renderer.is_running:
            self.renderer.try_to_catch_up()

    def settle_issuance(self, origin: str, at: datetime) -> None:
        """Leave no order of requests in the issuance file, and no time but a tick's."""
        today = int(at.timestamp()) // DAY_SECONDS
        self.services.issuer.rebuild_after_publication(origin, today=today)


def _check_pooled(log: OpenLog, pooled: PooledSignature) -> bool:
    return is_as_redeemed(log=log, pooled=pooled)


def log_flip(flip: Flip) -> None:
    """Enter a flipped switch in the audit trail."""
    record_act(actor=OPERATOR, kind="SwitchFlipped", data=flip.as_json(), at=flip.at)


def make_facts(environment: Environment) -> InstanceFacts:
    """Return what pages say about this instance."""
    return InstanceFacts(
        host=environment.host,
        base_url=environment.base_url,
        mode=environment.mode,
        abuse_contact=environment.abuse_contact or None,
        operator_name=environment.operator or None,
    )


@contextmanager
def open_engine(
    environment: Environment,
    *,
    clock: Clock | None = None,
    at_step: Callable[[str], None] = lambda _name: None,
    run_clock: bool = True,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[Engine]:
    """Run the engine for the length of a ``with`` block.

    ``run_clock`` False: nothing is published until ``tick`` is called. ``at_step``:
    see ``ledger.publish``. ``on_wait`` given: while another process has the data
    directory or the ledger, call it once and wait for that one's end. Raises
    WriterBusy, RolledBack, StorageFailed.
    """
    with (
        hold_writer_lock(environment.data, on_wait=on_wait),
        ExitStack() as stack,
    ):
        clock = clock or SystemClock()
        engine = _make_engine(environment, clock, at_step, on_wait)
        services = engine.services
        # Each part that was started is stopped, in reverse, whatever becomes of others.
        stack.callback(connection.close)
        stack.callback(engine.witnessing.stop)
        stack.callback(services.ledger.stop)
        # Before anything is shown: a witness may know that this database is too old.
        feeder = start_witnessed(services.ledger, engine.witnessing, clock=clock)
        stack.callback(feeder.stop)
        stack.callback(services.issuer.stop)
        services.issuer.start()
        stack.callback(services.desk.stop)
        services.desk.start()
        _load_campaigns(engine)
        if services.ledger.spine.key is not None:
            note_client(
                ledger=services.ledger,
                sha256=hashlib.sha256(CLIENT.read_bytes()).hexdigest(),
                at=services.clock.now(),
            )
        engine.witnessing.publish_policy()
        if run_clock:
            ticker = threading.Thread(
                target=_tick_for_ever, args=(engine,), name="clock", daemon=True
            )
            ticker.start()
            stack.callback(ticker.join, 30)
        stack.callback(engine.stopping.set)
        yield engine


def _make_engine(
    environment: Environment,
    clock: Clock,
    at_step: Callable[[str], None],
    on_wait: Callable[[], None] | None,
) -> Engine:
    failures: list[BaseException] = []

    def on_failure(error: BaseException) -> None:
        failures.append(error)
        log.critical("STOPPED: %s. Intake is closed; restart after mending.", error)
        engine.on_failed()

    def on_mail_failure(error: MailNotSent) -> None:
        log.warning("a confirmation mail was not sent: %s", error)

    def on_shown(records: list[ShownRecord]) -> None:
        _keep_shown(records)
        renderer.note_shown()

    def on_erased(nonces: list[bytes]) -> None:
        _erase_shown(nonces)
        renderer.erase_shown()

    keystore = open_keystore(environment)
    ledger = Ledger(
        host=environment.host,
        folder=environment.data,
        public=environment.public,
        keystore=keystore,
        store=open_store(environment, on_wait=on_wait),
        on_shown=on_shown,
        on_erased=on_erased,
        on_failure=on_failure,
        at_step=at_step,
        check_pooled=None if environment.keeps_ledger_here else _check_pooled,
    )
    issuer = Issuer(
        folder=make_private_folder(environment.data / "issuance"),
        keystore=keystore,
        on_failure=on_failure,
    )
    switches = Switches(environment.data / "switches.json", log_flip=log_flip)
    facts = make_facts(environment)
    desk = EligibilityDesk(
        issuer=issuer,
        sender=make_sender(environment),
        render=make_renderer(host=facts.host, base_url=facts.base_url),
        on_mail_failure=on_mail_failure,
        takes_mail=bool(environment.smtp_url) or environment.mode != "production",
    )
    intake = Intake()
    services = Services(
        clock=clock,
        ledger=ledger,
        issuer=issuer,
        desk=desk,
        intake=intake,
        lines=Lines(intake=intake, room_for_mail=desk.count_room),
        arrivals=Arrivals(),
        settings=facts,
        book=SigningBook(ledger, switches),
    )
    pages = FolderStore(environment.data / "pages")
    renderer = make_page_renderer(services, pages)
    services.book.on_shown_changed = renderer.erase_shown
    engine = Engine(
        environment=environment,
        services=services,
        keystore=keystore,
        witnessing=make_witnessing(environment, keystore),
        pages=pages,
        renderer=renderer,
        carrier=make_carrier(environment, pages, renderer),
        failures=failures,
    )
    return engine


def _keep_shown(records: list[ShownRecord]) -> None:
    """Hand on to the pages database, from the writer's thread."""
    try:
        keep_shown_records(records)
    finally:
        _leave_server()


def _erase_shown(nonces: list[bytes]) -> None:
    try:
        erase_shown_records(nonces)
    finally:
        _leave_server()


def _leave_server() -> None:
    """Keep no connection to a server from one publication to the next.

    It may have gone meanwhile, and nobody would close it at the end. SQLite's stays:
    while one is open, its journal is no new file at whose time somebody came.
    """
    if connection.vendor == "postgresql":
        connection.close()


def _load_campaigns(engine: Engine) -> None:
    services = engine.services
    for campaign in list_all_campaigns():
        if campaign.origin not in services.ledger.logs:
            continue
        if campaign.state is CampaignState.DRAFT:
            # Opening was cut off half-way; `campaign open` takes it up again.
            continue
        services.book.add(campaign)
        restore_fixed_files(
            ledger=services.ledger,
            origin=campaign.origin,
            statement=campaign.statement.encode(),
        )
        load_version(
            issuer=services.issuer,
            origin=campaign.origin,
            path=campaign.path,
            gone=_are_keys_gone(campaign),
            closing=campaign.state is CampaignState.CLOSING,
            lost=count_records(
                ledger=services.ledger, origin=campaign.origin, kind=RECORD_LOST
            ),
        )


def _are_keys_gone(campaign: Campaign) -> bool:
    closing = find_closing(campaign_id=campaign.id)
    return closing is not None and closing.keys_destroyed


def _tick_for_ever(engine: Engine) -> None:
    """The clock's outer loop: once a second, until told to stop."""
    try:
        while not engine.stopping.wait(_until_next_second()):
            if engine.services.ledger.failure is not None:
                # The writer has stopped, and takes no signature that would wait here.
                return
            try:
                drop_broken_connection()
                engine.tick(engine.services.clock.now())
            except Exception as error:  # noqa: BLE001 - the clock's outer loop
                # One campaign's refusal, a locked pages database, an issuer that has
                # stopped: what was promised to everybody else is still published.
                log.error(
                    "the clock could not finish its round: %s: %s",
                    type(error).__name__,
                    error,
                )
    finally:
        connection.close()


def _until_next_second() -> float:
    return 1.0 - time.time() % 1.0
