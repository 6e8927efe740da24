"""Creating, loading, using, reopening and destroying issuer keys."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from undersigned.credentials.data import IssuerKeyFacts, IssuingState, TicketFacts
from undersigned.credentials.issuance_file import IssuanceFile
from undersigned.credentials.issuer import (
    Done,
    IntakeClosed,
    Issuer,
    IssuerVersion,
    IssuingStopped,
)
from undersigned.credentials.rsa import (
    MODULUS_BYTES,
    BlindSigner,
    IssuerKeyWeak,
    make_key,
)
from undersigned.credentials.tickets import VersionKey, make_ticket, read_ticket
from undersigned.kernel.errors import Conflict, Refused, StorageFailed
from undersigned.kernel.keystore import KeyMissing, KeysLocked, Keystore

TOKEN_TYPE = b"\x00\x02"
REQUEST_BYTES = 3 + MODULUS_BYTES


class TokenRequestMalformed(Refused):
    """Not a TokenRequest of type 0x0002 for this class's key."""

    code: ClassVar[str] = "token-request-malformed"


class ClassNotOffered(Refused):
    """The statement version has no key for this assurance class."""

    code: ClassVar[str] = "class-not-offered"


def _file_path(folder: Path, path: str) -> Path:
    # "@" stands in no id, so that no campaign's name is another's second version.
    return folder / (path.removeprefix("c/").replace("/", "@") + ".sqlite3")


def create_version(
    *, issuer: Issuer, origin: str, path: str, classes: list[int]
) -> list[IssuerKeyFacts]:
    """Make the keys and the empty issuance file of a new statement version.

    One key a class, with key_index counted from 0 in the order of ``classes``.
    Idempotent: what an interrupted attempt made is kept. Raises KeysLocked,
    StorageFailed.
    """
    keystore = issuer.keystore
    if keystore is None:
        raise KeysLocked(reason="no passphrase given")
    known = issuer.versions.get(origin)
    if known is not None and known.state is IssuingState.OPEN:
        return _list_keys(known)
    if not keystore.has(f"{path}/version.key"):
        keystore.put(f"{path}/version.key", secrets.token_bytes(32))
    for key_index, klass in enumerate(classes):
        name = f"{path}/issuer-{key_index}-{klass}.der"
        if not keystore.has(name):
            keystore.put(name, make_key())
    file_path = _file_path(issuer.folder, path)
    if not file_path.exists() or not file_path.stat().st_size:
        IssuanceFile(file_path, create=dict(enumerate(classes))).close()
    return _list_keys(load_version(issuer=issuer, origin=origin, path=path))


def _list_keys(version: IssuerVersion) -> list[IssuerKeyFacts]:
    return [version.keys[key_index] for key_index in sorted(version.keys)]


def load_version(
    *,
    issuer: Issuer,
    origin: str,
    path: str,
    gone: bool = False,
    closing: bool = False,
    lost: int = 0,
) -> IssuerVersion:
    """Load one statement version at a start; never raises for missing secrets.

    ``gone``: its keys were destroyed. ``closing``: only retries are answered. Missing
    or weak keys, or a missing issuance file, close the intake of this version and
    nothing else; its state says why. So does a file that is not the one begun after
    the log's last ``issuance-record-lost``, of which there are ``lost``: another
    machine has issued meanwhile, and what it issued does not stand in this one.
    """
    version = IssuerVersion(
        origin=origin, key=None, file=None, state=IssuingState.KEYS_MISSING
    )
    issuer.versions[origin] = version
    if gone:
        version.state = IssuingState.GONE
        return version
    if issuer.keystore is None:
        return version
    try:
        _load_secrets(issuer.keystore, version, path)
    except (KeyMissing, KeysLocked, IssuerKeyWeak):
        version.signers.clear()
        return version
    try:
        file = IssuanceFile(_file_path(issuer.folder, path))
    except StorageFailed:
        version.state = IssuingState.RECORD_LOST
        return version
    if file.number != lost:
        file.close()
        version.state = IssuingState.RECORD_LOST
        return version
    if file.keys != {index: facts.klass for index, facts in version.keys.items()}:
        # One of the keys is gone: its class could not be issued, so nothing is.
        file.close()
        version.signers.clear()
        version.key = None
        return version
    version.file = file
    version.state = IssuingState.RETRIES if closing else IssuingState.OPEN
    return version


def _load_secrets(keystore: Keystore, version: IssuerVersion, path: str) -> None:
    secret = keystore.get(f"{path}/version.key")
    if len(secret) != 32:
        raise KeyMissing(name=f"{path}/version.key")
    names = [
        name for name in keystore.list_names() if name.startswith(f"{path}/issuer-")
    ]
    if not names:
        raise KeyMissing(name=f"{path}/issuer-*")
    for name in names:
        stem = name.rsplit("/", 1)[1].removesuffix(".der")
        _word, key_index, klass = stem.split("-")
        signer = BlindSigner(keystore.get(name))
        version.signers[int(key_index)] = signer
        version.keys[int(key_index)] = IssuerKeyFacts(
            key_index=int(key_index),
            klass=int(klass),
            spki=signer.spki,
            key_id=signer.key_id,
        )
    version.key = VersionKey(version.origin, secret)


def get_version_key(*, issuer: Issuer, origin: str) -> VersionKey:
    """Return the version key. Raises IntakeClosed, IssuingStopped."""
    version = issuer.get_version(origin)
    if version.state is IssuingState.GONE:
        raise IssuingStopped(origin=origin)
    # With the record lost, a ticket could not be kept: nobody is sent a mail for one.
    if version.key is None or version.state is IssuingState.RECORD_LOST:
        raise IntakeClosed(origin=origin, reason=str(version.state))
    return version.key


def grant_ticket(
    *,
    issuer: Issuer,
    origin: str,
    klass: int,
    nullifier: bytes,
    at: datetime,
    valid_from: datetime | None = None,
    source: bytes | None = None,
) -> str:
    """Return a ticket for one token; its hash is durable in the issuance file.

    ``source``: see ``make_ticket``. Raises ClassNotOffered, IntakeClosed,
    IssuingStopped.
    """
    key = get_version_key(issuer=issuer, origin=origin)
    version = issuer.get_version(origin)
    if version.state is IssuingState.RETRIES:
        raise IssuingStopped(origin=origin)
    _get_class_key(version, klass)
    text, facts = make_ticket(
        key,
        klass=klass,
        nullifier=nullifier,
        at=at,
        valid_from=valid_from,
        source=source,
    )
    issuer.add_tickets(version, [facts])
    return text


def open_ticket(
    *, issuer: Issuer, origin: str, ticket: str, at: datetime
) -> TicketFacts:
    """Return what a ticket says. Raises TicketNotValid, TicketExpired, …."""
    key = get_version_key(issuer=issuer, origin=origin)
    return read_ticket(key, ticket, at=at)


def _get_class_key(version: IssuerVersion, klass: int) -> IssuerKeyFacts:
    for facts in version.keys.values():
        if facts.klass == klass:
            return facts
    raise ClassNotOffered(klass=klass)


def get_class_key(*, issuer: Issuer, origin: str, klass: int) -> IssuerKeyFacts:
    """Return the key of an assurance class. Raises ClassNotOffered, IntakeClosed."""
    version = issuer.get_version(origin)
    if version.state in (IssuingState.KEYS_MISSING, IssuingState.RECORD_LOST):
        raise IntakeClosed(origin=origin, reason=str(version.state))
    return _get_class_key(version, klass)


def issue(
    *,
    issuer: Issuer,
    origin: str,
    ticket: str,
    request: bytes,
    at: datetime,
    done: Done,
) -> None:
    """Answer one TokenRequest with a blind signature, once it is durably recorded.

    ``request``: u16 0x0002 ‖ last byte of token_key_id ‖ 256 blinded bytes (RFC 9578
    §6.1). ``done`` receives the 256 bytes, or AlreadyIssued (another request was
    answered for this nullifier), TicketNotValid, IssuingStopped, IntakeClosed. The
    same ticket and request again give the same bytes. Raises TokenRequestMalformed,
    ClassNotOffered and the ticket errors before anything is queued.
    """
    if len(request) != REQUEST_BYTES or request[:2] != TOKEN_TYPE:
        raise TokenRequestMalformed(reason="length or token type")
    facts = open_ticket(issuer=issuer, origin=origin, ticket=ticket, at=at)
    version = issuer.get_version(origin)
    key = _get_class_key(version, facts.klass)
    if request[2] != key.key_id[-1]:
        raise TokenRequestMalformed(reason="another issuer key")
    signer = version.signers[key.key_index]
    if int.from_bytes(request[3:]) >= signer.n:
        raise TokenRequestMalformed(reason="not below the modulus")
    issuer.submit(
        version=version,
        ticket=facts,
        key_index=key.key_index,
        request=request,
        done=done,
    )


def stop_issuing(*, issuer: Issuer, origin: str) -> None:
    """Answer only requests answered before (closing's first hour, §4.7)."""
    version = issuer.get_version(origin)

    def stop() -> None:
        if version.state is IssuingState.OPEN:
            version.state = IssuingState.RETRIES

    issuer.run(stop)


def count_issued(*, issuer: Issuer, origin: str) -> dict[int, int]:
    """Return how many tokens were issued, by key index; empty when gone."""
    version = issuer.get_version(origin)
    file = version.file
    # Counted along, not in the file: it is asked every minute, of millions of rows.
    return {} if file is None else issuer.run(lambda: dict(file.issued))


def has_record(*, issuer: Issuer, origin: str) -> bool:
    """Say whether there is a record of issuing: neither lost nor destroyed."""
    return issuer.get_version(origin).file is not None


def destroy_version(*, issuer: Issuer, origin: str, path: str) -> None:
    """Destroy issuer keys, version key and issuance file (§4.7). Idempotent.

    Our word only: a token that appears later is the only possible disproof. The log
    key stays: checkpoints are still signed. Raises StorageFailed.
    """
    version = issuer.versions.get(origin)
    if version is None:
        version = load_version(issuer=issuer, origin=origin, path=path)
    found = version

    def destroy() -> None:
        found.state = IssuingState.GONE
        found.signers.clear()
        found.key = None
        keystore = issuer.keystore
        if keystore is not None:
            for name in keystore.list_names():
                stem = name.removeprefix(f"{path}/")
                if name.startswith(f"{path}/") and (
                    stem == "version.key" or stem.startswith("issuer-")
                ):
                    keystore.destroy(name)
        if found.file is not None:
            found.file.close()
            found.file = None
        # By name, since a damaged file, or one whose keys are gone, is not open.
        IssuanceFile.destroy_at(_file_path(issuer.folder, path))

    issuer.run(destroy)


def forget_issuance_record(*, folder: Path, path: str) -> None:
    """Destroy an issuance file that may be older than the log; none is no error.

    After a recovery nothing can tell how old it is, and one that is older would let
    addresses sign twice without a word in the log. Issuing of that version is closed
    until it is reopened. For while no issuer runs. Raises StorageFailed.
    """
    IssuanceFile.destroy_at(_file_path(folder, path))


def has_issuance_record(*, folder: Path, path: str) -> bool:
    """Say whether a statement version has an issuance file, whatever is in it."""
    return _file_path(folder, path).exists()


class RecordNotLost(Conflict):
    """The issuance record is there, or its keys are not: nothing to reopen."""

    code: ClassVar[str] = "record-not-lost"


def require_lost_record(*, issuer: Issuer, origin: str) -> IssuerVersion:
    """Return the version whose record is lost. Raises RecordNotLost, IntakeClosed."""
    version = issuer.get_version(origin)
    if version.state is not IssuingState.RECORD_LOST:
        raise RecordNotLost(origin=origin, state=str(version.state))
    return version


def reopen_issuance(*, issuer: Issuer, origin: str, path: str, lost: int) -> None:
    """Begin a new, empty issuance file after the old one was lost.

    Addresses that had a token may get a second one; the caller writes the public
    record ``issuance-record-lost`` first. ``lost``: how many of these the log has
    then. Raises RecordNotLost, IntakeClosed.
    """
    version = require_lost_record(issuer=issuer, origin=origin)

    def reopen() -> None:
        keys = {index: facts.klass for index, facts in version.keys.items()}
        version.file = IssuanceFile(
            _file_path(issuer.folder, path), create=keys, number=lost
        )
        version.state = IssuingState.OPEN

    issuer.run(reopen)
