"""The doctor: what is unsafe on this instance, in order of harm."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from undersigned.campaigns.data import CampaignState, PublicationMode
from undersigned.campaigns.queries import list_all_campaigns
from undersigned.cli.context import Finding
from undersigned.config.database_doctor import examine_database
from undersigned.config.env import Environment
from undersigned.config.front_doctor import LOCAL, examine_front
from undersigned.config.objects import examine_objects
from undersigned.config.stream import examine_stream
from undersigned.kernel.clock import SystemClock
from undersigned.kernel.errors import StorageFailed
from undersigned.kernel.keystore import list_raw_secrets
from undersigned.witness.data import EvidenceKind
from undersigned.witness.policy import read_witness_list
from undersigned.witness.store import WitnessStore

LEAST_FREE_BYTES = 1 << 30
LEAST_FILES = 16_384


def examine(environment: Environment) -> list[Finding]:
    """Return every finding. Nothing is changed, and nobody asked but our own stores."""
    return [
        *_examine_files(environment),
        *_examine_secrets(environment),
        *examine_front(environment),
        *_examine_mail(environment),
        *_examine_machine(environment),
        *examine_database(environment),
        *examine_objects(environment),
        *examine_stream(environment),
        *_examine_witness(environment),
        *_examine_campaigns(environment),
    ]


def _examine_files(environment: Environment) -> Iterator[Finding]:
    open_to_others = [
        path
        for path in _private_paths(environment.data)
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_to_others:
        names = ", ".join(
            str(path.relative_to(environment.data)) or "."
            for path in open_to_others[:5]
        )
        yield Finding(
            "danger",
            "data-readable",
            f"other users of this machine can read the data directory: {names}",
        )
    else:
        yield Finding("ok", "data-private", "the data directory is its owner's alone")
    free = shutil.disk_usage(environment.data).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            "warning", "disk-nearly-full", f"only {free >> 20} MB of disk are free"
        )


def _private_paths(data: Path) -> Iterator[Path]:
    # The data directory itself: public/ below it is meant to be served, by us.
    yield data
    for name in ("secrets", "issuance"):
        for path in (data / name, *(data / name).rglob("*")):
            if path.exists():
                yield path
    for path in data.glob("*.sqlite3*"):
        yield path


def _examine_secrets(environment: Environment) -> Iterator[Finding]:
    folder = environment.data / "secrets"
    if (folder / "seal.json").exists():
        raw = list_raw_secrets(folder)
        if raw:
            yield Finding(
                "danger",
                "keys-half-sealed",
                f"{len(raw)} secrets lie unsealed beside sealed ones, {raw[0]} first: "
                "run `undersigned seal` again",
            )
        else:
            yield Finding("ok", "keys-sealed", "secrets are sealed under a passphrase")
        if environment.passphrase is None:
            yield Finding(
                "warning",
                "passphrase-missing",
                "no passphrase is given: signing stays closed, reads go on",
            )
        return
    level = "note" if environment.mode != "production" else "warning"
    yield Finding(
        level,
        "keys-unsealed",
        "secrets lie unsealed on disk: whoever takes this machine, even switched off, "
        "holds them. Seal them with `undersigned seal`",
    )


def _examine_mail(environment: Environment) -> Iterator[Finding]:
    if not environment.smtp_url:
        if environment.mode == "production":
            yield Finding(
                "warning", "no-mail", "no mail server is set: nobody can sign by e-mail"
            )
        else:
            yield Finding("note", "mailbox", "mails are shown on the mailbox page")
        return
    parts = urlsplit(environment.smtp_url)
    if parts.hostname in LOCAL:
        yield Finding(
            "warning",
            "local-mail-server",
            "mail goes through a server on this machine: its log lists signers' "
            "addresses and times unless you switch that off",
        )
    elif parts.scheme == "smtp":
        yield Finding(
            "danger",
            "mail-in-clear",
            "mail leaves unencrypted: use smtp+starttls or smtps",
        )
    else:
        yield Finding("ok", "mail-encrypted", "mail leaves encrypted")


def _examine_machine(environment: Environment) -> Iterator[Finding]:
    if (
        hasattr(os, "geteuid")
        and os.geteuid() == 0
        and environment.mode == "production"
    ):
        yield Finding("warning", "runs-as-root", "the server runs as root")
    try:
        swaps = Path("/proc/swaps").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        swaps = []
    if any("zram" not in line for line in swaps):
        yield Finding(
            "warning", "swap", "swap is on: memory with addresses may reach the disk"
        )
    if Path("/proc/sys/kernel/core_pattern").exists():
        import resource

        if resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
            yield Finding(
                "note",
                "core-dumps",
                "core dumps are on for this shell; the server switches its own off",
            )
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if 0 <= files < LEAST_FILES:
            yield Finding(
                "warning",
                "few-files",
                f"at most {files} files may be open: so many connections, held open, "
                "keep everybody else out (LimitNOFILE=65536 in the unit)",
            )
    if not environment.abuse_contact:
        yield Finding(
            "warning", "no-abuse-contact", "UNDERSIGNED_ABUSE_CONTACT is not set"
        )


def _examine_witness(environment: Environment) -> Iterator[Finding]:
    store = WitnessStore(environment.data)
    try:
        yield from _examine_cosigned(store)
        yield from _examine_our_witnesses(environment)
    except StorageFailed as error:
        yield Finding("danger", "witness-damaged", str(error))
    finally:
        store.close()


def _examine_cosigned(store: WitnessStore) -> Iterator[Finding]:
    trouble = store.find_trouble()
    if trouble is not None:
        yield Finding("danger", "witness-state-lost", f"nothing is cosigned: {trouble}")
    evidence = store.list_evidence()
    for level, kind, what in (
        ("danger", EvidenceKind.FORK, "have signed two states of one size"),
        ("warning", EvidenceKind.UNPROVEN, "have signed states without good proofs"),
    ):
        names = sorted({one.origin for one in evidence if one.kind is kind})
        if names:
            yield Finding(
                level,
                f"witness-{kind}",
                f"logs that we cosign {what}: {', '.join(names)}. Both checkpoints are "
                "in `undersigned witness list`: tell their operators, and others",
            )
    logs = store.list_logs()
    names = [log.origin for log in logs if log.claimed > log.size]
    if names:
        yield Finding(
            "warning",
            "witness-claimed",
            f"we do not remember cosigning what {', '.join(names)} say that we have: "
            "they err, or our state was put back from a copy. Then make a new key: "
            "`undersigned witness key --new`",
        )
    latest = SystemClock().now().timestamp() + 3600
    if any(log.time > latest for log in logs):
        yield Finding(
            "warning",
            "witness-clock",
            "our cosignatures bear a time to come, and will until it is reached: this "
            "machine's clock was wrong, or is",
        )


def _examine_our_witnesses(environment: Environment) -> Iterator[Finding]:
    found = read_witness_list(environment.data)
    if not found.witnesses and environment.mode == "production":
        yield Finding(
            "note",
            "no-witnesses",
            "nobody cosigns our spine: this instance could show two people two "
            "histories. See docs/operate/witnesses.md",
        )
    elif found.witnesses and not found.needed:
        yield Finding(
            "note", "no-quorum", "the policy names witnesses and asks for none of them"
        )
    elif found.witnesses:
        yield Finding(
            "ok",
            "witnessed",
            f"{found.needed} of {len(found.witnesses)} witnesses must have cosigned",
        )


def _examine_campaigns(environment: Environment) -> Iterator[Finding]:
    folder = environment.data / "secrets"
    sealed = (folder / "seal.json").exists() and not list_raw_secrets(folder)
    for campaign in list_all_campaigns():
        if campaign.state is CampaignState.DRAFT:
            continue
        if not campaign.origin.startswith(f"{environment.host}/"):
            yield Finding(
                "danger",
                "host-changed",
                f"{campaign.id} was opened as {campaign.origin}; this instance now "
                f"calls itself {environment.host}",
            )
        record = environment.data / "issuance" / f"{campaign.id}.sqlite3"
        if campaign.state is CampaignState.OPEN and not record.exists():
            yield Finding(
                "danger",
                "issuance-record-lost",
                f"{campaign.id} has lost its issuance record: nobody can ask to sign. "
                "Read docs/operate/backup-and-restore.md",
            )
        if campaign.mode is PublicationMode.DANGER and not sealed:
            yield Finding(
                "danger",
                "danger-unsealed",
                f"{campaign.id} is in danger mode and its keys lie unsealed",
            )
