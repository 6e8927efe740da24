"""Reading a receipt on the server, for browsers that cannot do it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from undersigned_verify import entry, proof
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey, parse_note
from undersigned_verify.token import Challenge

from undersigned.campaigns.data import Campaign
from undersigned.campaigns.queries import list_campaigns
from undersigned.kernel.errors import Refused
from undersigned.web.shared.services import Services


class ReceiptNotValid(Refused):
    """The file is no receipt, or proves nothing. ``fault``: the verifier's code."""

    code: ClassVar[str] = "receipt-not-valid"


class ReceiptNotOurs(Refused):
    """The receipt belongs to a log that this instance does not keep."""

    code: ClassVar[str] = "receipt-not-ours"


@dataclass(frozen=True, slots=True)
class CheckedReceipt:
    """What a receipt proves, and what this server's own log says today.

    ``state``: standing, held, withdrawn or removed. ``is_kept``: this server's kept
    checkpoint of that size has the same root; None where it keeps none of that size.
    ``w``: b"" where the file does not hold it.
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


def _is_kept(
    services: Services, campaign: Campaign, size: int, root: bytes
) -> bool | None:
    path = services.ledger.public / campaign.path / "checkpoints" / str(size)
    if not path.is_file():
        return None
    return Checkpoint.parse(parse_note(path.read_bytes()).text).root == root


def check_receipt(services: Services, data: bytes) -> CheckedReceipt:
    """Verify a receipt under the published key of its log.

    Raises ReceiptNotValid, ReceiptNotOurs. Not checked, as on every receipt: the token
    itself and the rest of the log, which an audit does.
    """
    try:
        origin, extra = _read_origin(data)
        campaign = _find_campaign(origin)
        published = services.ledger.public / campaign.path / "log.vkey"
        verdict = proof.verify_receipt(
            data,
            VerifierKey.parse(published.read_text().strip()),
            challenge=Challenge(
                issuer_name=services.book.get_issuer_name(
                    campaign.path, services.settings.host
                ),
                origin=origin,
                statement_sha256=bytes.fromhex(campaign.statement_sha256),
            ),
        )
        kept = _is_kept(services, campaign, verdict.size, verdict.root)
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
    )
