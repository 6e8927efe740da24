"""``vectors``: what the authors of the formats published, and a live second signer.

The files lie beside the checkout and are not ours to commit. Where they are absent the
drill says so and passes; in CI (``UNDERSIGNED_CI=1``) that is a failure.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from undersigned_verify import entry, merkle, note, tile, token
from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.errors import Fault

from undersigned.credentials import client
from undersigned.credentials.rsa import BlindSigner
from undersigned.drills import signer as signing
from undersigned.drills.campaign import write_campaign
from undersigned.drills.checkout import ROOT, find_shared, in_ci
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import KeyFacts, Signer
from undersigned.drills.site import Site, get
from undersigned.drills.stage import open_stage

TILES_VKEY: Final = (
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
)
# Go's sumdb example: two keys, one note.
NOTE_VKEYS: Final = (
    "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop",
)
NOTE: Final = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXg"
    "KvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01"
    "oOTGwnWLox33WWd1RvMc+QQ=\n"
).encode()
FOO_VKEY: Final = (
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
)


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("vectors")
    _try_notes(report)
    for name, attempt in {
        "rfc9474": _try_rfc9474,
        "rfc9578": _try_rfc9578,
        "merkle-proofs": _try_proofs,
        "tlog-tiles": _try_tiles,
    }.items():
        folder = find_shared("vectors", name)
        if folder is None:
            leave_out(report, f"../shared/vectors/{name} is not beside the checkout")
        else:
            attempt(folder, report)
    _try_browser_client(options, report)
    return report.as_json()


def leave_out(report: Report, reason: str) -> None:
    """Skip something; in CI, where everything must be there, fail instead."""
    if in_ci():
        report.check(reason, False, "UNDERSIGNED_CI=1, so this is a failure")
    else:
        report.skip(reason)


def _count(report: Report, name: str, outcomes: list[tuple[str, bool]]) -> None:
    wrong = [what for what, right in outcomes if not right]
    report.figures[name] = len(outcomes)
    report.check(
        f"{name}: {len(outcomes)} vectors",
        bool(outcomes) and not wrong,
        f"wrong: {wrong}" if wrong else "",
    )


def _refuses(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except Fault:
        return True
    return False


# --- published vectors


def _try_rfc9474(folder: Path, report: Report) -> None:
    outcomes = []
    for vector in json.loads((folder / "appendix-a.json").read_bytes()):
        value = {k: v if k == "name" else bytes.fromhex(v) for k, v in vector.items()}
        n, e, d = (int.from_bytes(value[name]) for name in ("n", "e", "d"))
        size = len(value["n"])
        encoded = client.encode_pss(
            value["prepared_msg"], value["salt"], n.bit_length()
        )
        inverse = int.from_bytes(value["inv"])
        blinded = int.from_bytes(encoded) * pow(pow(inverse, -1, n), e, n) % n
        signed = pow(blinded, d, n)
        final = (signed * inverse % n).to_bytes(size)
        name = vector["name"]
        outcomes += [
            (f"{name} encoded_msg", encoded == value["encoded_msg"]),
            (f"{name} blinded_msg", blinded.to_bytes(size) == value["blinded_msg"]),
            (f"{name} blind_sig", signed.to_bytes(size) == value["blind_sig"]),
            (f"{name} sig", final == value["sig"]),
            (f"{name} verifies", _verifies(n, e, value, final)),
        ]
    _count(report, "RFC 9474 appendix A", outcomes)


def _verifies(n: int, e: int, value: dict[str, bytes], signature: bytes) -> bool:
    public = rsa.RSAPublicNumbers(e, n).public_key()
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), len(value["salt"]))
    try:
        public.verify(signature, value["prepared_msg"], scheme, hashes.SHA384())
    except InvalidSignature:
        return False
    return True


def _try_rfc9578(folder: Path, report: Report) -> None:
    outcomes = []
    for number, vector in enumerate(
        json.loads((folder / "type-2.json").read_bytes()), start=1
    ):
        value = {name: bytes.fromhex(text) for name, text in vector.items()}
        private = load_pem_private_key(value["skS"], password=None)
        signer = BlindSigner(
            private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        )
        digest = hashlib.sha256(value["token_challenge"]).digest()
        message = token.token_input(value["nonce"], digest, signer.key_id)
        encoded = client.encode_pss(message, value["salt"], signer.n.bit_length())
        blind = int.from_bytes(value["blind"])
        blinded = int.from_bytes(encoded) * pow(blind, 65537, signer.n) % signer.n
        request = b"\x00\x02" + signer.key_id[-1:] + blinded.to_bytes(256)
        response = signer.blind_sign(request[3:])
        inverse = pow(blind, -1, signer.n)
        final = (int.from_bytes(response) * inverse % signer.n).to_bytes(256)
        outcomes += [
            (f"{number} SPKI", signer.spki == value["pkS"]),
            (f"{number} parsed SPKI", token.parse_spki(value["pkS"]) == signer.n),
            (f"{number} TokenRequest", request == value["token_request"]),
            (f"{number} TokenResponse", response == value["token_response"]),
            (f"{number} Token", message + final == value["token"]),
            (f"{number} verifies", token.TokenKey(signer.spki).verify(message, final)),
        ]
    _count(report, "RFC 9578 type 2", outcomes)


def _decode(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def _try_proofs(folder: Path, report: Report) -> None:
    outcomes = []
    for path in sorted(folder.rglob("*.json")):
        case = json.loads(path.read_bytes())
        proof = [_decode(one) for one in case["proof"] or []]
        refused = _refuses(partial(_prove, case, proof))
        outcomes.append((str(path.relative_to(folder)), refused == case["wantErr"]))
    _count(report, "RFC 6962 proofs", outcomes)


def _prove(case: dict[str, Any], proof: list[bytes]) -> None:
    if "leafIdx" in case:
        merkle.verify_inclusion(
            leaf_hash=_decode(case["leafHash"]),
            index=case["leafIdx"],
            size=case["treeSize"],
            proof=proof,
            root=_decode(case["root"]),
        )
        return
    merkle.verify_consistency(
        old_size=case["size1"],
        new_size=case["size2"],
        old_root=_decode(case["root1"]),
        new_root=_decode(case["root2"]),
        proof=proof,
    )


def _try_tiles(folder: Path, report: Report) -> None:
    key = note.VerifierKey.parse(TILES_VKEY)
    outcomes = []
    for path in sorted(folder.glob("checkpoint.*")):
        found = open_checkpoint(path.read_bytes(), key)
        frontier = merkle.Frontier()
        hashed: list[bytes] = []
        for n, width in tile.bundles_of(found.size):
            data = (folder / tile.tile_path("entries", n, width)).read_bytes()
            hashed += [merkle.leaf_hash(leaf) for leaf in tile.parse_bundle(data)]
        frontier.extend(hashed)
        same = all(
            (folder / tile.tile_path(level, n, width)).read_bytes()
            == b"".join(hashed[n * tile.WIDTH : n * tile.WIDTH + width])
            for level, n, width in tile.tiles_of(found.size)
        )
        outcomes.append((path.name, same and frontier.root() == found.root))
    _count(report, "tlog-tiles checkpoints", outcomes)


def _try_notes(report: Report) -> None:
    parsed = note.parse_note(NOTE)
    keys = [note.VerifierKey.parse(vkey) for vkey in NOTE_VKEYS]
    foreign = note.VerifierKey.parse(FOO_VKEY)
    altered = note.parse_note(NOTE.replace(b"answer", b"Answer"))
    outcomes = [
        (key.name, not _refuses(partial(note.verify_note, parsed, key))) for key in keys
    ]
    outcomes += [
        (
            f"{key.name}, altered",
            _refuses(partial(note.verify_note, altered, key)),
        )
        for key in keys
    ]
    outcomes.append(
        ("a key that did not sign", _refuses(lambda: note.verify_note(parsed, foreign)))
    )
    _count(report, "signed notes", outcomes)


# --- a live signer in another language


class BrowserClient:
    """``client/interop.mjs`` in node: asked and answered in lines of JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **request: Any) -> Values:
        """Return the answer to one request."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("node was started without pipes")
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        found: Values = json.loads(stdout.readline())
        return found


@contextmanager
def open_browser_client(node: str) -> Iterator[BrowserClient]:
    """Start the browser client's arithmetic in node."""
    with subprocess.Popen(
        [node, "interop.mjs"],
        cwd=ROOT / "client",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield BrowserClient(process)
        finally:
            process.kill()


def _try_browser_client(options: Options, report: Report) -> None:
    node = shutil.which("node")
    if not (ROOT / "client" / "interop.mjs").exists():
        leave_out(report, "client/interop.mjs is not beside this package")
        return
    if node is None:
        leave_out(report, "node is not installed, so no second signer can run")
        return
    if not (ROOT / "client" / "node_modules" / "@cloudflare").exists():
        leave_out(report, "client/node_modules is missing: run make client")
        return
    with open_stage() as stage, open_browser_client(node) as browser:
        campaign = stage.open_campaign(write_campaign("vectors"))
        asyncio.run(
            _sign_by_browser(stage.site, campaign.path, browser, options, report)
        )


async def _sign_by_browser(
    site: Site, path: str, browser: BrowserClient, options: Options, report: Report
) -> None:
    """JS blinds, Python issues over HTTP, JS unblinds, Python redeems and verifies."""
    key = (await signing.read_keys(site, path))["email"]
    statement = (await get(site, f"/{path}/statement")).body
    digest = browser.ask(
        op="challenge",
        issuer_name=key.origin.partition("/")[0],
        origin=key.origin,
        statement_sha256=hashlib.sha256(statement).hexdigest(),
    )
    report.check(
        "the browser's challenge digest is the log's",
        digest.get("challenge_digest") == key.challenge_digest.hex(),
        digest,
    )
    rng = random.Random(options.seed)
    rounds = options.pick(tiny=1, ci=10, full=100)
    for lib in ("undersigned", "blindrsa"):
        outcomes = []
        for number in range(rounds):
            signer = Signer(
                f"{lib}-{number}@example.org",
                shown=rng.choice([None, {"name": "阿莎", "place": "Riverside"}]),
                stance=rng.randrange(3),
            )
            found = await _sign_once(site, key, browser, lib, signer)
            outcomes.append((f"{number}: {found}", not found))
        _count(report, f"live tokens, JS ({lib}) → Python → JS", outcomes)


async def _sign_once(
    site: Site, key: KeyFacts, browser: BrowserClient, lib: str, signer: Signer
) -> str:
    """Return what went wrong, or an empty string."""
    ticket = await signing.get_ticket_by_email(
        site, key.path.removeprefix("c/"), signer
    )
    made = browser.ask(
        op="prepare",
        spki=base64.b64encode(key.spki).decode(),
        challenge_digest=key.challenge_digest.hex(),
        stance=signer.stance,
        shown=signer.shown,
        key_index=key.key_index,
        lib=lib,
    )
    if "error" in made:
        return f"prepare: {made['error']}"
    request = base64.b64decode(made["request"])
    answer = await signing.request_token(site, key, ticket, request)
    if answer.status != 200:
        return f"issue: {answer.said}"
    damaged = answer.body[:-1] + bytes([answer.body[-1] ^ 1])
    bad = browser.ask(
        op="finalize",
        state=made["state"],
        blind_sig=base64.b64encode(damaged).decode(),
    )
    if "error" not in bad:
        return "a damaged blind signature was accepted by the browser"
    done = browser.ask(
        op="finalize",
        state=made["state"],
        blind_sig=base64.b64encode(answer.body).decode(),
    )
    if "error" in done:
        return f"finalize: {done['error']}"
    leaf = entry.parse(bytes.fromhex(done["leaf"]))
    message = bytes.fromhex(done["token_input"])
    authenticator = base64.b64decode(done["authenticator"])
    if not isinstance(leaf, entry.Signature) or leaf.authenticator != authenticator:
        return "the leaf is not the signature"
    nonce = token.nonce(
        key.challenge_digest,
        leaf.stance,
        leaf.public_hash,
        leaf.withdraw_hash,
        leaf.r,
    )
    expected = token.token_input(nonce, key.challenge_digest, token.key_id(key.spki))
    if nonce.hex() != done["nonce"] or message != expected:
        return "nonce or token input differ"
    if token.withdraw_hash(bytes.fromhex(done["w"])) != leaf.withdraw_hash:
        return "w does not open the leaf"
    if not token.TokenKey(key.spki).verify(message, authenticator):
        return "the token does not verify"
    body = json.dumps(done["body"]).encode()
    redeemed = await signing.post_json(site, f"/{key.path}/sign", body)
    return "" if redeemed.status == 200 else f"sign: {redeemed.said}"
