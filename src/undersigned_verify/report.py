"""What the command line says about audits and faults, in plain words."""

from collections.abc import Mapping

from undersigned_verify.audit import AuditReport
from undersigned_verify.errors import Fault
from undersigned_verify.instant import describe_instant
from undersigned_verify.spine_audit import SpineReport


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
        f"  witness     {plain(item.name)}, {describe_instant(item.time)}"
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
