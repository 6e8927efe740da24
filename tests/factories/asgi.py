"""A client that speaks plain ASGI to the front of the process: no socket, no server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from tests.factories.instances import HOST
from tests.factories.signers import Writing
from undersigned.signatures.operations.redeem import SignRequest
from undersigned.web.hot.wire import ASGIApp, Receive, Scope, Send

JSON = "application/json"
TOKEN_REQUEST = "application/private-token-request"


@dataclass(frozen=True)
class Answer:
    """What came back. ``headers``: by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    def problem(self) -> tuple[int, str]:
        """Return status and code, once the shape of the error is checked.

        One shape everywhere: RFC 9457 with a stable code, never stored, and a title
        and a sentence that a person can read.
        """
        assert self.headers["content-type"] == "application/problem+json"
        assert self.headers["cache-control"] == "no-store"
        found = self.json()
        assert set(found) == {"type", "title", "status", "code", "detail"}
        assert found["type"] == "about:blank"
        assert found["status"] == self.status
        assert found["title"].strip()
        assert found["detail"].endswith(".")
        return self.status, found["code"]


@dataclass
class Browser:
    """Sends requests to an application."""

    app: ASGIApp
    # What the application behind was asked for.
    passed_on: list[Scope] = field(default_factory=list)

    def get(self, path: str, **headers: str) -> Answer:
        """Send a GET."""
        return self.send("GET", path, headers=headers)

    def post(
        self,
        path: str,
        body: bytes | str | dict[str, Any],
        *,
        media: str | None = JSON,
        **headers: str,
    ) -> Answer:
        """Send a POST; a dict is sent as JSON."""
        if isinstance(body, dict):
            body = json.dumps(body)
        data = body.encode() if isinstance(body, str) else body
        headers.setdefault("content_length", str(len(data)))
        if media is not None:
            headers["content_type"] = media
        return self.send("POST", path, headers=headers, chunks=[data])

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        chunks: Iterable[bytes] = (b"",),
        hangs_up: bool = False,
    ) -> Answer:
        """Send one request, its body in ``chunks``; ``_`` in a name stands for ``-``.

        ``hangs_up``: the client goes before the body has ended; the answer's status
        is 0 where none was sent.
        """
        pieces = list(chunks)
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": True}
            for piece in pieces
        ]
        if hangs_up:
            messages.append({"type": "http.disconnect"})
        else:
            messages[-1]["more_body"] = False
        raw = [
            (name.replace("_", "-").encode(), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ]
        path, _mark, query = path.partition("?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "https",
            "server": (HOST, 443),
            "client": ("203.0.113.7", 4711),
            "root_path": "",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", HOST.encode()), *raw],
        }
        return asyncio.run(self._exchange(scope, messages))

    async def _exchange(self, scope: Scope, messages: list[dict[str, Any]]) -> Answer:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            loop.set_default_executor(pool)
            await self.app(scope, receive, send)
            # The thread's connection to the pages database ends with it.
            await loop.run_in_executor(pool, connections.close_all)
        if not sent:
            return Answer(0, {}, b"")
        start, *rest = sent
        assert start["type"] == "http.response.start"
        names = [name.decode() for name, _value in start["headers"]]
        assert len(names) == len(set(names)), "a header stands twice"
        assert all(name == name.lower() for name in names)
        return Answer(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(message.get("body", b"") for message in rest),
        )


def make_behind(passed_on: list[Scope]) -> ASGIApp:
    """Return an application that stands in for Django and says so."""

    async def behind(scope: Scope, _receive: Receive, send: Send) -> None:
        passed_on.append(scope)
        await send(
            {"type": "http.response.start", "status": 299, "headers": []},
        )
        await send({"type": "http.response.body", "body": b"Django"})

    return behind


def encode64(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_sign_body(request: SignRequest) -> dict[str, Any]:
    """Return the JSON of ``POST c/ID/sign``."""
    return {
        "key_index": request.key_index,
        "stance": request.stance,
        "public_hash": encode64(request.public_hash),
        "withdraw_hash": encode64(request.withdraw_hash),
        "r": encode64(request.r),
        "authenticator": encode64(request.authenticator),
        "public": request.public,
        "salt": None if request.salt is None else encode64(request.salt),
    }


def ask_for_token(
    browser: Browser, path: str, ticket: str, writing: Writing, **headers: str
) -> Answer:
    """Send a token request."""
    return browser.post(
        f"/{path}/issue",
        writing.prepared.request,
        media=TOKEN_REQUEST,
        authorization=f"Ticket {ticket}",
        **headers,
    )
