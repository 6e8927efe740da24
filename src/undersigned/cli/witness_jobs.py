"""Jobs on both sides of witnessing: plain values in, plain values out.

They run in the server's process where one runs, and in the command's own where none
does: what they change is guarded by lock files, not by the writer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from undersigned.cli.remote import Values
from undersigned.witness.data import OurWitness, Standing
from undersigned.witness.operations import (
    forget_log,
    get_witness_key,
    replace_witness_key,
    trust_log,
)
from undersigned.witness.policy import (
    WitnessList,
    add_witness,
    read_witness_list,
    remove_witness,
    set_quorum,
)
from undersigned.witness.witnessing import Witnessing

WitnessJob: TypeAlias = Callable[[Witnessing, Values], Values]


def trust_job(witnessing: Witnessing, values: Values) -> Values:
    """Trust a log; return what its operator must be told."""
    log = trust_log(witness=witnessing.witness, vkey=values["vkey"])
    return {"origin": log.origin, "size": log.size, **key_job(witnessing, {})}


def key_job(witnessing: Witnessing, values: Values) -> Values:
    """Return our key as a witness and our address; with ``new``, of a new key."""
    make = replace_witness_key if values.get("new") else get_witness_key
    return {
        "witness": witnessing.witness.name,
        "vkey": make(witness=witnessing.witness),
        "url": witnessing.submission_url,
    }


def forget_job(witnessing: Witnessing, values: Values) -> Values:
    """Cosign a log no more."""
    forget_log(witness=witnessing.witness, origin=values["origin"])
    return {"origin": values["origin"]}


def list_job(witnessing: Witnessing, _values: Values) -> Values:
    """Return all that there is on both sides."""
    store = witnessing.witness.store
    return {
        "name": witnessing.witness.name,
        "url": witnessing.submission_url,
        "trouble": witnessing.witness.find_trouble(),
        "logs": [
            {
                "origin": log.origin,
                "vkey": log.vkey,
                "trusted": log.trusted,
                "size": log.size,
                "root": log.root.hex(),
                "claimed": log.claimed,
            }
            for log in store.list_logs()
        ],
        "evidence": [
            {
                "origin": found.origin,
                "kind": str(found.kind),
                "ours": found.ours.decode(),
                "theirs": found.theirs.decode(),
            }
            for found in store.list_evidence()
        ],
        **_describe(witnessing, read_witness_list(witnessing.folder)),
    }


def add_job(witnessing: Witnessing, values: Values) -> Values:
    """Ask a witness from now on."""
    found = add_witness(
        folder=witnessing.folder,
        host=witnessing.host,
        vkey=values["vkey"],
        url=values["url"],
    )
    return _follow(witnessing, found)


def remove_job(witnessing: Witnessing, values: Values) -> Values:
    """Ask a witness no more."""
    found = remove_witness(folder=witnessing.folder, name=values["name"])
    return _follow(witnessing, found)


def quorum_job(witnessing: Witnessing, values: Values) -> Values:
    """Say how many witnesses must have cosigned."""
    found = set_quorum(folder=witnessing.folder, quorum=values["quorum"])
    return _follow(witnessing, found)


def _follow(witnessing: Witnessing, found: WitnessList) -> Values:
    return {
        "policy_published": witnessing.take_list(),
        **_describe(witnessing, found),
    }


def _describe(witnessing: Witnessing, found: WitnessList) -> Values:
    feeder = witnessing.feeder
    reports = (
        {report.name: report for report in feeder.list_reports()} if feeder else {}
    )

    def describe(witness: OurWitness) -> Values:
        report = reports.get(witness.name)
        return {
            "name": witness.name,
            "url": witness.url,
            "vkey": witness.key.vkey,
            "standing": str(report.standing if report else Standing.UNKNOWN),
            "size": report.size if report else None,
            "detail": report.detail if report else "",
        }

    return {
        "witnesses": [describe(witness) for witness in found.witnesses],
        "quorum": found.quorum,
        "needed": found.needed,
    }


WITNESS_JOBS: dict[str, WitnessJob] = {
    "witness-trust": trust_job,
    "witness-forget": forget_job,
    "witness-key": key_job,
    "witness-list": list_job,
    "witness-add": add_job,
    "witness-remove": remove_job,
    "witness-quorum": quorum_job,
}
