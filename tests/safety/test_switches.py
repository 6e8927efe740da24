"""What an operator turns off is off, stays off, and is written down."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned.cli import parser
from undersigned.kernel.errors import StorageFailed
from undersigned.safety.switches import (
    EVERYWHERE,
    REASONS,
    Flip,
    Switch,
    SwitchedOff,
    Switches,
    SwitchStands,
)

AT = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def off(switch: Switch, campaign: str = EVERYWHERE) -> Flip:
    return Flip(switch, campaign, on=False, reason="attack", at=AT)


def on(switch: Switch, campaign: str = EVERYWHERE) -> Flip:
    return Flip(switch, campaign, on=True, reason="other", at=AT)


@pytest.fixture
def logged() -> list[Flip]:
    """What the trail was given."""
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the positions are kept."""
    return tmp_path / "switches.json"


@pytest.fixture
def switches(path: Path, logged: list[Flip]) -> Switches:
    """Switches that are all on."""
    return Switches(path, log_flip=logged.append)


class TestASwitch:
    def test_it_stops_one_campaign_or_all(self, switches: Switches) -> None:
        switches.require(*Switch, campaign="river")
        switches.flip(off(Switch.MAIL, "river"))
        with pytest.raises(SwitchedOff) as caught:
            switches.require(Switch.ISSUING, Switch.MAIL, campaign="river")
        assert caught.value.data == {
            "switch": "mail",
            "campaign": "river",
            "reason": "attack",
        }
        switches.require(Switch.MAIL, campaign="other")
        switches.require(Switch.SIGNING, campaign="river")
        switches.flip(off(Switch.MAIL))
        with pytest.raises(SwitchedOff):
            switches.require(Switch.MAIL, campaign="other")

    def test_it_turns_on_what_it_turned_off_and_no_more(
        self, switches: Switches
    ) -> None:
        switches.flip(off(Switch.MAIL))
        switches.flip(off(Switch.MAIL, "river"))
        switches.flip(on(Switch.MAIL))
        switches.require(Switch.MAIL, campaign="other")
        with pytest.raises(SwitchedOff):
            switches.require(Switch.MAIL, campaign="river")

    def test_it_keeps_its_position_over_a_restart(
        self, switches: Switches, path: Path
    ) -> None:
        switches.flip(off(Switch.SIGNING, "river"))
        again = Switches(path)
        assert again.list_off() == [off(Switch.SIGNING, "river")]
        with pytest.raises(SwitchedOff):
            again.require(Switch.SIGNING, campaign="river")

    @pytest.mark.parametrize("flip", [on(Switch.MAIL), on(Switch.SIGNING, "river")])
    def test_it_is_not_turned_to_where_it_stands(
        self, switches: Switches, logged: list[Flip], flip: Flip
    ) -> None:
        with pytest.raises(SwitchStands):
            switches.flip(flip)
        assert logged == []

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b'{"off": [{}], "unlogged": []}']
    )
    def test_a_file_that_cannot_be_read_stops_the_start(
        self, path: Path, content: bytes
    ) -> None:
        path.write_bytes(content)
        with pytest.raises(StorageFailed):
            Switches(path)

    @given(st.lists(st.tuples(st.sampled_from(Switch), st.sampled_from(["", "a"]))))
    def test_its_file_says_what_memory_says(
        self, tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[Switch, str]]
    ) -> None:
        path = tmp_path_factory.mktemp("switches") / "switches.json"
        switches = Switches(path)
        for switch, campaign in turns:
            is_off = any(
                (flip.switch, flip.campaign) == (switch, campaign)
                for flip in switches.list_off()
            )
            switches.flip((on if is_off else off)(switch, campaign))
            assert Switches(path).list_off() == switches.list_off()


class TestTheTrail:
    def test_each_flip_is_in_it(self, switches: Switches, logged: list[Flip]) -> None:
        assert switches.flip(off(Switch.MAIL))
        assert switches.flip(on(Switch.MAIL))
        assert logged == [off(Switch.MAIL), on(Switch.MAIL)]

    def test_where_it_cannot_be_written_the_switch_is_flipped_all_the_same(
        self, path: Path, logged: list[Flip]
    ) -> None:
        def fail(_flip: Flip) -> None:
            raise OSError("the pages database is gone")

        broken = Switches(path, log_flip=fail)
        assert broken.flip(off(Switch.SIGNING)) is False
        assert broken.flip(off(Switch.MAIL)) is False
        with pytest.raises(SwitchedOff):
            broken.require(Switch.SIGNING, campaign="river")
        mended = Switches(path, log_flip=logged.append)
        assert mended.log_waiting()
        assert logged == [off(Switch.SIGNING), off(Switch.MAIL)]
        assert Switches(path, log_flip=logged.append).log_waiting()
        assert len(logged) == 2


def test_the_command_line_knows_the_same_names() -> None:
    assert tuple(map(str, Switch)) == parser.SWITCHES
    assert parser.REASONS == REASONS
