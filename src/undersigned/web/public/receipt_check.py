"""Reading a receipt on the server, for browsers that cannot do it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from undersigned_verify import entry, proof
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey, parse_note
from undersigned_verify.token import Challenge

from undersigned.campaigns.data import Campaign
from undersigned.campaigns.queries import list_campaigns
from undersigned.kernel.errors import Refused
from undersigned.ledger.spine import SPINE_PATH
from undersigned.web.public.witnessed import Witnessed, read_policy, read_witnessed
from undersigned.web.shared.services import Services


class ReceiptNotValid(Refused):
    """The file is no receipt, or proves nothing. ``fault``: the verifier's code."""

    code: ClassVar[str] = "receipt-not-valid"


class ReceiptNotOurs(Refused):
    """The receipt belongs to a log that this instance does not keep."""

    code: ClassVar[str] = "receipt-not-ours"


@dataclass(frozen=True, slots=True)
class CheckedEntry:
    """What a receipt's second part proves: its checkpoint is entered in the spine.

    ``is_kept``: as in CheckedReceipt, of the spine's checkpoint.
    """

    witnessed: Witnessed
    is_kept: bool | None


@dataclass(frozen=True, slots=True)
class CheckedReceipt:
    """What a receipt proves, and what this server's own log says today.

    ``state``: standing, held, withdrawn or removed. ``is_kept``: this server's kept
    checkpoint of that size has the same root; None where it keeps none of that size.
    ``w``: b"" where the file does not hold it. ``entry``: None where the file has one
    part only.
    """

    campaign: Campaign
    index: int
    size: int
    root_sha256: str
    stance: int
    nonce: bytes
    w: bytes
    state: str
    is_kept: bool | None
    entry: CheckedEntry | None


def _find_campaign(origin: str) -> Campaign:
    for campaign in list_campaigns():
        if campaign.origin == origin:
            return campaign
    raise ReceiptNotOurs(origin=origin)


def _read_origin(data: bytes) -> tuple[str, bytes]:
    """Return the origin that a receipt names, and its extra bytes; unverified."""
    first = proof.parse_receipt(data)[0]
    note = parse_note(first.checkpoint)
    return Checkpoint.parse(note.text).origin, first.extra or b""


def _read_key(folder: Path) -> VerifierKey | None:
    path = folder / "log.vkey"
    return VerifierKey.parse(path.read_text().strip()) if path.is_file() else None


def _read_kept(folder: Path, size: int) -> bytes | None:
    path = folder / "checkpoints" / str(size)
    return path.read_bytes() if path.is_file() else None


def _is_of(kept: bytes | None, root: bytes) -> bool | None:
    if kept is None:
        return None
    return Checkpoint.parse(parse_note(kept).text).root == root


def _check_entry(services: Services, found: proof.SpineProof) -> CheckedEntry:
    """Compare a receipt's second part with this server's spine."""
    kept = _read_kept(_spine_folder(services), found.checkpoint.size)
    is_kept = _is_of(kept, found.checkpoint.root)
    # Witnesses may have spoken since the receipt was made: then their lines stand under
    # the kept checkpoint, and say nothing of the receipt's where that is another one.
    notes = [found.note, kept] if kept and is_kept else [found.note]
    return CheckedEntry(read_witnessed(read_policy(services), *notes), is_kept)


def _spine_folder(services: Services) -> Path:
    return services.ledger.public / SPINE_PATH


def check_receipt(services: Services, data: bytes) -> CheckedReceipt:
    """Verify a receipt under the published key of its log.

    Raises ReceiptNotValid, ReceiptNotOurs. Not checked, as on every receipt: the token
    itself and the rest of log and spine, which an audit does.
    """
    try:
        origin, extra = _read_origin(data)
        campaign = _find_campaign(origin)
        folder = services.ledger.public / campaign.path
        key = _read_key(folder)
        assert key is not None
        verdict = proof.verify_receipt(
            data,
            key,
            spine_key=_read_key(_spine_folder(services)),
            challenge=Challenge(
                issuer_name=services.book.get_issuer_name(
                    campaign.path, services.settings.host
                ),
                origin=origin,
                statement_sha256=bytes.fromhex(campaign.statement_sha256),
            ),
        )
        if verdict.spine is not None and not verdict.spine.is_signed:
            raise Fault("receipt-spine", "This instance has no spine.")
        kept = _is_of(_read_kept(folder, verdict.size), verdict.root)
        found = _check_entry(services, verdict.spine) if verdict.spine else None
    except Fault as fault:
        raise ReceiptNotValid(fault=fault.code) from fault
    state = services.ledger.get_log(origin).state.state_of(verdict.index)
    return CheckedReceipt(
        campaign=campaign,
        index=verdict.index,
        size=verdict.size,
        root_sha256=verdict.root.hex(),
        stance=verdict.stance,
        nonce=verdict.nonce or b"",
        w=extra[entry.SIGNATURE_SIZE :] if verdict.has_w else b"",
        state=state.name.lower() if state is not None else "unknown",
        is_kept=kept,
        entry=found,
    )
