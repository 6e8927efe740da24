"""The state of a log, leaf by leaf, and the count that follows from it.

``LogState`` decides whether a leaf may stand where it stands (PROTOCOL section 3 and
4.6), the same for the auditor and for whoever appends. It is told of every kept
checkpoint. It does not verify tokens, nor that nonces differ, nor the order of leaves
within an interval (that needs their hashes): ``audit`` does.

Each leaf has one byte in ``cells``: 0 for a leaf that is no signature, else
``1 + slot * 12 + stance * 4 + state``, where slot is the order of announcement of its
key. At most twelve keys fit a log (an ordinary one for each of four classes and eight
in quarantine), so a byte is enough.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from undersigned_verify import entry as leaf
from undersigned_verify.canonical import encode as encode_json
from undersigned_verify.canonical import parse_base64
from undersigned_verify.entry import CLASS_NAMES, STANCE_NAMES, Entry
from undersigned_verify.errors import Fault
from undersigned_verify.token import Challenge, withdraw_hash

MAX_QUARANTINE_KEYS: Final = 8


class State(IntEnum):
    """Where a signature stands; exactly one at a time."""

    STANDING = 0
    HELD = 1
    WITHDRAWN = 2
    REMOVED = 3


@dataclass
class KeyInfo:
    """An announced issuer key and what was decided about it."""

    key_index: int
    klass: int
    flags: int
    spki: bytes
    announced_at: int  # leaf index
    slot: int  # order of announcement, from 0
    # What moderators decided about a quarantine key: None while undecided, else the
    # state that its held signatures went to.
    decided: State | None = None

    @property
    def is_quarantine(self) -> bool:
        """Whether it was announced as a quarantine key."""
        return self.flags == leaf.QUARANTINE

    @property
    def entry_state(self) -> State:
        """The state in which a signature under this key enters."""
        if not self.is_quarantine:
            return State.STANDING
        return State.HELD if self.decided is None else self.decided


@dataclass(frozen=True)
class ApproverInfo:
    """An announced approver key: ``public`` is 32 bytes."""

    id: str
    public: bytes
    announced_at: int  # leaf index


def cell_of(slot: int, stance: int, state: State) -> int:
    """Return the cell byte of a signature."""
    return 1 + slot * 12 + stance * 4 + state


_SIGNATURE_CELLS: Final = range(1, 1 + 21 * 12)


def _cells_in(*states: State) -> bytes:
    """Return every cell byte whose signature is in one of these states."""
    return bytes(cell for cell in _SIGNATURE_CELLS if (cell - 1) % 4 in states)


def _moving(cells: bytes, target: State) -> bytes:
    """Return a translation table that moves these cell bytes to another state."""
    moved = bytes(cell - (cell - 1) % 4 + target for cell in cells)
    return bytes.maketrans(cells, moved)


_REMOVABLE: Final = _cells_in(State.STANDING, State.HELD)
_REINSTATABLE: Final = _cells_in(State.REMOVED)
# Keeps copies of long stretches of cells small.
_STRETCH: Final = 1 << 20


class LogState:
    """The state machine of one log. ``apply`` changes all or nothing."""

    def __init__(self, read_leaf: Callable[[int], bytes]) -> None:
        """``read_leaf(index)`` returns the bytes of a leaf already applied."""
        self._read_leaf = read_leaf
        self.header: leaf.Header | None = None
        self.keys: dict[int, KeyInfo] = {}
        self.approvers: dict[str, ApproverInfo] = {}
        self.sheets: dict[int, int] = {}
        self.closed_at: int | None = None
        self.cells = bytearray()
        self.kept = 0
        # How many leaves have each cell byte: the count without looking at cells.
        self._tally = [0] * 256

    @classmethod
    def restore(
        cls,
        read_leaf: Callable[[int], bytes],
        controls: Iterable[tuple[int, Entry]],
        cells: bytes,
        kept: int,
    ) -> Self:
        """Return the state that stored ``cells`` and control leaves describe.

        ``controls``: every leaf but those of types 1 and 3, in order, all accepted
        before; ``kept``: the size of the last kept checkpoint. Nothing is verified.
        """
        state = cls(read_leaf)
        for index, entry in controls:
            state._record(index, entry)
        state.cells = bytearray(cells)
        for cell in set(cells):
            state._tally[cell] = cells.count(cell)
        state.kept = kept
        return state

    @property
    def size(self) -> int:
        """How many leaves were applied."""
        return len(self.cells)

    @property
    def closed(self) -> bool:
        """Whether a close leaf stands."""
        return self.closed_at is not None

    @property
    def challenge(self) -> Challenge:
        """What the tokens of this log are bound to; Fault before the header."""
        return self._header().challenge

    def checkpoint(self, size: int) -> None:
        """Note that a checkpoint of this size is kept; sizes only grow."""
        if not self.kept <= size <= self.size:
            raise ValueError(f"No checkpoint of {size} follows one of {self.kept}.")
        self.kept = size

    def state_of(self, index: int) -> State | None:
        """Return the state of a signature, None for any other leaf."""
        cell = self.cells[index]
        return State((cell - 1) % 4) if cell else None

    def signatures_by_key(self) -> dict[int, int]:
        """Return how many signatures stand under each announced key, in any state."""
        first = {
            index: cell_of(key.slot, 0, State(0)) for index, key in self.keys.items()
        }
        return {index: sum(self._tally[at : at + 12]) for index, at in first.items()}

    def apply(self, index: int, entry: Entry) -> None:
        """Append one leaf; Fault, and no change, where it may not stand.

        ``index`` must be the present size: leaves come in order, without gaps.
        """
        if index != self.size:
            raise ValueError(f"Leaf {index} cannot follow {self.size} leaves.")
        try:
            self.check(entry)
        except Fault as fault:
            raise fault.at(index) from fault
        cell = 0
        if isinstance(entry, leaf.Signature):
            key = self.keys[entry.key_index]
            cell = cell_of(key.slot, entry.stance, key.entry_state)
        else:
            self._move(entry)
            self._record(index, entry)
        self.cells.append(cell)
        self._tally[cell] += 1

    def check(self, entry: Entry) -> None:
        """Raise the Fault that ``apply`` would raise now; change nothing."""
        self._check_place(entry)
        match entry:
            case leaf.Signature():
                self._check_signature(entry.key_index)
            case leaf.IssuerKey():
                self._check_key(entry)
            case leaf.Withdrawal():
                self._check_withdrawal(entry)
            case leaf.Close():
                self._check_close(entry)
            case leaf.Removal():
                self._check_approvals(entry)
                self._check_decision(entry.targets, entry.remove_key, _REMOVABLE)
            case leaf.PaperSheet():
                self._check_approvals(entry)
            case leaf.Release():
                self._check_approvals(entry)
                self._check_decision(entry.targets, entry.release_key, _REINSTATABLE)
            case leaf.ApproverKey():
                self._check_approver(entry)

    def apply_signatures(self, key_indexes: list[int], stances: bytes) -> None:
        """Append signatures by the columns of their leaves; Fault at the first bad one.

        The fast way of the auditor: key index and stance (0 to 2) of each. What
        precedes the first bad one stays applied.
        """
        faults: dict[int, Fault] = {}
        for key_index in set(key_indexes):
            try:
                self._check_place(None)
                self._check_signature(key_index)
            except Fault as fault:
                faults[key_index] = fault
        good = min(map(key_indexes.index, faults), default=len(key_indexes))
        self._append(key_indexes[:good], stances[:good])
        if faults:
            raise faults[key_indexes[good]].at(self.size)

    def _append(self, key_indexes: list[int], stances: bytes) -> None:
        """Append signatures whose keys were checked."""
        bases = {}
        for key_index in set(key_indexes):
            key = self.keys[key_index]
            bases[key_index] = cell_of(key.slot, 0, key.entry_state)
        if len(bases) == 1:
            (base,) = bases.values()
            table = bytes.maketrans(b"\0\1\2", bytes([base, base + 4, base + 8]))
            cells = stances.translate(table)
        else:
            pairs = zip(key_indexes, stances, strict=True)
            cells = bytes([bases[index] + 4 * stance for index, stance in pairs])
        self.cells += cells
        for cell in set(cells):
            self._tally[cell] += cells.count(cell)

    def _header(self) -> leaf.Header:
        if self.header is None:
            raise Fault("header-missing")
        return self.header

    def _check_place(self, entry: Entry | None) -> None:
        """Rules of position; None stands for a signature."""
        if isinstance(entry, leaf.Header):
            if self.size:
                raise Fault("header-again")
            return
        self._header()
        if self.closed_at is None:
            return
        if not isinstance(entry, leaf.PublicRecord):
            raise Fault("after-close")
        if self.kept <= self.closed_at:
            raise Fault("close-not-alone")

    def _check_signature(self, key_index: int) -> None:
        key = self.keys.get(key_index)
        if key is None:
            raise Fault("key-unknown", f"No key {key_index} was announced.")
        if key.announced_at >= self.kept:
            raise Fault("key-too-new", f"Key {key_index} stands in no kept checkpoint.")

    def _check_key(self, entry: leaf.IssuerKey) -> None:
        header = self._header()
        if CLASS_NAMES[entry.klass] not in header.classes:
            raise Fault("key-class")
        if entry.key_index in self.keys:
            raise Fault("key-index-again")
        if any(key.spki == entry.spki for key in self.keys.values()):
            raise Fault("key-spki-again")
        if entry.flags != leaf.QUARANTINE:
            if any(
                key.klass == entry.klass and not key.is_quarantine
                for key in self.keys.values()
            ):
                raise Fault("key-class-again")
        elif header.mode == "danger":
            raise Fault("key-quarantine-danger")
        elif sum(key.is_quarantine for key in self.keys.values()) >= (
            MAX_QUARANTINE_KEYS
        ):
            raise Fault("key-quarantine-many")

    def _check_withdrawal(self, entry: leaf.Withdrawal) -> None:
        if entry.target >= self.size:
            raise Fault("target-absent", f"There is no leaf {entry.target} yet.")
        state = self.state_of(entry.target)
        if state is None:
            raise Fault("target-not-signature", f"Leaf {entry.target} is none.")
        if state == State.WITHDRAWN:
            raise Fault("target-state", f"Leaf {entry.target} was withdrawn before.")
        target = leaf.parse(self._read_leaf(entry.target))
        if not (
            isinstance(target, leaf.Signature)
            and target.withdraw_hash == withdraw_hash(entry.w)
        ):
            raise Fault("withdrawal-secret")

    def _check_close(self, entry: leaf.Close) -> None:
        if self.kept != self.size:
            raise Fault("close-not-alone")
        if any(key.is_quarantine and key.decided is None for key in self.keys.values()):
            raise Fault("close-undecided")
        # Compared as bytes, because True equals 1 and 1.0 in Python.
        if encode_json(entry.totals) != encode_json(self.totals()):
            raise Fault("close-totals")

    def _check_decision(
        self, targets: leaf.Ranges | None, key_index: int | None, allowed: bytes
    ) -> None:
        for first, last in targets or ():
            self._check_targets(first, last, allowed)
        if key_index is None:
            return
        key = self.keys.get(key_index)
        if key is None or not key.is_quarantine:
            raise Fault("key-not-quarantine", f"Key {key_index} is no quarantine key.")
        if key.decided is not None:
            raise Fault("key-decided", f"Key {key_index} was decided before.")

    def _check_targets(self, first: int, last: int, allowed: bytes) -> None:
        if last >= self.size:
            raise Fault("target-absent", f"There is no leaf {last} yet.")
        for low, high in _stretches(first, last + 1):
            cells = self.cells[low:high]
            other = cells.translate(None, delete=allowed)
            if other:
                at = low + cells.index(other[0])
                code = "target-state" if other[0] else "target-not-signature"
                raise Fault(code, f"The targets include leaf {at}.")

    def _check_approver(self, entry: leaf.ApproverKey) -> None:
        public = parse_base64(entry.public_key)
        # Two names for one key would let one holder approve twice.
        if entry.id in self.approvers or any(
            known.public == public for known in self.approvers.values()
        ):
            raise Fault("approver-again")

    def _check_approvals(self, entry: leaf.Approved) -> None:
        message = leaf.approval_message(self._header().origin, entry)
        ids = {approval.id for approval in entry.approvals}
        if len(ids) != 2 or len(entry.approvals) != 2:
            raise Fault("leaf-value", "There are not exactly two approvals.")
        for approval in entry.approvals:
            approver = self.approvers.get(approval.id)
            if approver is None:
                raise Fault("approval-unknown", f"Nobody is called {approval.id!r}.")
            if approver.announced_at >= self.kept:
                raise Fault("key-too-new", f"{approval.id!r} is in no kept checkpoint.")
            public = Ed25519PublicKey.from_public_bytes(approver.public)
            try:
                public.verify(parse_base64(approval.signature), message)
            except InvalidSignature as error:
                detail = f"The approval of {approval.id!r} does not verify."
                raise Fault("approval-signature", detail) from error

    def _move(self, entry: Entry) -> None:
        """Move signatures as a checked control leaf says."""
        match entry:
            case leaf.Withdrawal():
                moved = bytes([self.cells[entry.target]])
                table = _moving(moved, State.WITHDRAWN)
                self._translate(entry.target, entry.target, table)
            case leaf.Removal(targets=None):
                self._decide(entry.remove_key, State.REMOVED)
            case leaf.Removal(targets=targets):
                table = _moving(_REMOVABLE, State.REMOVED)
                self._translate_all(targets, table)
            case leaf.Release(targets=None):
                self._decide(entry.release_key, State.STANDING)
            case leaf.Release(targets=targets):
                self._translate_all(targets, self._reinstating())

    def _decide(self, key_index: int | None, target: State) -> None:
        """Move what is held under a key; ``_record`` notes it for later ones."""
        assert key_index is not None
        slot = self.keys[key_index].slot
        held = bytes(cell_of(slot, stance, State.HELD) for stance in STANCE_NAMES)
        self._translate(0, self.size - 1, _moving(held, target))

    def _reinstating(self) -> bytes:
        """Return the table from removed to held or standing, by each key."""
        table = bytearray(_moving(_REINSTATABLE, State.STANDING))
        for key in self.keys.values():
            if key.entry_state == State.HELD:
                for stance in STANCE_NAMES:
                    removed = cell_of(key.slot, stance, State.REMOVED)
                    table[removed] = cell_of(key.slot, stance, State.HELD)
        return bytes(table)

    def _translate_all(self, ranges: leaf.Ranges | None, table: bytes) -> None:
        for first, last in ranges or ():
            self._translate(first, last, table)

    def _translate(self, first: int, last: int, table: bytes) -> None:
        """Replace the cells ``first`` to ``last`` by a table, keeping the tally."""
        for low, high in _stretches(first, last + 1):
            before = self.cells[low:high]
            for cell in set(before):
                count = before.count(cell)
                self._tally[cell] -= count
                self._tally[table[cell]] += count
            self.cells[low:high] = before.translate(table)

    def _record(self, index: int, entry: Entry) -> None:
        """Remember what a control leaf announces or decides."""
        match entry:
            case leaf.Header():
                self.header = entry
            case leaf.IssuerKey():
                self.keys[entry.key_index] = KeyInfo(
                    entry.key_index,
                    entry.klass,
                    entry.flags,
                    entry.spki,
                    index,
                    len(self.keys),
                )
            case leaf.ApproverKey():
                public = parse_base64(entry.public_key)
                self.approvers[entry.id] = ApproverInfo(entry.id, public, index)
            case leaf.PaperSheet():
                self.sheets[entry.sheet] = entry.rows_accepted
            case leaf.Close():
                self.closed_at = index
            case leaf.Removal(remove_key=int(key_index)):
                self.keys[key_index].decided = State.REMOVED
            case leaf.Release(release_key=int(key_index)):
                self.keys[key_index].decided = State.STANDING

    def totals(self) -> dict[str, Any]:
        """Return the members of count.json but origin, tree_size and root_hash."""
        by_class = dict.fromkeys(CLASS_NAMES.values(), 0)
        by_stance = dict.fromkeys(STANCE_NAMES.values(), 0)
        by_state = dict.fromkeys(State, 0)
        for key in self.keys.values():
            name = CLASS_NAMES[key.klass]
            for stance, word in STANCE_NAMES.items():
                for state in State:
                    by_state[state] += self._tally[cell_of(key.slot, stance, state)]
                count = self._tally[cell_of(key.slot, stance, State.STANDING)]
                by_class[name] += count
                # Open signatures cost only work: they are never added to the others.
                if name != "open":
                    by_stance[word] += count
        return {
            "signatures": sum(by_state.values()),
            "held": by_state[State.HELD],
            "withdrawals": by_state[State.WITHDRAWN],
            "removals": by_state[State.REMOVED],
            "net": sum(by_stance.values()),
            "open_net": by_class["open"],
            "by_class": by_class,
            "by_stance": by_stance,
            "paper": sum(self.sheets.values()),
        }

    def count_of_key(self, key_index: int) -> int:
        """Return how many signatures under an announced key were ever published."""
        slot = self.keys[key_index].slot
        cells = [cell_of(slot, s, state) for s in STANCE_NAMES for state in State]
        return sum(self._tally[cell] for cell in cells)

    def count_json(self, root: bytes) -> bytes:
        """Return the exact bytes of count.json for the leaves applied so far."""
        return count_json(self._header().origin, self.size, root, self.totals())


def count_json(origin: str, size: int, root: bytes, totals: dict[str, object]) -> bytes:
    """Return the exact bytes of a count.json."""
    place = {"origin": origin, "tree_size": size, "root_hash": root.hex()}
    return encode_json({**place, **totals})


def _stretches(low: int, high: int) -> Iterable[tuple[int, int]]:
    for start in range(low, high, _STRETCH):
        yield start, min(start + _STRETCH, high)
