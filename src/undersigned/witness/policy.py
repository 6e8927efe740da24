"""Our witnesses and the quorum: ``witnesses.json``, and the policy that it makes.

``{"quorum": "majority"|"none"|N, "witnesses": [{"url": …, "vkey": …}]}`` in the data
directory is what the operator has chosen; ``policy.txt`` under the public root (C2SP
tlog-policy) is made from it and from the spine's key. An auditor should keep a copy: a
policy that is fetched together with what it judges is the instance's own word.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from undersigned_verify.cosignature import parse_witness_key
from undersigned_verify.errors import Fault
from undersigned_verify.policy import parse_policy

from undersigned.kernel.durable import (
    make_private_folder,
    write_atomic,
    write_durable,
)
from undersigned.kernel.errors import Conflict, NotFound, Refused, StorageFailed
from undersigned.witness.data import OurWitness
from undersigned.witness.operations import MAX_VKEY, OwnLog, VKeyNotValid

WITNESSES: Final = "witnesses.json"
LOCK: Final = "witnesses.lock"
POLICY: Final = "policy.txt"
GROUP: Final = "witnesses"
# C2SP asks readers of policies for 32 at least.
MAX_WITNESSES: Final = 32
MAX_URL: Final = 400

Quorum: TypeAlias = int | Literal["majority", "none"]


class WitnessURLNotValid(Refused):
    """Not http or https, a host, and a path without query."""

    code: ClassVar[str] = "witness-url-not-valid"


class WitnessListed(Conflict):
    """This key, or one under this name, is a witness of ours already."""

    code: ClassVar[str] = "witness-listed"


class WitnessNotListed(NotFound):
    """We have no witness of this name."""

    code: ClassVar[str] = "witness-not-listed"


class TooManyWitnesses(Refused):
    """More than readers of a policy must be able to read."""

    code: ClassVar[str] = "too-many-witnesses"


class QuorumNotPossible(Refused):
    """No quorum of that many can be made of these witnesses."""

    code: ClassVar[str] = "quorum-not-possible"


@dataclass(frozen=True, slots=True)
class WitnessList:
    """What ``witnesses.json`` says; witnesses by name."""

    witnesses: tuple[OurWitness, ...] = ()
    quorum: Quorum = "majority"

    @property
    def needed(self) -> int:
        """How many must have cosigned; 0 asks for none."""
        if self.quorum == "none" or not self.witnesses:
            return 0
        if self.quorum == "majority":
            return len(self.witnesses) // 2 + 1
        return self.quorum


def read_witness_list(folder: Path) -> WitnessList:
    """Return our witnesses; none where no file is. Raises StorageFailed."""
    path = folder / WITNESSES
    try:
        found = json.loads(path.read_bytes())
        witnesses = tuple(
            OurWitness(parse_witness_key(one["vkey"]), parse_url(one["url"]))
            for one in found["witnesses"]
        )
        return _require_possible(WitnessList(witnesses, found["quorum"]))
    except FileNotFoundError:
        return WitnessList()
    except (
        *(OSError, ValueError, TypeError, KeyError, AttributeError),
        *(Fault, WitnessURLNotValid, QuorumNotPossible),
    ) as error:
        raise StorageFailed(f"couldn't read {path}: {error}") from error


def add_witness(*, folder: Path, host: str, vkey: str, url: str) -> WitnessList:
    """Ask this witness from now on; return the whole list.

    Raises VKeyNotValid, WitnessURLNotValid, OwnLog, WitnessListed, TooManyWitnesses,
    StorageFailed.
    """
    try:
        if len(vkey) > MAX_VKEY:
            raise Fault("vkey-form", "The key is too long.")
        key = parse_witness_key(vkey)
        if key.name in (GROUP, "none"):
            raise Fault("vkey-form", "That name means something else in a policy.")
    except Fault:
        raise VKeyNotValid(problem="not a witness's NAME+HASH+KEY") from None
    if key.name == f"{host}/witness":
        raise OwnLog(name=key.name)
    added = OurWitness(key, parse_url(url))
    with _alone(folder):
        found = read_witness_list(folder)
        if any(
            one.name == key.name or one.key.public == key.public
            for one in found.witnesses
        ):
            raise WitnessListed(name=key.name)
        if len(found.witnesses) >= MAX_WITNESSES:
            raise TooManyWitnesses(most=MAX_WITNESSES)
        witnesses = sorted((*found.witnesses, added), key=lambda one: one.name)
        return _write(folder, WitnessList(tuple(witnesses), found.quorum))


def remove_witness(*, folder: Path, name: str) -> WitnessList:
    """Ask this witness no more; return who is left.

    Raises WitnessNotListed, QuorumNotPossible (lower the quorum first), StorageFailed.
    """
    with _alone(folder):
        found = read_witness_list(folder)
        left = tuple(one for one in found.witnesses if one.name != name)
        if len(left) == len(found.witnesses):
            raise WitnessNotListed(name=name)
        return _write(folder, WitnessList(left, found.quorum))


def set_quorum(*, folder: Path, quorum: Quorum) -> WitnessList:
    """Say how many must have cosigned. Raises QuorumNotPossible, StorageFailed."""
    with _alone(folder):
        found = read_witness_list(folder)
        return _write(folder, WitnessList(found.witnesses, quorum))


def _write(folder: Path, found: WitnessList) -> WitnessList:
    _require_possible(found)
    values = {
        "quorum": found.quorum,
        "witnesses": [
            {"url": one.url, "vkey": one.key.vkey} for one in found.witnesses
        ],
    }
    text = json.dumps(values, indent=1, sort_keys=True)
    write_durable(folder / WITNESSES, f"{text}\n".encode())
    return found


def _require_possible(found: WitnessList) -> WitnessList:
    quorum = found.quorum
    if quorum in ("majority", "none"):
        return found
    if not isinstance(quorum, int) or isinstance(quorum, bool) or quorum < 1:
        raise QuorumNotPossible(quorum=quorum)
    if quorum > len(found.witnesses):
        raise QuorumNotPossible(quorum=quorum, witnesses=len(found.witnesses))
    return found


def parse_url(url: str) -> str:
    """Return a submission prefix without its last slash. Raises WitnessURLNotValid."""
    try:
        parts = urlsplit(url)
        valid = (
            len(url) <= MAX_URL
            and url.isascii()
            and url.isprintable()
            and " " not in url
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and "@" not in parts.netloc
            and (parts.port is None or parts.port > 0)
            and not parts.query
            and not parts.fragment
            and "?" not in url
            and "#" not in url
        )
    except ValueError:
        valid = False
    if not valid:
        raise WitnessURLNotValid(url=url[:MAX_URL])
    return url.rstrip("/")


def encode_policy(found: WitnessList, *, spine_vkey: str, spine_url: str) -> bytes:
    """Return the tlog-policy of an instance with this spine and these witnesses.

    Raises VKeyNotValid where the keys make no policy: two logs or witnesses of one key.
    """
    lines = [f"log {spine_vkey} {spine_url}"]
    names = [one.name for one in found.witnesses]
    lines += [f"witness {one.name} {one.key.vkey} {one.url}" for one in found.witnesses]
    if names:
        # Also without a quorum, so that whoever wants one has the names at hand.
        needed = found.needed or len(names)
        lines.append(f"group {GROUP} {needed} {' '.join(names)}")
    lines.append(f"quorum {GROUP if found.needed else 'none'}")
    data = "".join(f"{line}\n" for line in lines).encode()
    try:
        parse_policy(data)
    except Fault as fault:
        raise VKeyNotValid(problem=fault.detail) from None
    return data


def publish_policy(
    *, folder: Path, public: Path, spine_vkey: str, spine_url: str
) -> bytes:
    """Write ``policy.txt`` under the public root, if it is another one; return it.

    ``folder``: the data directory. Called at each start, once there is a spine, and
    after each change of the list. Raises VKeyNotValid, StorageFailed.
    """
    with _alone(folder):
        data = encode_policy(
            read_witness_list(folder), spine_vkey=spine_vkey, spine_url=spine_url
        )
        path = public / POLICY
        if not path.exists() or path.read_bytes() != data:
            public.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)
    return data


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the list's lock file, against other threads and processes."""
    make_private_folder(folder)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
