"""The way to our witnesses: HTTP by the standard library, bounded in time and size."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from undersigned.witness.dialogue import Answer, Unanswered

# One exchange, name look-up left out: a witness that takes longer is no witness.
EXCHANGE_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 16_384


class HttpTransport:
    """A connection for each request. Certificates are verified, redirects not taken.

    Proxies named in the environment are not used: http.client knows of none.
    """

    def __init__(self, *, seconds: float = EXCHANGE_SECONDS) -> None:
        self._seconds = seconds
        # Made at the first need: it reads every certificate of the system.
        self._tls: ssl.SSLContext | None = None

    def add_checkpoint(self, url: str, body: bytes) -> Answer:
        """POST ``body`` to ``url``/add-checkpoint. Raises Unanswered."""
        parts = urlsplit(url)
        connection = self._connect(parts.scheme, parts.hostname or "", parts.port)
        held: list[socket.socket] = []
        # Timeouts of sockets are for one call each: against an answer that comes drop
        # by drop the whole exchange is cut off from outside.
        fuse = threading.Timer(self._seconds, _cut, [connection, held])
        fuse.daemon = True
        fuse.start()
        try:
            connection.connect()
            held.append(connection.sock)
            connection.request(
                "POST",
                f"{parts.path}/add-checkpoint",
                body=body,
                headers={
                    "Content-Type": "text/plain; charset=utf-8",
                    "Connection": "close",
                },
            )
            response = connection.getresponse()
            data = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unanswered(_describe(error)) from error
        finally:
            fuse.cancel()
            connection.close()
        if len(data) > MAX_ANSWER_BYTES:
            raise Unanswered("its answer is too long")
        media = response.getheader("content-type", "").split(";")[0].strip().lower()
        return Answer(response.status, media, data)

    def _connect(
        self, scheme: str, host: str, port: int | None
    ) -> http.client.HTTPConnection:
        if scheme == "https":
            self._tls = self._tls or ssl.create_default_context()
            return http.client.HTTPSConnection(
                host, port, timeout=self._seconds, context=self._tls
            )
        return http.client.HTTPConnection(host, port, timeout=self._seconds)


def _cut(connection: http.client.HTTPConnection, held: list[socket.socket]) -> None:
    # While it connects, the connection has the socket; an answer takes it away.
    for sock in [*held, connection.sock]:
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return f"it cannot be reached: {type(error).__name__}: {error}"[:200]
