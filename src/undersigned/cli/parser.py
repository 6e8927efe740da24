"""The command line's shape. Answers ``--help`` without loading Django."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from typing import Any

ID = "the campaign's id"
APPROVER = "a pseudonym, published in the log"
PROPOSAL = "made by `removal propose`"
KEY_FILE = "the approver's own, outside the data directory"
NOTICES = (
    "issuer-key-leaked",
    "log-key-leaked",
    "keys-lost",
    "organiser-unreachable",
    "organiser-changed",
    "under-attack",
)
NOTICE = f"one of {', '.join(NOTICES)}: see docs/operate/emergencies.md"
SWITCHES = ("signing", "issuing", "mail", "open-class", "shown")
SWITCH = f"one of {', '.join(SWITCHES)}: see docs/operate/switches.md"
# The same as undersigned.safety.switches has; a test compares.
REASONS = ("attack", "maintenance", "legal-order", "leaked-key", "other")
WORKERS = "processes (default: one a core)"

Run = Callable[[argparse.Namespace, Any], int]


def _late(module: str, name: str) -> Run:
    """Return a runner that imports its command when it is run."""

    def run(arguments: argparse.Namespace, context: Any) -> int:
        found: Run = getattr(importlib.import_module(module), name)
        return found(arguments, context)

    return run


def _add(
    verbs: Any, verb: str, module: str, name: str, help_text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        verb, help=help_text, description=help_text
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_late(f"undersigned.cli.{module}", name))
    return parser


def _group(nouns: Any, noun: str, help_text: str) -> Any:
    parser = nouns.add_parser(noun, help=help_text, description=help_text)
    return parser.add_subparsers(dest="verb", required=True, metavar="VERB")


def positive(text: str) -> int:
    """Return a whole number above zero, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def not_negative(text: str) -> int:
    """Return a whole number from zero on, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return value


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = argparse.ArgumentParser(
        prog="undersigned",
        description="Campaigns that can be counted and checked. "
        "Settings come from the environment: docs/operate/settings.md.",
    )
    nouns = parser.add_subparsers(dest="noun", required=True, metavar="COMMAND")
    _add_serving(nouns)
    _add_campaigns(nouns)
    _add_notices(nouns)
    _add_switches(nouns)
    _add_moderation(nouns)
    _add_logs(nouns)
    _add_witness(nouns)
    _add_instance(nouns)
    _add_drills(nouns)
    _add_bench(nouns)
    return parser


def _add_serving(nouns: Any) -> None:
    serve = _add(nouns, "serve", "serving", "serve", "serve pages and signing")
    serve.add_argument("--bind", metavar="HOST:PORT", help="where to listen")
    serve.add_argument(
        "--standby",
        action="store_true",
        help="wait while another process serves this instance, then take its place",
    )
    demo = _add(
        nouns,
        "demo",
        "serving",
        "demo",
        "make the demonstration campaign, replay its figures, recount it, and serve",
    )
    demo.add_argument("--bind", metavar="HOST:PORT", help="where to listen")
    demo.add_argument("--workers", type=positive, metavar="N", help=WORKERS)
    demo.add_argument("--no-serve", action="store_true", help="stop after the recount")
    demo.set_defaults(mode_preset="demo")


def _add_campaigns(nouns: Any) -> None:
    verbs = _group(nouns, "campaign", "create, open, list, show and close campaigns")
    create = _add(verbs, "create", "campaigns", "create", "record a draft from a file")
    create.add_argument("file", metavar="FILE.toml", help="see examples/")
    open_ = _add(verbs, "open", "campaigns", "open_", "freeze the text and open")
    open_.add_argument("id", metavar="ID", help=ID)
    open_.add_argument(
        "--accept-unsealed-keys",
        action="store_true",
        help="open in danger mode although a seized disk would hold the keys",
    )
    _add(verbs, "list", "campaigns", "list_", "list every campaign, drafts too")
    show = _add(verbs, "show", "campaigns", "show", "show one with its text")
    show.add_argument("id", metavar="ID", help=ID)
    close = _add(verbs, "close", "campaigns", "close", "stop issuing, then close")
    close.add_argument("id", metavar="ID", help=ID)
    close.add_argument(
        "--reason",
        default="closed-by-organiser",
        metavar="CODE",
        help="published in the close leaf",
    )
    close.add_argument(
        "--retries-minutes", type=not_negative, help="not in production (default 60)"
    )
    close.add_argument(
        "--grace-minutes", type=not_negative, help="not in production (default 1440)"
    )
    succeed = _add(
        verbs,
        "hand-over",
        "notices",
        "hand_over_campaign",
        "make the successor whom the campaign file names its organiser",
    )
    succeed.add_argument("id", metavar="ID", help=ID)
    retire = _add(
        verbs,
        "retire",
        "campaigns",
        "retire",
        "end a closed log for good: nothing of it counts from now on",
    )
    retire.add_argument("id", metavar="ID", help=ID)
    verbs = _group(nouns, "issuance", "the record of who was given a token")
    reopen = _add(
        verbs,
        "reopen",
        "campaigns",
        "reopen_issuance",
        "issue again after the record was lost; the log says so for ever",
    )
    reopen.add_argument("id", metavar="ID", help=ID)
    verbs = _group(nouns, "invitation", "codes to hand out")
    make = _add(verbs, "make", "campaigns", "invite", "print fresh codes")
    make.add_argument("id", metavar="ID", help=ID)
    make.add_argument(
        "--count", type=positive, default=20, help="how many (default 20)"
    )


def _add_notices(nouns: Any) -> None:
    verbs = _group(nouns, "notice", "what you have to tell beside a campaign")
    for verb, name, text in (
        ("post", "post", "show a notice on the campaign's page"),
        ("take-down", "take_down", "show it no more"),
    ):
        notice = _add(verbs, verb, "notices", name, text)
        notice.add_argument("campaign", metavar="CAMPAIGN", help=ID)
        notice.add_argument("code", choices=NOTICES, metavar="CODE", help=NOTICE)


def _add_switches(nouns: Any) -> None:
    verbs = _group(nouns, "switch", "turn things off at once, and on again")
    _add(verbs, "list", "switches", "list_", "say what is off")
    for verb, text in (
        ("off", "turn something off; in force before the command returns"),
        ("on", "turn it on again"),
    ):
        flip = _add(verbs, verb, "switches", verb, text)
        flip.add_argument("name", choices=SWITCHES, metavar="NAME", help=SWITCH)
        flip.add_argument("--campaign", metavar="ID", help="this campaign only")
        flip.add_argument(
            "--reason",
            choices=REASONS,
            default="other",
            metavar="CODE",
            help=f"for the audit trail: {', '.join(REASONS)}",
        )


def _add_moderation(nouns: Any) -> None:
    verbs = _group(nouns, "approver", "keys of those who approve removals")
    new = _add(verbs, "new", "moderation", "new_approver", "make a key file")
    new.add_argument("id", metavar="ID", help=APPROVER)
    new.add_argument("--key-file", required=True, metavar="FILE", help=KEY_FILE)
    announce = _add(
        verbs, "announce", "moderation", "announce", "publish a public key in a log"
    )
    announce.add_argument("campaign", metavar="CAMPAIGN", help=ID)
    announce.add_argument("id", metavar="ID", help=APPROVER)
    announce.add_argument("public_key", metavar="PUBLIC_KEY", help="in base64")
    approve = _add(
        verbs, "approve", "moderation", "approve", "approve proposals with a key file"
    )
    approve.add_argument("proposal", nargs="+", metavar="PROPOSAL.json", help=PROPOSAL)
    approve.add_argument("--key-file", required=True, metavar="FILE", help=KEY_FILE)
    verbs = _group(nouns, "removal", "remove signatures, with reason and two approvals")
    propose = _add(verbs, "propose", "moderation", "propose", "write a proposal file")
    propose.add_argument("campaign", metavar="CAMPAIGN", help=ID)
    propose.add_argument(
        "--targets", required=True, metavar="12-19,30", help="leaf indices"
    )
    propose.add_argument("--reason", required=True, metavar="CODE", help="published")
    propose.add_argument("--case", required=True, metavar="FILE", help="hashed only")
    propose.add_argument(
        "--out", default="removal.json", metavar="FILE", help="where to write"
    )
    submit = _add(verbs, "submit", "moderation", "submit", "hand in approved proposals")
    submit.add_argument("proposal", nargs="+", metavar="PROPOSAL.json", help=PROPOSAL)
    verbs = _group(nouns, "record", "public records of a campaign")
    publish = _add(
        verbs, "publish", "moderation", "record", "put a file's hash in a log"
    )
    publish.add_argument("campaign", metavar="CAMPAIGN", help=ID)
    publish.add_argument("--kind", required=True, metavar="CODE", help="such as answer")
    publish.add_argument("file", metavar="FILE", help="hashed only")
    verbs = _group(nouns, "shown", "what signers chose to show")
    waiting = _add(verbs, "list", "moderation", "list_shown", "comments not yet read")
    waiting.add_argument("campaign", metavar="CAMPAIGN", help=ID)
    release = _add(verbs, "release", "moderation", "release_shown", "show a comment")
    release.add_argument("nonce", metavar="NONCE", help="of the signature, in hex")
    erase = _add(verbs, "erase", "moderation", "erase_shown", "erase a shown record")
    erase.add_argument("nonce", metavar="NONCE", help="of the signature, in hex")


def _add_logs(nouns: Any) -> None:
    verbs = _group(nouns, "export", "copies that open elsewhere")
    log = _add(verbs, "log", "exports", "export_log", "write one log for an auditor")
    log.add_argument("id", metavar="ID", help=ID)
    log.add_argument("dir", metavar="DIR", help="a new folder")
    audit = _add(nouns, "audit", "logs", "audit", "recount own logs, check the trail")
    audit.add_argument("id", nargs="?", metavar="ID", help="one campaign only")
    audit.add_argument("--workers", type=positive, metavar="N", help=WORKERS)
    replay = _add(nouns, "replay", "logs", "replay", "replay a published count series")
    replay.add_argument("series", metavar="SERIES.csv", help="rows time,total")
    replay.add_argument("--campaign", required=True, metavar="ID", help=ID)
    replay.add_argument("--limit", type=positive, metavar="N", help="stop after N")
    replay.add_argument("--workers", type=positive, metavar="N", help=WORKERS)
    replay.add_argument(
        "--approver-keys", metavar="DIR", help="default: DATA-approvers, beside DATA"
    )


def _add_witness(nouns: Any) -> None:
    verbs = _group(nouns, "witness", "cosign other people's logs, and be cosigned")

    def add(verb: str, name: str, help_text: str) -> argparse.ArgumentParser:
        parser = _add(verbs, verb, "witness", name, help_text)
        # Neither Django nor an engine: a witness is a small thing.
        parser.set_defaults(bare=True)
        return parser

    serve = add("serve", "serve", "serve nothing but the witness")
    serve.add_argument("--bind", metavar="HOST:PORT", help="where to listen")
    serve.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="VKEY",
        help="cosign this log, too; again for more",
    )
    trust = add("trust", "trust", "cosign a log; prints what its operator must paste")
    trust.add_argument("vkey", metavar="VKEY", help="of the log: its spine/log.vkey")
    forget = add("forget", "forget", "cosign a log no more")
    forget.add_argument("origin", metavar="ORIGIN", help="the log's, as listed")
    add("list", "list_", "list whom we cosign, who cosigns us, and any fork")
    key = add("key", "key", "print our key as a witness")
    key.add_argument(
        "--new",
        action="store_true",
        help="destroy it and make another: after a loss, a leak or a change of host",
    )
    ask = add("add", "add", "have our spine cosigned by this witness")
    ask.add_argument("vkey", metavar="VKEY", help="the witness's, from its operator")
    ask.add_argument("url", metavar="URL", help="where it is asked, from its operator")
    remove = add("remove", "remove", "ask a witness no more")
    remove.add_argument("name", metavar="NAME", help="the witness's, as listed")
    quorum = add("quorum", "quorum", "say how many of our witnesses must have cosigned")
    quorum.add_argument(
        "needed", metavar="N|majority|none", help="without the command: majority"
    )


def _add_instance(nouns: Any) -> None:
    _add(nouns, "doctor", "instance", "doctor", "say what is unsafe here")
    seal = _add(nouns, "seal", "instance", "seal", "wrap secrets under a passphrase")
    seal.add_argument(
        "--passphrase-file", required=True, metavar="FILE", help="16 characters or more"
    )
    backup = _add(
        nouns, "backup", "backup", "backup", "copy this instance, running or not"
    )
    backup.add_argument("dir", metavar="DIR", help="a new folder, not on this disk")
    restore = _add(
        nouns,
        "restore",
        "backup",
        "restore",
        "put a backup into an empty data directory",
    )
    restore.add_argument("dir", metavar="DIR", help="made by `backup`")
    # Nothing may be made in the data directory before it.
    restore.set_defaults(bare=True)
    recover = _add(
        nouns,
        "recover",
        "recover",
        "recover",
        "let a restored database go on from where the public has seen its logs",
    )
    recover.add_argument(
        "source",
        nargs="*",
        metavar="MIRROR",
        help="a folder or address with copies of the logs; name all that you can find",
    )
    recover.add_argument(
        "--nothing-published-since-backup",
        action="store_true",
        help="your word, for logs of which no mirror is left; wrong, it forks them",
    )
    recover.add_argument("--workers", type=positive, metavar="N", help=WORKERS)


# Each a module of undersigned.drills; named here so that --help loads none of them.
# In the order in which a failure says most: forms, then the log, then storage.
DRILLS = (
    *("vectors", "tamper", "double", "close", "clock", "promise", "order", "unlink"),
    *("witness", "flood"),
    *("faults", "disk", "power", "crash", "restore", "failover", "seize"),
)


def _add_bench(nouns: Any) -> None:
    text = "measure what this machine can do and what the product makes of it"
    bench = nouns.add_parser("bench", help=text, description=text)
    bench.add_argument(
        "names", nargs="*", metavar="NAME", help="of bench/README.md; without: all"
    )
    bench.set_defaults(run=_late("undersigned.cli.bench", "run_benches"), bare=True)


def _add_drills(nouns: Any) -> None:
    text = "attack an instance of its own and say what was found; yours is not touched"
    drill = nouns.add_parser("drill", help=text, description=text)
    drill.add_argument(
        "name", choices=(*DRILLS, "all"), metavar="NAME", help="a drill, or all"
    )
    drill.add_argument(
        "--full", action="store_true", help="the sizes that were promised, not CI's"
    )
    drill.add_argument(
        "--seed", type=not_negative, metavar="N", help="repeat a run's random choices"
    )
    drill.add_argument("--out", metavar="FILE", help="also write the JSON report here")
    drill.add_argument("--json", action="store_true", help="one JSON object on stdout")
    # Late and by name: drills stand above this package in the order of imports.
    drill.set_defaults(run=_late("undersigned.drills.command", "run_drills"), bare=True)
