"""The door before Django: its two threads never have more waiting than they can take.

Forms of the signing journey come in by their stage's line (safety.turns). Who must
wait gets a page that holds all that was typed, and a turn; the page goes on by itself,
or by its button. Nothing is kept here of who waits. Every other request comes in while
there is room, and is asked again later where there is none.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote

from undersigned.safety.intake import find_network
from undersigned.safety.turns import PleaseWait, Stage
from undersigned.web.hot.wire import (
    NO_STORE,
    ASGIApp,
    BodyNotValid,
    Headers,
    Receive,
    Scope,
    Send,
    answer,
    find_address,
    find_header,
)
from undersigned.web.shared.crossing import is_from_elsewhere
from undersigned.web.shared.headers import HEADERS
from undersigned.web.shared.problem import describe_wait, problem
from undersigned.web.shared.services import TURN_TAKEN, Services
from undersigned.web.shared.waiting import Fields, Held, RenderWait

# Half a second's worth for two threads, beside the forms of the journey.
OTHERS_ROOM: Final = 64
OTHERS_AGAIN_SECONDS: Final = 5
# As many as Django reads (settings.DATA_UPLOAD_MAX_NUMBER_FIELDS).
FIELDS_LIMIT: Final = 50
TURN_FIELD: Final = "turn"
_FORM_MEDIA: Final = b"application/x-www-form-urlencoded"
_STEP = re.compile(
    r"/(?:[a-z-]+)/(?:c/[^/]+/sign/(?P<step>ask|confirm|write|finish)|confirm)/"
)
_STAGES: Final[dict[str | None, Stage]] = {
    "ask": "ask",
    "confirm": "confirm",
    "write": "confirm",
    "finish": "finish",
    # The button behind a mailed link.
    None: "confirm",
}
_PAGE: Headers = [
    (b"content-type", b"text/html; charset=utf-8"),
    NO_STORE,
    *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
]


def parse_form(scope: Scope, body: bytes) -> Fields | None:
    """Return a form's fields in order; None for what could not be carried."""
    media = (find_header(scope, b"content-type") or b"").split(b";")[0].strip().lower()
    if media != _FORM_MEDIA:
        return None
    try:
        return parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_LIMIT
        )
    except ValueError:
        return None


def _crosses(scope: Scope) -> bool:
    def read(name: bytes) -> str | None:
        found = find_header(scope, name)
        return None if found is None else found.decode("latin-1")

    return is_from_elsewhere(
        site=read(b"sec-fetch-site"),
        origin=read(b"origin"),
        own=f"{scope['scheme']}://{read(b'host')}",
    )


def _wants_json(scope: Scope) -> bool:
    accept = find_header(scope, b"accept") or b""
    return b"json" in accept and b"html" not in accept


class Door:
    """Lets requests through to ``behind``, or has them wait.

    ``render`` None: there are no pages, and everybody who waits gets a problem.
    """

    def __init__(
        self, *, services: Services, behind: ASGIApp, render: RenderWait | None
    ) -> None:
        self._services = services
        self._behind = behind
        self._render = render
        self._others = 0
        # How many of them are of each network, while they are inside.
        self._of_network: dict[bytes, int] = {}

    async def pass_on(
        self, scope: Scope, receive: Receive, send: Send, *, body: bytes | None
    ) -> None:
        """Have a request answered. ``body``: of a form, whole; None where none is."""
        scope["undersigned"] = self._services
        self._note_arrival(scope)
        fields = None if body is None else parse_form(scope, body)
        stage = None if body is None else self._find_stage(scope, fields or ())
        if stage is not None and fields is None:
            # Which line it belongs to stands in it, and Django would read some of what
            # is not read here: nobody passes a line that way.
            status, text, headers = problem(
                BodyNotValid(problem=f"not a form of at most {FIELDS_LIMIT} fields")
            )
            await answer(send, status, text, headers)
            return
        try:
            if stage is None:
                await self._take_other(scope, receive, send)
            else:
                await self._take_step(stage, fields or (), scope, receive, send)
        except PleaseWait as wait:
            await send_wait(scope, send, wait, fields, render=self._render)

    def _note_arrival(self, scope: Scope) -> None:
        forwarded = find_header(scope, b"x-forwarded-for")
        self._services.arrivals.note(
            client=find_address(scope),
            forwarded=None if forwarded is None else forwarded.decode("latin-1"),
            scheme=scope["scheme"],
        )

    @staticmethod
    def _find_stage(scope: Scope, fields: Fields) -> Stage | None:
        # A form that another site sent is refused inside; it must not come back from
        # a page of ours, which would make it our own.
        found = _STEP.fullmatch(scope["path"])
        if scope["method"] != "POST" or found is None or _crosses(scope):
            return None
        stage = _STAGES[found["step"]]
        if stage == "ask" and ("klass", "email") in fields:
            return "mail"
        return stage

    async def _take_step(
        self, stage: Stage, fields: Fields, scope: Scope, receive: Receive, send: Send
    ) -> None:
        lines = self._services.lines
        lines.come(
            stage, turn=dict(fields).get(TURN_FIELD, ""), address=find_address(scope)
        )
        scope[TURN_TAKEN] = True
        try:
            await self._behind(scope, receive, send)
        finally:
            lines.leave(stage)

    async def _take_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A network takes as much as it leaves: half, where it is alone. So there is a
        # place for somebody else while dozens of networks take all that they can.
        free = OTHERS_ROOM - self._others
        network = find_network(find_address(scope))
        held = 0 if network is None else self._of_network.get(network, 0)
        if held >= free:
            raise PleaseWait(retry_after_seconds=OTHERS_AGAIN_SECONDS)
        self._others += 1
        if network is not None:
            self._of_network[network] = held + 1
        try:
            await self._behind(scope, receive, send)
        finally:
            self._others -= 1
            if network is not None:
                self._of_network[network] -= 1
                if not self._of_network[network]:
                    del self._of_network[network]


async def send_wait(
    scope: Scope,
    send: Send,
    wait: PleaseWait,
    fields: Fields | None,
    *,
    render: RenderWait | None,
) -> None:
    """Answer with the waiting page, or with a problem where none can be.

    ``fields``: of the form; None for what could not be carried.
    """
    is_read = scope["method"] in ("GET", "HEAD")
    if is_read:
        fields = parse_qsl(
            scope["query_string"].decode("latin-1"), keep_blank_values=True
        )
    if (
        render is None
        or fields is None
        or _wants_json(scope)
        # To a browser that is another site's address, and a form would go there.
        or scope["path"].startswith("//")
        # What another site sent is not put into a page of ours.
        or (not is_read and _crosses(scope))
    ):
        status, body, headers = problem(wait)
        await answer(send, status, body, headers)
        return
    held = Held(
        # One slash: with two, a browser would read the name of another host.
        action="/" + quote(scope["path"].lstrip("/\\")),
        is_form=not is_read,
        fields=[(name, value) for name, value in fields if name != TURN_FIELD],
    )
    language = scope["path"].split("/")[1]
    headers = [*_PAGE, (b"retry-after", str(wait.retry_after_seconds).encode())]
    if is_read:
        # A browser asks again by itself, scripts or not. It would not send a form.
        headers.append((b"refresh", str(wait.retry_after_seconds).encode()))
    await answer(
        send,
        503,
        render(language, held, wait),
        headers,
        head=scope["method"] == "HEAD",
        safe=[],
        policy=[],
    )


def describe_turn(wait: PleaseWait | None) -> dict[str, object]:
    """Return what ``GET wait/TURN`` answers: whether to come now, or how long yet."""
    return (
        {"called": True} if wait is None else {**describe_wait(wait), "called": False}
    )
