"""RFC 8785 JSON and canonical base64: one byte string for one value.

Only what the protocol uses: strings, integers of at most 2**53, true, false, null,
arrays, objects. Floats are refused in both directions, so no number formatting has to
be trusted. ``encode({"b": 1, "a": [True]})`` is ``b'{"a":[true],"b":1}'``;
``parse(b'{"a": 1}')`` raises ``Fault("json-not-canonical")`` because of the space.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Final, NoReturn, TypeAlias

from undersigned_verify.errors import Fault

# Above this a double no longer holds every integer, and other readers round.
MAX_INTEGER: Final = 2**53
# A leaf has at most 65,535 bytes; the nesting below is far more than any uses, and
# far less than what exhausts the interpreter's stack.
MAX_DEPTH: Final = 16

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value] | None"


def encode(value: object) -> bytes:
    """Return the RFC 8785 bytes of ``value``; Fault on what has none."""
    try:
        return json.dumps(
            _ordered(value, 0), ensure_ascii=False, separators=(",", ":")
        ).encode()
    except UnicodeEncodeError as error:
        raise Fault("json-not-canonical", "A string has a lone surrogate.") from error


def parse(data: bytes) -> Value:
    """Return the value whose RFC 8785 form is exactly ``data``; else Fault.

    Refuses duplicate members, NaN, floats, byte order marks, white space, escapes
    that are not needed and every other spelling, because the value is encoded again
    and compared.
    """
    try:
        value: Value = json.loads(
            data.decode(),
            object_pairs_hook=_members,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
            parse_int=_integer,
        )
    except RecursionError as error:
        raise Fault("json-not-canonical", "JSON nests too deeply.") from error
    except ValueError as error:
        raise Fault("json-not-canonical", "Not UTF-8 encoded JSON.") from error
    if encode(value) != data:
        raise Fault("json-not-canonical")
    return value


def _ordered(value: object, depth: int) -> Value:
    """Copy ``value`` with members in RFC 8785 order, refusing other types."""
    if depth > MAX_DEPTH:
        raise Fault("json-not-canonical", "JSON nests too deeply.")
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise Fault("json-not-canonical", "An integer is beyond 2**53.")
        return value
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise Fault("json-not-canonical", "A member's name is not a string.")
        # RFC 8785 section 3.2.3 sorts by UTF-16 code units, not by code points.
        names = sorted(value, key=_utf16)
        return {name: _ordered(value[name], depth + 1) for name in names}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_ordered(item, depth + 1) for item in value]
    raise Fault("json-not-canonical", f"JSON cannot hold a {type(value).__name__}.")


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be", "surrogatepass")


def _members(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Fault("json-not-canonical", "A member appears twice.")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 17:
        raise Fault("json-not-canonical", "An integer is beyond 2**53.")
    return int(digits)


def _refuse_number(digits: str) -> NoReturn:
    raise Fault("json-not-canonical", "A number is not an integer.")


def encode_base64(data: bytes) -> str:
    """Return standard base64 with padding, on one line."""
    return base64.b64encode(data).decode()


def parse_base64(text: str) -> bytes:
    """Return the bytes of canonical base64; Fault for any other spelling.

    Also refused: unused bits that are not zero, so that one byte string has one form.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Fault("base64-not-canonical") from error
    if encode_base64(data) != text:
        raise Fault("base64-not-canonical")
    return data
