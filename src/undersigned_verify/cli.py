"""``undersigned-verify``: audit logs; check receipts, promises, statements; compare.

Exit status: 0 accepted; 1 a fault was found; 2 wrong usage, or the input could not be
read; 3 (with ``--policy`` only) consistent, but not witnessed. Results go to
standard output, progress and complaints to standard error.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from undersigned_verify import __version__
from undersigned_verify.audit import (
    WITNESSED,
    InstanceReport,
    audit_logs,
    count_workers,
    find_shared_key,
    read_policy,
)
from undersigned_verify.compare import (
    CONSISTENT,
    FORK,
    NOT_CHECKED,
    compare,
    read_states,
)
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.instant import parse_instant
from undersigned_verify.note import VerifierKey, parse_note
from undersigned_verify.opening import open_header
from undersigned_verify.policy import MAX_POLICY, Policy
from undersigned_verify.progress import ProgressBar
from undersigned_verify.promise import MAX_PROMISE, Promise, check_promise
from undersigned_verify.proof import MAX_RECEIPT, verify_receipt
from undersigned_verify.report import (
    describe_audit,
    describe_evidence,
    describe_spine,
    plain,
)
from undersigned_verify.report_files import (
    ReceiptFindings,
    describe_comparison,
    describe_promise,
    describe_receipt,
    promise_json,
    receipt_json,
)
from undersigned_verify.source import find_instance, find_log, find_logs, find_spine
from undersigned_verify.spine import spine_origin
from undersigned_verify.standing import check_standing
from undersigned_verify.statement import (
    MAX_STATEMENT,
    check_characters,
    check_form,
    digest,
)

EXIT_ACCEPTED: Final = 0
EXIT_FAULT: Final = 1
EXIT_UNREADABLE: Final = 2
EXIT_UNWITNESSED: Final = 3
# What a shell reports for a program stopped by Ctrl-C.
EXIT_STOPPED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _make_parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        # Here, so that a reader who left is met here too.
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough (``| head``). What is still buffered
        # would fail again when the interpreter ends.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the end
        status = EXIT_STOPPED
    except Fault as fault:
        _print_refusal(options, fault)
        status = EXIT_FAULT
    except Unreadable as error:
        if options.json:
            _print_json({"verdict": "unreadable", "error": str(error)})
        _complain(str(error))
        status = EXIT_UNREADABLE
    except KeyboardInterrupt:
        _complain("stopped; nothing was decided.")
        status = EXIT_STOPPED
    return status


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="undersigned-verify",
        description="Recount Undersigned logs without trusting whoever runs them.",
        epilog="Exit status: 0 accepted; 1 a fault was found; 2 wrong usage or "
        "unreadable input; 3 (with --policy) consistent, not witnessed.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    audit = commands.add_parser("audit", help="recount one log or all of a root")
    audit.add_argument("target", metavar="DIR|URL", help="a root, or one log's folder")
    audit.add_argument("--log", metavar="c/ID", help="only this log of a root")
    audit.add_argument("--policy", metavar="FILE", help="a tlog-policy to be met")
    audit.set_defaults(run=_audit)

    receipt = commands.add_parser("receipt", help="check a receipt")
    receipt.add_argument("file", metavar="FILE")
    receipt.add_argument("--vkey", metavar="VKEY|FILE", required=True)
    receipt.add_argument(
        "--log", metavar="DIR|URL", help="also check the token and today's state"
    )
    receipt.add_argument("--spine-vkey", metavar="VKEY|FILE", help="the spine's key")
    receipt.add_argument("--policy", metavar="FILE", help="a tlog-policy to be met")
    receipt.set_defaults(run=_receipt)

    promise = commands.add_parser("promise", help="check whether a promise was kept")
    promise.add_argument("file", metavar="FILE")
    promise.add_argument("--log", metavar="DIR|URL", required=True)
    promise.add_argument("--vkey", metavar="VKEY|FILE", help="the log's key")
    promise.add_argument(
        "--at",
        metavar="TIME",
        type=_instant,
        help="when the log was read or copied, as 2026-11-21T08:00Z "
        "(default, for an address: now)",
    )
    promise.set_defaults(run=_promise)

    comparison = commands.add_parser("compare", help="look for a fork")
    for name in ("a", "b"):
        comparison.add_argument(
            name,
            metavar=name.upper(),
            help="a log's or root's folder or address, a checkpoint, or a receipt",
        )
    comparison.add_argument(
        "--vkey",
        metavar="VKEY|FILE",
        action="append",
        default=[],
        help="a log's key, where none is published beside it; may be repeated",
    )
    comparison.set_defaults(run=_compare)

    statement = commands.add_parser("statement", help="check a statement's bytes")
    statement.add_argument("file", metavar="FILE")
    against = statement.add_mutually_exclusive_group()
    against.add_argument("--log", metavar="DIR|URL", help="a log, or a root of logs")
    against.add_argument("--digest", metavar="HEX", help="the SHA-256 it should have")
    statement.set_defaults(run=_statement)

    for command in (audit, receipt, promise, comparison, statement):
        command.add_argument("--json", action="store_true", help="a report as JSON")
    for command in (audit, receipt, promise):
        command.add_argument(
            "--workers",
            type=_positive,
            default=count_workers(),
            metavar="N",
            help="processes that check (default: one a processor; 40 MB each)",
        )
        command.add_argument("--no-progress", action="store_true")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes")
    return int(text)


def _instant(text: str) -> int:
    try:
        return parse_instant(text)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time") from error


def _audit(options: argparse.Namespace) -> int:
    policy = _read_policy(options)
    logs, spine = find_instance(options.target, options.log)
    with _Bars(options) as bars:
        found = audit_logs(
            logs, spine=spine, workers=options.workers, begin=bars.begin, policy=policy
        )
    shared = find_shared_key(found.logs)
    status = _audit_status(found, shared, with_policy=policy is not None)
    if options.json:
        _print_json(
            {
                "verdict": WITNESSED
                if policy is not None and status == EXIT_ACCEPTED
                else _VERDICTS[status],
                "fault": shared.as_json() if shared is not None else None,
                "logs": [report.as_json() for report in found.logs],
                "spine": found.spine.as_json() if found.spine is not None else None,
            }
        )
        return status
    for report in found.logs:
        print(describe_audit(report))
    if found.spine is not None:
        print(describe_spine(found.spine))
    if shared is not None:
        print(f"REFUSED  {plain(str(shared))}")
    return status


_VERDICTS: Final = {
    EXIT_ACCEPTED: "accepted",
    EXIT_FAULT: "refused",
    EXIT_UNWITNESSED: "consistent, not witnessed",
}


def _audit_status(
    found: InstanceReport, shared: Fault | None, *, with_policy: bool
) -> int:
    faults = [shared, *(report.fault for report in found.logs)]
    if found.spine is not None:
        faults.append(found.spine.fault)
    if any(fault is not None for fault in faults):
        return EXIT_FAULT
    if not with_policy or (found.spine and found.spine.verdict == WITNESSED):
        return EXIT_ACCEPTED
    return EXIT_UNWITNESSED


def _receipt(options: argparse.Namespace) -> int:
    key = _read_vkey(options.vkey)
    data = _read_file(options.file, MAX_RECEIPT)
    policy = _read_policy(options)
    wanted = None if policy is None else read_policy(policy)
    receipt = verify_receipt(data, key)
    spine_key = _find_spine_key(options, receipt.origin, wanted)
    receipt = verify_receipt(data, key, spine_key=spine_key)
    standing = None
    if options.log is not None:
        source = find_log(options.log, receipt.origin.partition("/")[2])
        with _Bars(options) as bars:
            standing = check_standing(
                data,
                key,
                source,
                workers=options.workers,
                progress=bars.begin("log"),
                spine=find_spine(source),
                spine_key=spine_key,
            )
        receipt = standing.receipt
    found = ReceiptFindings(receipt, standing)
    if wanted is not None:
        found = _judge(found, wanted)
    if options.json:
        _print_json(receipt_json(found))
    else:
        print(describe_receipt(found))
    return EXIT_UNWITNESSED if found.is_witnessed is False else EXIT_ACCEPTED


def _find_spine_key(
    options: argparse.Namespace, origin: str, policy: Policy | None
) -> VerifierKey | None:
    """Return the spine's key as the user knows it, None where nothing says it."""
    if options.spine_vkey is not None:
        return _read_vkey(options.spine_vkey, "--spine-vkey")
    name = spine_origin(origin)
    logs = policy.logs if policy is not None else ()
    return next((party.key for party in logs if party.key.name == name), None)


def _judge(found: ReceiptFindings, policy: Policy) -> ReceiptFindings:
    """Say whether the receipt's spine checkpoint meets the policy."""
    spine = found.receipt.spine
    if spine is None or spine.key is None:
        return replace(found, is_witnessed=False)
    witnesses = policy.list_cosignatures(parse_note(spine.note))
    return replace(
        found,
        witnesses=tuple(witnesses.values()),
        is_witnessed=policy.is_witnessed(spine.key, witnesses.keys()),
    )


def _promise(options: argparse.Namespace) -> int:
    promise = Promise.parse(_read_file(options.file, MAX_PROMISE))
    key = None if options.vkey is None else _read_vkey(options.vkey)
    source = find_log(options.log, promise.origin.partition("/")[2])
    with _Bars(options) as bars:
        found = check_promise(
            promise,
            source,
            now=options.at,
            clock=int(time.time()),
            key=key,
            workers=options.workers,
            progress=bars.begin("log"),
        )
    if options.json:
        _print_json(promise_json(found))
    else:
        print(describe_promise(found))
    return EXIT_ACCEPTED


def _compare(options: argparse.Namespace) -> int:
    keys = [_read_vkey(text) for text in options.vkey]
    left, right = read_states(options.a), read_states(options.b)
    found = compare(left, right, keys)
    if not found:
        raise Unreadable("A and B are of different logs: there is nothing to compare.")
    status = EXIT_ACCEPTED
    if any(item.verdict == NOT_CHECKED for item in found):
        status = EXIT_UNREADABLE
    if any(item.verdict == FORK for item in found):
        status = EXIT_FAULT
    if options.json:
        verdicts = {
            EXIT_ACCEPTED: CONSISTENT,
            EXIT_UNREADABLE: NOT_CHECKED,
            EXIT_FAULT: FORK,
        }
        rows = [item.as_json() for item in found]
        _print_json({"verdict": verdicts[status], "logs": rows})
        return status
    for item in found:
        print(describe_comparison(item))
    print("Not checked: everything else about these logs (run audit).")
    return status


def _statement(options: argparse.Namespace) -> int:
    data = _read_file(options.file, MAX_STATEMENT)
    check_characters(check_form(data))
    found = digest(data)
    logs = []
    if options.digest is not None and options.digest.lower() != found:
        raise Fault("statement-mismatch", f"The file's digest is {found}.")
    if options.log is not None:
        for source in find_logs(options.log):
            header, _ = open_header(source)
            if header.statement_sha256 == found:
                logs.append(header.origin)
        if not logs:
            raise Fault("statement-mismatch", f"No log there signs {found}.")
    if options.json:
        _print_json({"verdict": "accepted", "sha256": found, "logs": logs})
        return EXIT_ACCEPTED
    print(f"sha256  {found}")
    print("form    UTF-8, NFC, lines ended by LF, no control or direction characters")
    for origin in logs:
        print(f"signed  in {plain(origin)}")
    if options.log is None and options.digest is None:
        print("Not compared with anything: give --log or --digest.")
    return EXIT_ACCEPTED


def _read_policy(options: argparse.Namespace) -> bytes | None:
    return None if options.policy is None else _read_file(options.policy, MAX_POLICY)


def _read_vkey(text: str, option: str = "--vkey") -> VerifierKey:
    """Return a key given as itself, or in a file of one line."""
    if Path(text).is_file():
        try:
            text = _read_file(text, 10_000).decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise Unreadable(f"The file given as {option} is not text.") from error
    try:
        return VerifierKey.parse(text)
    except Fault as fault:
        raise Unreadable(f"{option} is neither a key nor a file: {fault}") from fault


def _read_file(name: str, limit: int) -> bytes:
    try:
        with Path(name).open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror}") from error
    if len(data) > limit:
        raise Fault("file-too-large", path=name)
    return data


class _Bars:
    """One progress bar after another, on a terminal; none stays behind."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._shown = sys.stderr.isatty() and not options.no_progress
        self._bar: ProgressBar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.clear()

    def begin(self, label: str) -> ProgressBar | None:
        """Return the bar of what comes next."""
        if self._bar is not None:
            self._bar.clear()
        self._bar = ProgressBar(sys.stderr, plain(label)) if self._shown else None
        return self._bar


def _print_refusal(options: argparse.Namespace, fault: Fault) -> None:
    if options.json:
        _print_json({"verdict": "refused", "fault": fault.as_json()})
    else:
        print(f"REFUSED  {plain(str(fault))}")
        for line in describe_evidence(fault):
            print(line)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=True))


def _complain(text: str) -> None:
    print(f"undersigned-verify: {plain(text)}", file=sys.stderr)
