"""The floor of every comparison: bare WSGI and one INSERT a request, PostgreSQL.

No framework, no check, no signature: what a request costs that is only written down
durably. Run by gunicorn with two workers; ``FLOOR_DSN`` names the database.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any

import psycopg

_connection: psycopg.Connection[Any] | None = None


def _connect() -> psycopg.Connection[Any]:
    # One a worker process, made at its first request.
    global _connection  # noqa: PLW0603 - the plainest form, which a floor is
    if _connection is None:
        _connection = psycopg.connect(os.environ["FLOOR_DSN"], autocommit=True)
    return _connection


def app(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> Iterable[bytes]:
    """Insert the body under its hash and answer."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    _connect().execute(
        "INSERT INTO inbox (nonce, leaf) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (hashlib.sha256(body).digest(), body),
    )
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")]
    )
    return [b"{}"]
