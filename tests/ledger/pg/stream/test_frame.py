"""Frames come out as they went in, and only with the secret."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.pg.conftest import make_arrival
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.inbox import Arrival
from undersigned.ledger.stream.frame import (
    MAX_SIGNATURES,
    Answer,
    Frame,
    FrameNotValid,
    Seal,
    make_frame,
    make_node_name,
)

SEAL = Seal("s" * 32)
NAME = bytes(range(16))

arrivals = st.builds(
    Arrival,
    st.integers(1, 2**31 - 1),
    st.builds(
        PooledSignature,
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=357, max_size=357),
        st.none() | st.binary(max_size=100),
    ),
)


@given(st.lists(arrivals, max_size=5), st.integers(0, 2**60))
def test_a_frame_comes_out_as_it_went_in(batch: list[Arrival], number: int) -> None:
    sealed = SEAL.seal_frame(make_frame(NAME, number, batch))
    opened = SEAL.open_frame(sealed)
    assert (opened.node, opened.number) == (NAME, number)
    assert opened.list_arrivals() == batch
    assert all(one.pooled.nonce not in sealed for one in batch)


@given(st.lists(st.booleans(), max_size=MAX_SIGNATURES), st.integers(0, 2**60))
def test_an_answer_comes_out_as_it_went_in(taken: list[bool], number: int) -> None:
    answer = Answer(number, taken)
    assert SEAL.open_answer(SEAL.seal_answer(answer)) == answer


@given(st.data())
def test_one_changed_byte_is_refused(data: st.DataObject) -> None:
    sealed = bytearray(SEAL.seal_frame(make_frame(NAME, 1, [make_arrival(1)])))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameNotValid):
        SEAL.open_frame(bytes(sealed))


@given(st.binary(max_size=100))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(FrameNotValid):
        SEAL.open_frame(data)
    with pytest.raises(FrameNotValid):
        SEAL.open_answer(data)


def test_another_secret_opens_nothing() -> None:
    frame = make_frame(NAME, 1, [make_arrival(1)])
    with pytest.raises(FrameNotValid):
        Seal("t" * 32).open_frame(SEAL.seal_frame(frame))


def test_a_frame_is_no_answer() -> None:
    with pytest.raises(FrameNotValid):
        SEAL.open_answer(SEAL.seal_frame(make_frame(NAME, 1, [])))


@pytest.mark.parametrize(
    "frame",
    [
        Frame(b"short", 1, []),
        Frame(NAME, 1, [(0, bytes(32), bytes(357), None)]),
        Frame(NAME, 1, [(2**31, bytes(32), bytes(357), None)]),
        Frame(NAME, 1, [(1, bytes(31), bytes(357), None)]),
        Frame(NAME, 1, [(1, bytes(32), bytes(356), None)]),
        Frame(NAME, 1, [(1, bytes(32), bytes(357), None)] * (MAX_SIGNATURES + 1)),
        msgspec.structs.replace(Frame(NAME, 1, []), number="one"),
    ],
)
def test_what_no_node_makes_is_refused(frame: Frame) -> None:
    with pytest.raises(FrameNotValid):
        SEAL.open_frame(SEAL.seal_frame(frame))


def test_nodes_have_different_names() -> None:
    assert make_node_name() != make_node_name()
