"""What the command line says about an audit or a receipt, in plain words."""

from collections.abc import Mapping
from datetime import UTC, datetime

from undersigned_verify.audit import AuditReport
from undersigned_verify.count import State
from undersigned_verify.entry import STANCE_NAMES
from undersigned_verify.errors import Fault
from undersigned_verify.proof import ReceiptVerdict
from undersigned_verify.spine_audit import SpineReport
from undersigned_verify.standing import Standing
from undersigned_verify.token import NO_PUBLIC

_STATES = {
    State.STANDING: "it stands and is counted",
    State.HELD: "it is held under a quarantine key and not counted",
    State.WITHDRAWN: "its signer has withdrawn it",
    State.REMOVED: "it was removed, by two approvals and with a reason in the log",
}


def plain(text: str) -> str:
    """Return text that cannot steer a terminal, whoever wrote it."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def describe_audit(report: AuditReport) -> str:
    """Return the lines printed for one log."""
    name = plain(report.path or report.source)
    if report.fault is not None:
        lines = [f"{name}: REFUSED", f"  fault       {plain(str(report.fault))}"]
    else:
        lines = [f"{name}: {report.verdict}"]
    if report.origin is not None:
        lines.append(f"  origin      {plain(report.origin)}")
        lines.append(f"  checkpoint  {report.tree_size:,} leaves")
        lines.append(f"  root        {report.root_hash}")
    if report.totals is not None:
        lines += _describe_totals(report.totals)
    lines.append(
        f"  checked     {report.leaves:,} leaves, {report.tokens:,} tokens, "
        f"{report.checkpoints:,} kept checkpoints"
    )
    if report.spine is None:
        lines.append("  spine       none here to compare with")
    elif report.fault is None:
        lines.append("  spine       every kept checkpoint stands in it")
    return "\n".join([*lines, *describe_evidence(report.fault)])


def describe_spine(report: SpineReport) -> str:
    """Return the lines printed for an instance's spine."""
    lines = [f"spine: {'REFUSED' if report.fault is not None else report.verdict}"]
    if report.fault is not None:
        lines.append(f"  fault       {plain(str(report.fault))}")
    if report.origin is not None:
        lines.append(f"  origin      {plain(report.origin)}")
        lines.append(f"  checkpoint  {report.tree_size:,} leaves")
        lines.append(f"  root        {report.root_hash}")
    lines += [
        f"  witness     {plain(item.name)}, {describe_time(item.time)}"
        for item in report.witnesses
    ]
    others = len(report.not_compared)
    lines.append(
        f"  names       {_logs(report.campaigns)}, {others:,} of them not compared here"
    )
    lines.append(
        f"  checked     {report.leaves:,} leaves, "
        f"{report.checkpoints:,} kept checkpoints"
    )
    return "\n".join(lines)


def _logs(count: int) -> str:
    return f"{count:,} log" if count == 1 else f"{count:,} logs"


def describe_time(seconds: int) -> str:
    """Return seconds since 1970 as a time in UTC, or as they are where none fits."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s since 1970"


def describe_evidence(fault: Fault | None) -> list[str]:
    """Return the signed states that contradict each other, whole, to be kept."""
    lines = []
    for item in fault.evidence if fault is not None else ():
        lines.append(f"----- {plain(item.name)}")
        text = item.data.decode(errors="replace")
        lines += [plain(line) for line in text.removesuffix("\n").split("\n")]
    return [*lines, "-----"] if lines else []


def _describe_totals(totals: Mapping[str, object]) -> list[str]:
    return [
        f"  signed      {totals['signatures']:,} ever: {totals['held']:,} held, "
        f"{totals['withdrawals']:,} withdrawn, {totals['removals']:,} removed",
        f"  net         {totals['net']:,}: {_parts(totals['by_stance'])}",
        f"  by class    {_parts(totals['by_class'])}",
        f"  open        {totals['open_net']:,}, never added to the others",
        f"  paper       {totals['paper']:,} rows accepted",
    ]


def _parts(parts: object) -> str:
    assert isinstance(parts, Mapping)
    return ", ".join(f"{name} {count:,}" for name, count in parts.items())


def _list_checks(
    receipt: ReceiptVerdict, standing: Standing | None
) -> tuple[list[str], list[str]]:
    """Return what was checked and what was not."""
    checked = [
        "the checkpoint in the file is signed by the key you gave",
        "the signature is in the log that this checkpoint describes",
    ]
    unchecked = []
    if receipt.has_w:
        checked.append(
            "the secret in the file opens the signature: whoever holds this file can "
            "prove to be its author, and withdraw it while the campaign is open"
        )
    else:
        unchecked.append("who made the signature: the file holds no secret to prove it")
    if standing is None:
        unchecked.append("the token behind the signature (give --log)")
        unchecked.append("whether it was withdrawn or removed since (give --log)")
    else:
        checked.append("the log has grown from that checkpoint and changed nothing")
        checked.append("the token behind the signature verifies under an announced key")
        checked.append(f"today's state: {_STATES[standing.state]}")
        unchecked.append("the tokens of all other signatures (run audit)")
    unchecked.append("that everyone else is shown the same log (compare checkpoints)")
    return checked, unchecked


def describe_receipt(receipt: ReceiptVerdict, standing: Standing | None) -> str:
    """Return the lines printed for a receipt that holds."""
    checked, unchecked = _list_checks(receipt, standing)
    lines = [
        "The receipt holds.",
        f"  log     {plain(receipt.origin)}",
        f"  leaf    {receipt.index:,} of {receipt.size:,}",
        f"  stance  {STANCE_NAMES[receipt.stance]}",
    ]
    if standing is not None:
        lines.append(f"  class   {standing.klass}")
        lines.append(f"  state   {standing.state.name.lower()}")
        lines.append(f"  newest  {standing.newest.size:,} leaves")
    lines.append("Checked:")
    lines += [f"  - {item}" for item in checked]
    lines.append("Not checked:")
    lines += [f"  - {item}" for item in unchecked]
    return "\n".join(lines)


def receipt_json(
    receipt: ReceiptVerdict, standing: Standing | None
) -> dict[str, object]:
    """Return the same as plain values; null where only a log could tell."""
    checked, unchecked = _list_checks(receipt, standing)
    return {
        "verdict": "holds",
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
        "checked": checked,
        "not_checked": unchecked,
    }
