"""Looking again at what other processes have pooled, before it is published.

Web nodes add to the pool as a role of the database's. Whoever takes one over has that
role's password, and could add anything: a leaf without a token would make the log
invalid for ever, made-up ones would be a crowd for a signer to hide in, and words
beside a good one could be anybody's. What ``redeem`` has looked at is looked at here.
"""

from __future__ import annotations

from functools import lru_cache

from undersigned_verify import canonical, entry, token
from undersigned_verify.errors import Fault

from undersigned.kernel.errors import UndersignedError
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.open_log import OpenLog
from undersigned.signatures.data import ShownInput
from undersigned.signatures.operations.redeem import SHOWN_MEMBERS, clean_shown


@lru_cache(maxsize=256)
def _load_key(spki: bytes) -> token.TokenKey:
    return token.TokenKey(spki)


def is_as_redeemed(*, log: OpenLog, pooled: PooledSignature) -> bool:
    """Say whether a row of the pool is what ``redeem`` would have put there.

    One PSS verification. Stances are the log's, not the campaign's: which of them
    it offers is no rule of the log.
    """
    try:
        leaf = entry.parse(pooled.leaf)
        if not isinstance(leaf, entry.Signature):
            return False
        log.state.check(leaf)
    except Fault:
        return False
    digest = log.state.challenge.digest
    nonce = token.nonce(
        digest, leaf.stance, leaf.public_hash, leaf.withdraw_hash, leaf.r
    )
    if nonce != pooled.nonce:
        return False
    key = _load_key(log.state.keys[leaf.key_index].spki)
    message = token.token_input(nonce, digest, key.key_id)
    if not key.verify(message, leaf.authenticator):
        return False
    return pooled.shown is None or _is_shown_by(pooled.shown, leaf.public_hash)


def _is_shown_by(data: bytes, public_hash: bytes) -> bool:
    """Say whether a record is what the signer's hash covers, and may be shown."""
    try:
        found = canonical.parse(data)
    except Fault:
        return False
    if not isinstance(found, dict) or found.keys() != SHOWN_MEMBERS | {"salt"}:
        return False
    texts = {name: value for name, value in found.items() if isinstance(value, str)}
    if len(texts) != len(found):
        return False
    salt = texts.pop("salt")
    try:
        clean = clean_shown(ShownInput(**texts))
        return clean == texts and token.public_hash(bytes.fromhex(salt), texts) == (
            public_hash
        )
    except (ValueError, Fault, UndersignedError):
        return False
