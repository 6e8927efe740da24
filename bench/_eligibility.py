"""Asking for a code, the mail, and confirming: through the pages, as people do.

The mail is handed by SMTP to a sink in this process, which reads the code from it.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from urllib.parse import urlencode

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from bench import _programs
from bench._cpu import Meter
from bench._flow import Client, Journey, make_request, run_journeys
from bench._instance import CAMPAIGN, Fixture, copy_data, serve
from undersigned.drills.ports import find_port

CONNECTIONS = 8
# As many as an address may have (eligibility.rules): a sixth question sends none.
MAILS_PER_ADDRESS = 5
_PAGE = f"/en/c/{CAMPAIGN}/sign"
_ASK = re.compile(rb'name="ask"\s+value="([^"]+)"')
_CODE = re.compile(r"^\s+(\d{4}) (\d{4})\s*$", re.M)


class _Sink:
    """Takes every mail and keeps the newest code of each address."""

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}
        self.mails = 0
        self._lock = threading.Lock()

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep one mail's code."""
        content = envelope.content
        raw = content if isinstance(content, bytes) else str(content).encode()
        payload = message_from_bytes(raw).get_payload(decode=True)
        found = _CODE.search(payload.decode() if isinstance(payload, bytes) else "")
        with self._lock:
            self.mails += 1
            if found:
                self.codes[envelope.rcpt_tos[0]] = found[1] + found[2]
        return "250 kept"

    def wait_for(self, mails: int) -> None:
        """Wait until so many mails are in. Raises NotStarted after a minute."""
        until = time.monotonic() + 60
        while self.mails < mails:
            if time.monotonic() > until:
                raise _programs.NotStarted(f"{self.mails} of {mails} mails came")
            time.sleep(0.01)


@contextmanager
def _run_sink() -> Iterator[tuple[_Sink, int]]:
    sink, port = _Sink(), find_port()
    controller = Controller(sink, hostname=_programs.HOST, port=port)
    controller.start()
    try:
        yield sink, port
    finally:
        controller.stop()


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Microseconds of processor time for each step."""

    ask_us: float
    mail_us: float
    confirm_us: float


def measure(fixture: Fixture, *, addresses: int) -> Eligibility:
    """Ask five times for each address, once more without a mail, then confirm."""
    names = [f"asha-{secrets.token_hex(6)}@signer.example" for _n in range(addresses)]
    asks: dict[str, str] = {}
    with _run_sink() as (sink, smtp_port), copy_data(fixture) as data:
        url = f"smtp://{_programs.HOST}:{smtp_port}"
        with serve(data, UNDERSIGNED_SMTP_URL=url) as server:

            def run(journeys: Iterator[Journey], mails: int = 0) -> float:
                """Return the seconds that the server spent."""
                before = sink.mails
                meter = Meter((server.pid,))
                meter.start(time.monotonic())
                run_journeys(
                    port=server.port, journeys=journeys, connections=CONNECTIONS
                )
                sink.wait_for(before + mails)
                meter.stop(time.monotonic())
                return meter.seconds

            # The first pages of a start compile templates and read catalogues.
            warm = [f"omar-{number}@signer.example" for number in range(20)]
            run(_list_asks(warm, {}), mails=len(warm))
            several = names * MAILS_PER_ADDRESS
            with_mail = run(_list_asks(several, asks), mails=len(several))
            without = run(_list_asks(several, {}))
            confirmed = run(_list_confirmations(names, asks, sink.codes))
    ask_us = 1e6 * without / len(several)
    return Eligibility(
        ask_us=ask_us,
        mail_us=1e6 * with_mail / len(several) - ask_us,
        confirm_us=1e6 * confirmed / len(names),
    )


def _post(path: str, **fields: str) -> bytes:
    return make_request(
        "POST",
        f"{_PAGE}/{path}/",
        urlencode(fields).encode(),
        media="application/x-www-form-urlencoded",
    )


def _list_asks(names: list[str], asks: dict[str, str]) -> Iterator[Journey]:
    for name in names:
        yield _ask(name, asks)


def _ask(name: str, asks: dict[str, str]) -> Journey:
    async def journey(client: Client) -> None:
        page = await client.send(_post("ask", klass="email", address=name))
        found = _ASK.search(page)
        if found is None:
            raise _programs.NotStarted("the page after asking holds no token")
        asks[name] = found[1].decode()

    return journey


def _list_confirmations(
    names: list[str], asks: dict[str, str], codes: dict[str, str]
) -> Iterator[Journey]:
    for name in names:
        yield _confirm(asks[name], codes[name])


def _confirm(ask: str, code: str) -> Journey:
    async def journey(client: Client) -> None:
        page = await client.send(_post("confirm", ask=ask, code=code))
        if b"data-ticket" not in page and b'name="ticket"' not in page:
            raise _programs.NotStarted("a right code gave no ticket")

    return journey
