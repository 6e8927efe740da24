"""An object store that speaks S3, by way of obstore.

Which is in the extra `scale`: only who sets an address imports this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

import obstore.store
from obstore.exceptions import BaseError

from undersigned.web.objects.store import Held, StoreAway

if TYPE_CHECKING:
    from obstore import ObjectMeta

CONNECT_SECONDS = 5
# Of one request: a tile is at most 92 kB, a page less.
REQUEST_SECONDS = 30
_ERRORS = (BaseError, OSError, ValueError)
# As many as S3 takes in one request.
_DELETED_AT_ONCE = 1000


class S3Store:
    """One bucket, or what is below a prefix in one.

    Buckets are part of the path, not of the host: so every store and every certificate
    can be used. Nothing is tried twice here; whoever carries knows when to try again.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        bucket: str,
        prefix: str,
        region: str,
        key_id: str,
        secret: str,
    ) -> None:
        self._store = obstore.store.S3Store(
            bucket,
            prefix=prefix or None,
            endpoint=endpoint,
            region=region,
            access_key_id=key_id,
            secret_access_key=secret,
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": f"{CONNECT_SECONDS}s",
                "timeout": f"{REQUEST_SECONDS}s",
            },
            retry_config={"max_retries": 0},
        )

    def put(self, key: str, data: bytes, headers: Mapping[str, str]) -> None:
        """See ObjectStore."""
        try:
            self._store.put(key, data, attributes=dict(headers), use_multipart=False)
        except _ERRORS as error:
            raise _make_away(error) from None

    def get(self, key: str) -> bytes | None:
        """See ObjectStore."""
        try:
            return bytes(self._store.get(key).bytes())
        except FileNotFoundError as error:
            _require_bucket(error)
            return None
        except _ERRORS as error:
            raise _make_away(error) from None

    def head(self, key: str) -> Held | None:
        """See ObjectStore."""
        try:
            return _make_held(self._store.head(key))
        except FileNotFoundError as error:
            _require_bucket(error)
            return None
        except _ERRORS as error:
            raise _make_away(error) from None

    def delete(self, keys: Collection[str]) -> None:
        """See ObjectStore."""
        names = sorted(keys)
        try:
            for at in range(0, len(names), _DELETED_AT_ONCE):
                self._store.delete(names[at : at + _DELETED_AT_ONCE])
        except FileNotFoundError as error:
            _require_bucket(error)
        except _ERRORS as error:
            raise _make_away(error) from None

    def list_below(self, folder: str) -> Iterator[Held]:
        """See ObjectStore."""
        try:
            for chunk in self._store.list(folder or None):
                yield from map(_make_held, chunk)
        except _ERRORS as error:
            raise _make_away(error) from None

    def list_top(self) -> tuple[list[str], list[str]]:
        """See ObjectStore."""
        try:
            found = self._store.list_with_delimiter()
        except _ERRORS as error:
            raise _make_away(error) from None
        folders = [f"{name.rstrip('/')}/" for name in found["common_prefixes"]]
        return folders, [one["path"] for one in found["objects"]]


def _make_held(meta: ObjectMeta) -> Held:
    # Where versions were never kept, or are not any more, there is none, or "null".
    return Held(
        key=meta["path"],
        size=meta["size"],
        tag=(meta["e_tag"] or "").strip('"'),
        keeps_versions=meta["version"] not in (None, "", "null"),
    )


def _make_away(error: BaseException) -> StoreAway:
    """Tell what ails the store. Its own text may hold a request, with its key."""
    text = str(error)
    for code in (
        "NoSuchBucket",
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "AccessDenied",
        "RequestTimeTooSkewed",
        "QuotaExceeded",
        "SlowDown",
    ):
        if code in text:
            return StoreAway(f"it answers {code}")
    if "error sending request" in text:
        return StoreAway("nobody answers")
    return StoreAway(type(error).__name__)


def _require_bucket(error: FileNotFoundError) -> None:
    if "NoSuchBucket" in str(error):
        raise _make_away(error)
