"""What the command line says about files that people keep: receipts and promises."""

from dataclasses import dataclass

from undersigned_verify.compare import Comparison
from undersigned_verify.cosignature import Cosignature
from undersigned_verify.count import State
from undersigned_verify.entry import STANCE_NAMES
from undersigned_verify.instant import describe_instant
from undersigned_verify.promise import PromiseVerdict
from undersigned_verify.proof import ReceiptVerdict, SpineProof
from undersigned_verify.report import describe_evidence, plain
from undersigned_verify.standing import Standing
from undersigned_verify.token import NO_PUBLIC

_STATES = {
    State.STANDING: "it stands and is counted",
    State.HELD: "it is held under a quarantine key and not counted",
    State.WITHDRAWN: "its signer has withdrawn it",
    State.REMOVED: "it was removed, by two approvals and with a reason in the log",
}


@dataclass(frozen=True)
class ReceiptFindings:
    """What was found about a receipt that holds."""

    receipt: ReceiptVerdict
    standing: Standing | None  # None where no log was given
    # Whose cosignatures of the receipt's spine checkpoint the policy counts.
    witnesses: tuple[Cosignature, ...] = ()
    # Whether they make the policy's quorum; None where no policy was given.
    is_witnessed: bool | None = None

    @property
    def verdict(self) -> str:
        """The word for it, as in an audit's report."""
        if self.is_witnessed is None:
            return "holds"
        return "holds and is witnessed" if self.is_witnessed else "holds, not witnessed"


def _list_checks(found: ReceiptFindings) -> tuple[list[str], list[str]]:
    """Return what was checked and what was not."""
    checked = [
        "the checkpoint in the file is signed by the key you gave",
        "the signature is in the log that this checkpoint describes",
    ]
    unchecked: list[str] = []
    if found.receipt.has_w:
        checked.append(
            "the secret in the file opens the signature: whoever holds this file can "
            "prove to be its author, and withdraw it while the campaign is open"
        )
    else:
        unchecked.append("who made the signature: the file holds no secret to prove it")
    standing = found.standing
    if standing is None:
        unchecked.append("the token behind the signature (give --log)")
        unchecked.append("whether it was withdrawn or removed since (give --log)")
    else:
        checked.append("the log has grown from that checkpoint and changed nothing")
        checked.append("the token behind the signature verifies under an announced key")
        checked.append(f"today's state: {_STATES[standing.state]}")
        unchecked.append("the tokens of all other signatures (run audit)")
    _list_spine_checks(found, checked, unchecked)
    return checked, unchecked


def _list_spine_checks(
    found: ReceiptFindings, checked: list[str], unchecked: list[str]
) -> None:
    """Add what was checked of the instance's spine, and what was not."""
    spine, standing = found.receipt.spine, found.standing
    if spine is None:
        unchecked.append(
            "that this checkpoint stands in the instance's spine: the file has no "
            "second proof"
        )
    elif not spine.is_signed:
        unchecked.append(
            "who signed the spine checkpoint in the file, which holds this checkpoint "
            "(give --spine-vkey)"
        )
    else:
        checked.append(
            "this checkpoint stands in the spine checkpoint in the file, signed by the "
            "spine's key"
        )
    if standing is not None and standing.spine is not None:
        checked.append("the log agrees with the spine beside it")
        if spine is not None:
            checked.append("that spine has grown from the one in the file")
    if found.is_witnessed:
        names = ", ".join(
            f"{plain(item.name)} at {describe_instant(item.time)}"
            for item in found.witnesses
        )
        checked.append(f"the spine checkpoint in the file was seen by {names}")
        unchecked.append(
            "that everyone is shown the same log since then (compare checkpoints)"
        )
    else:
        unchecked.append(
            "that everyone else is shown the same log (compare checkpoints, or give a "
            "--policy whose witnesses have)"
        )


def describe_receipt(found: ReceiptFindings) -> str:
    """Return the lines printed for a receipt that holds."""
    receipt, standing = found.receipt, found.standing
    checked, unchecked = _list_checks(found)
    lines = [
        f"The receipt {found.verdict}.",
        f"  log     {plain(receipt.origin)}",
        f"  leaf    {receipt.index:,} of {receipt.size:,}",
        f"  stance  {STANCE_NAMES[receipt.stance]}",
    ]
    if receipt.spine is not None:
        size = receipt.spine.checkpoint.size
        lines.append(f"  spine   leaf {receipt.spine.index:,} of {size:,}")
    if standing is not None:
        lines.append(f"  class   {standing.klass}")
        lines.append(f"  state   {standing.state.name.lower()}")
        lines.append(f"  newest  {standing.newest.size:,} leaves")
    lines.append("Checked:")
    lines += [f"  - {item}" for item in checked]
    lines.append("Not checked:")
    lines += [f"  - {item}" for item in unchecked]
    return "\n".join(lines)


def receipt_json(found: ReceiptFindings) -> dict[str, object]:
    """Return the same as plain values; null where only a log could tell."""
    receipt, standing = found.receipt, found.standing
    checked, unchecked = _list_checks(found)
    return {
        "verdict": found.verdict,
        "origin": receipt.origin,
        "index": receipt.index,
        "tree_size": receipt.size,
        "root_hash": receipt.root.hex(),
        "stance": STANCE_NAMES[receipt.stance],
        "shows_something": receipt.signature.public_hash != NO_PUBLIC,
        "authorship": receipt.has_w,
        "nonce": receipt.nonce.hex() if receipt.nonce is not None else None,
        "class": standing.klass if standing is not None else None,
        "state": standing.state.name.lower() if standing is not None else None,
        "newest_size": standing.newest.size if standing is not None else None,
        "spine": _spine_json(receipt.spine),
        "witnesses": [
            {"name": item.name, "time": item.time} for item in found.witnesses
        ],
        "checked": checked,
        "not_checked": unchecked,
    }


def _spine_json(spine: SpineProof | None) -> dict[str, object] | None:
    if spine is None:
        return None
    return {
        "origin": spine.checkpoint.origin,
        "index": spine.index,
        "tree_size": spine.checkpoint.size,
        "root_hash": spine.checkpoint.root.hex(),
        "signature_checked": spine.is_signed,
    }


def describe_promise(found: PromiseVerdict) -> str:
    """Return the lines printed for a promise that is not broken."""
    promise = found.promise
    lines = [
        "The promise is kept." if found.is_kept else "The promise is not yet due.",
        f"  log     {plain(promise.origin)}",
        f"  nonce   {promise.nonce.hex()}",
        f"  due     {describe_instant(promise.publish_by)}",
        f"  newest  {found.newest.size:,} leaves",
    ]
    if found.state is not None:
        lines.insert(4, f"  leaf    {found.index:,}: {_STATES[found.state]}")
        lines.append("It shows that the signature is there, not when it came.")
    else:
        lines.append(
            "The signature is not in the log. Keep the promise, and look again."
        )
    lines.append("Not checked: tokens, and that everyone is shown the same log.")
    return "\n".join(lines)


def promise_json(found: PromiseVerdict) -> dict[str, object]:
    """Return the same as plain values."""
    return {
        "verdict": "kept" if found.is_kept else "not yet due",
        "origin": found.promise.origin,
        "nonce": found.promise.nonce.hex(),
        "publish_by": found.promise.publish_by,
        "index": found.index,
        "state": found.state.name.lower() if found.state is not None else None,
        "newest_size": found.newest.size,
    }


def describe_comparison(found: Comparison) -> str:
    """Return the lines printed for two states of one log."""
    lines = [f"{plain(found.origin)}: {'FORK' if found.fault else found.verdict}"]
    for word, state in (("older", found.older), ("newer", found.newer)):
        lines.append(f"  {word}  {state.checkpoint.size:,} leaves, {plain(state.name)}")
    if found.reason:
        lines.append(f"  {plain(found.reason)}")
    if found.fault is not None:
        lines.append(f"  {plain(str(found.fault))}")
    return "\n".join([*lines, *describe_evidence(found.fault)])
