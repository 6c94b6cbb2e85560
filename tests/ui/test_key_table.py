"""Keys over several marked instances, keys that come faster than the screen, and the words of the help."""

from __future__ import annotations

from typing import Any

import pytest
from textual import events

from gpudash.model.instance import InstanceKey
from gpudash.ui.actions import ACTIONS, Action
from gpudash.ui.screens.confirm import ConfirmEnd, ConfirmMany, ConfirmRestart
from gpudash.ui.screens.extend import ExtendScreen
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.sample import sample_fleet
from tests.ui.helpers import Stage, stage
from tests.ui.keytable import CANNOT

VERBS = [action for action in ACTIONS if action.reason is not None and action.group == "act"]


def keys_of(action: Action) -> list[str]:
    return action.keys.split(",")


def asked(fleet: MemoryFleet) -> list[tuple[str, InstanceKey]]:
    """Calls with the instance each went to."""
    found = []
    for call, what in fleet.calls:
        target: Any = what[0] if type(what) is tuple else what  # type: ignore[index]
        if call not in ("refresh", "open_tunnel", "close_tunnel"):
            found.append((call, target))
    return found


async def close(on: Stage, below: object) -> None:
    while on.app.screen is not below:
        await on.press("escape")


async def confirm(on: Stage) -> None:
    """Go through with the dialog, by keys alone."""
    dialog = on.app.screen
    assert isinstance(dialog, ConfirmEnd | ConfirmMany | ConfirmRestart)
    if dialog.must_type is None:
        await on.press("right", "enter")
    else:
        await on.press(*dialog.must_type, "enter", "enter")


async def test_undo_takes_back_what_was_asked_last_and_nothing_else() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        for name in ("comfy", "eval"):
            await on.go_to(name)
            await on.press("x", "right", "enter")
            await on.beat(3)
        newest = max(
            (op for op in fleet.store.operations.values() if op.id.startswith("op-")), key=lambda op: op.requested_at
        )
        await on.press("u")
        assert [what for call, what in fleet.calls if call == "cancel"] == [newest.id]


MARKED = ("comfy", "train-llama", "notebooks", "probe-7")


@pytest.mark.parametrize(
    "action", [action for action in VERBS if action.id not in ("launch", "undo", "rename", "ssh", "copy_ssh")]
)
async def test_with_marks_every_verb_goes_to_all_that_can_and_to_no_other(action: Action) -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        for name in MARKED:
            await on.go_to(name)
            await on.press("space")
        await on.go_to("eval")  # the cursor's own row is not among them
        able = {
            r.key
            for r in fleet.store.records.values()
            if r.instance.name in MARKED and action.id not in CANNOT[r.instance.name]
        }
        await on.press(keys_of(action)[0])
        if not able:
            assert on.answer
            assert asked(fleet) == []
            return
        if isinstance(on.app.screen, ConfirmEnd | ConfirmMany | ConfirmRestart):
            await confirm(on)
        elif isinstance(on.app.screen, ExtendScreen):
            await on.press("enter")
        if action.id == "toggle_tunnels":  # says of the one without an address that it has none
            able = {r.key for r in fleet.store.records.values() if r.instance.name in MARKED}
        assert {key for _, key in asked(fleet)} == able


@pytest.mark.parametrize("door", ["n", "e", "enter", "?", "X", "+"])
async def test_keys_that_come_faster_than_the_screen_close_one_screen_only(door: str) -> None:
    """A held Esc: what was pressed while the screen was closing is meant for nobody."""
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press(door)
        for _ in range(6):
            on.app.post_message(events.Key("escape", "\x1b"))
        await on.settle()
        assert on.app.is_running
        assert on.app.screen is on.fleet_screen


@pytest.mark.parametrize(("opens", "key"), [("details", "tab"), ("launch", "slash")])
async def test_a_key_that_comes_before_the_widgets_of_the_screen_waits_for_them(opens: str, key: str) -> None:
    """It set out for the table of the fleet, and what it opened lies over that by now."""
    async with stage(sample_fleet()) as on:
        await on.go_to("comfy")
        with on.app._context():
            getattr(on.fleet_screen, f"action_{opens}")()
            late = events.Key(key, None)
            late._set_forwarded()
            await on.app._dispatch_message(late)
        await on.settle()
        screen = on.app.screen
        assert screen.part == "signals" if opens == "details" else screen._in_filter()  # type: ignore[attr-defined]


async def test_an_enter_held_on_a_dialog_acts_once() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press("x", "right")
        for _ in range(6):
            on.app.post_message(events.Key("enter", "\r"))
        await on.settle()
        await close(on, on.fleet_screen)
        assert [call for call, _ in asked(fleet)] == ["end"]


def test_every_sentence_is_whole_in_the_help_in_one_column_and_in_two() -> None:
    for action in ACTIONS:
        assert len(action.sentence) <= min(80 - 13, 158 // 2 - 13), action.sentence
