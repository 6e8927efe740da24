"""``undersigned witness …``: cosigning other people's logs, and being cosigned."""

from __future__ import annotations

import argparse
from pathlib import Path

from undersigned.cli.bare import BareContext
from undersigned.cli.output import print_result
from undersigned.cli.remote import ServerUnreachable, Values, run_remotely
from undersigned.cli.witness_jobs import WITNESS_JOBS
from undersigned.witness.operations import get_witness_key, trust_log
from undersigned.witness.policy import QuorumNotPossible


def run_witness_job(context: BareContext, name: str, values: Values) -> Values:
    """Run a job in the server's process, or here where no server answers.

    In the server's, which holds an opened keystore and tells its own threads.
    """
    data: Path = context.environment.data
    if (data / "control.sock").exists():
        try:
            return run_remotely(data, name, values, lambda _values: None)
        except ServerUnreachable:
            # Left by a server that was killed: nobody listens.
            pass
    witnessing = context.make_witnessing()
    try:
        return WITNESS_JOBS[name](witnessing, values)
    finally:
        witnessing.stop()


def serve(arguments: argparse.Namespace, context: BareContext) -> int:
    """Serve nothing but the witness, until a signal."""
    witnessing = context.make_witnessing()
    vkey = get_witness_key(witness=witnessing.witness)
    for log in arguments.trust:
        trust_log(witness=witnessing.witness, vkey=log)
    trusted = [log for log in witnessing.witness.store.list_logs() if log.trusted]

    def announce(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        print(f"\n  The witness listens on http://{shown}:{port}/witness")
        print(f"  It cosigns             {len(trusted)} logs, as")
        print(f"  {vkey}")
        print("  Stop it with Ctrl-C.\n", flush=True)

    context.serve_witness(witnessing, announce)
    return 0


def trust(arguments: argparse.Namespace, context: BareContext) -> int:
    """Cosign a log from now on; say what its operator must paste."""
    found = run_witness_job(context, "witness-trust", {"vkey": arguments.vkey})
    command = f"undersigned witness add {found['vkey']} {found['url']}"
    print_result(
        arguments,
        {**found, "command": command},
        f"{found['origin']} is cosigned from now on, from size {found['size']}.\n"
        f"Its operator runs this, on their side:\n\n  {command}\n",
    )
    return 0


def forget(arguments: argparse.Namespace, context: BareContext) -> int:
    """Cosign a log no more."""
    found = run_witness_job(context, "witness-forget", {"origin": arguments.origin})
    print_result(
        arguments,
        found,
        f"{found['origin']} is not cosigned any more. How far it had come is kept: if "
        "you trust it again, it goes on from there.",
    )
    return 0


def key(arguments: argparse.Namespace, context: BareContext) -> int:
    """Print the witness's key; with --new, of a new one."""
    found = run_witness_job(context, "witness-key", {"new": arguments.new})
    text = found["vkey"]
    if arguments.new:
        text = (
            f"{text}\nThe old key is destroyed. Whoever asks this witness must remove "
            "it and add it again:\n\n"
            f"  undersigned witness remove {found['witness']}\n"
            f"  undersigned witness add {found['vkey']} {found['url']}\n"
        )
    print_result(arguments, found, text)
    return 0


def list_(arguments: argparse.Namespace, context: BareContext) -> int:
    """List both sides; exit 1 if a log has forked or the witness cannot cosign."""
    found = run_witness_job(context, "witness-list", {})
    print_result(arguments, found, "\n".join(_tell(found)))
    forked = any(one["kind"] == "fork" for one in found["evidence"])
    return 1 if forked or found["trouble"] else 0


def _tell(found: Values) -> list[str]:
    lines = []
    if found["trouble"]:
        lines += [f"NOTHING IS COSIGNED: {found['trouble']}", ""]
    for one in found["evidence"]:
        what = (
            f"FORK: {one['origin']} has signed two states of one size."
            if one["kind"] == "fork"
            else f"NOT PROVEN: {one['origin']} has signed a state without a proof that "
            "it continues the one before."
        )
        lines += [what, "", one["ours"], one["theirs"]]
    lines.append(f"We cosign, as {found['name']}:")
    lines += [
        f"  {log['origin']}  size {log['size']}{_remark(log)}" for log in found["logs"]
    ] or ["  no log"]
    asked = f"{found['needed']} must have cosigned" if found["needed"] else "no quorum"
    lines.append(f"We are cosigned by ({asked}):")
    lines += [
        f"  {one['name']}  {one['standing']}  {one['url']}"
        + (f"  {one['detail']}" if one["detail"] else "")
        for one in found["witnesses"]
    ] or ["  nobody"]
    return lines


def _remark(log: Values) -> str:
    remark = "" if log["trusted"] else "  (no longer)"
    if log["claimed"] > log["size"]:
        remark += f"  (its log says that we had cosigned size {log['claimed']})"
    return remark


def add(arguments: argparse.Namespace, context: BareContext) -> int:
    """Ask a witness from now on."""
    values = {"vkey": arguments.vkey, "url": arguments.url}
    return _tell_quorum(arguments, run_witness_job(context, "witness-add", values))


def remove(arguments: argparse.Namespace, context: BareContext) -> int:
    """Ask a witness no more."""
    values = {"name": arguments.name}
    return _tell_quorum(arguments, run_witness_job(context, "witness-remove", values))


def quorum(arguments: argparse.Namespace, context: BareContext) -> int:
    """Say how many witnesses must have cosigned."""
    wanted: str | int = arguments.needed
    if wanted not in ("majority", "none"):
        digits = str(wanted)
        if not (digits.isascii() and digits.isdigit() and len(digits) < 4):
            raise QuorumNotPossible(quorum=digits[:20])
        wanted = int(digits)
    values = {"quorum": wanted}
    return _tell_quorum(arguments, run_witness_job(context, "witness-quorum", values))


def _tell_quorum(arguments: argparse.Namespace, found: Values) -> int:
    count, needed = len(found["witnesses"]), found["needed"]
    text = f"{count} witnesses; {needed or 'none'} of them must have cosigned."
    text += (
        " policy.txt is published."
        if found["policy_published"]
        else " policy.txt is published once there is a spine."
    )
    print_result(arguments, found, text)
    return 0
