"""Every key of the table, on every screen, in every state of an instance: it acts on its target, or answers why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from textual import events

from gpudash.clock import ManualClock
from gpudash.fleet.record import Record
from gpudash.model.instance import InstanceKey
from gpudash.model.policy import EndAction
from gpudash.ui.actions import ACTIONS, READ_ONLY, Action, Danger
from gpudash.ui.screens.confirm import ConfirmEnd, ConfirmMany, ConfirmRestart
from gpudash.ui.screens.extend import ExtendScreen
from gpudash.ui.screens.launch import LaunchScreen
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.sample import NOW, sample_fleet
from tests.ui.helpers import Stage, stage

ANYWHERE = {"launch"}
LIVE = {
    "extend", "restart", "rename", "keep_awake", "terminate", "push", "adopt", "toggle_tunnels", "ssh", "copy_ssh",
}  # fmt: skip
CAN = {
    "old-test": LIVE | {"stop", "hibernate"},  # running, unguarded, EC2
    "serve-mixtral": LIVE | {"stop", "hibernate"},  # running, armed, EC2
    "comfy": LIVE | {"stop"},  # idle
    "eval": LIVE | {"stop"},  # parked, degraded
    "sweep-3": LIVE | {"stop"},  # pending
    "train-llama": LIVE,  # a cloud that cannot stop
    "probe-7": {"terminate", "toggle_tunnels", "ssh", "copy_ssh"},  # STILL BILLING
    "notebooks": {"start", "terminate"},  # stopped
}
"""What can be done to each instance of the scene, beside looking at it."""
OPENS: dict[str, type] = {
    "launch": LaunchScreen, "extend": ExtendScreen, "stop": ConfirmEnd, "hibernate": ConfirmEnd, "terminate": ConfirmEnd,
}  # fmt: skip
CALLS = {"keep_awake", "start", "push", "adopt", "toggle_tunnels"}
ENDS = {"stop": EndAction.STOP, "hibernate": EndAction.HIBERNATE, "terminate": EndAction.TERMINATE}
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


def settle_world(fleet: MemoryFleet, records: Sequence[Record]) -> None:
    """The cloud does what it was asked for, and then all is as before."""
    fleet.calls.clear()
    for operation in list(fleet.store.operations.values()):
        if operation.id.startswith("op-") and operation.stage.is_open:
            fleet.store.operations.pop(operation.id)
    for record in records:
        fleet.store.records[record.key] = record
        fleet.put(record.instance)


@pytest.mark.parametrize("page", [False, True], ids=["fleet", "instance"])
@pytest.mark.parametrize("name", CAN)
async def test_every_verb_acts_on_its_target_or_answers_why(name: str, page: bool) -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to(name)
        (record,) = on.fleet_screen.targets()
        if page:
            await on.press("enter")
        here = on.app.screen
        for action in VERBS:
            if action.id == "ssh" or (page and "instance" not in action.screens):
                continue
            for key in keys_of(action):
                await on.press(key)
                if action.id not in CAN[name] | ANYWHERE:
                    assert action.reason is not None
                    assert on.answer == action.reason(on.fleet_screen.situation()) != "", (action.id, on.answer)
                    assert asked(fleet) == []
                    assert on.app.screen is here
                elif action.id in ENDS:
                    await confirm(on)
                    assert asked(fleet) == [("end", record.key)], action.id
                    assert fleet.calls[0][1][1] is ENDS[action.id]  # type: ignore[index]
                elif action.id == "restart":
                    await confirm(on)
                    assert asked(fleet) == [("restart", record.key)]
                elif action.id == "rename":
                    await on.press("n", "2", "enter")
                    assert asked(fleet) == [("rename", record.key)]
                elif action.id in OPENS:
                    assert isinstance(on.app.screen, OPENS[action.id])
                    if action.id == "extend":
                        await on.press("enter")
                        assert asked(fleet) == [("extend", record.key)]
                    else:
                        assert asked(fleet) == []
                elif action.id in CALLS:
                    assert asked(fleet) == [(action.id, record.key)]
                else:
                    assert action.id == "copy_ssh"
                    assert "198.51.100" in on.app.clipboard
                await close(on, here)
                settle_world(fleet, [record])


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


@pytest.mark.parametrize("page", [False, True], ids=["fleet", "instance"])
async def test_read_only_answers_to_every_key_that_changes_something(page: bool) -> None:
    fleet = sample_fleet(read_only=True)
    async with stage(fleet) as on:
        for name in CAN:
            await on.go_to(name)
            if page:
                await on.press("enter")
            here = on.app.screen
            for action in ACTIONS:
                if action.danger is Danger.NONE or (page and "instance" not in action.screens):
                    continue
                for key in keys_of(action):
                    await on.press(key)
                    assert on.answer == READ_ONLY or action.id == "undo", (action.id, on.answer)
                    assert on.app.screen is here
            await close(on, on.fleet_screen)
        assert asked(fleet) == []


async def test_with_nothing_selected_every_verb_says_so() -> None:
    async with stage(MemoryFleet(ManualClock(NOW))) as on:
        for action in VERBS:
            for key in keys_of(action):
                await on.press(key)
                if action.id == "launch":
                    assert isinstance(on.app.screen, LaunchScreen)
                elif action.id == "undo":
                    assert "Nothing is held back" in on.answer
                else:
                    assert on.answer == "No instance is selected.", action.id
                await close(on, on.fleet_screen)
        for key in ("enter", "space", "shift+up", "shift+down", "ctrl+a"):
            await on.press(key)
            assert on.answer == "No instance is selected."
            assert on.app.screen is on.fleet_screen


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
            if r.instance.name in MARKED and action.id in CAN[r.instance.name]
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


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("door", ["e", "c", "l", "?", "n", "T", "P"])
async def test_no_key_pressed_on_another_screen_reaches_what_lies_below(door: str, read_only: bool) -> None:
    """Every key of the table on every screen that shows no instances of its own."""
    fleet = sample_fleet(read_only=read_only)
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press(door)
        for action in ACTIONS:
            if action.id in ("quit", "suspend_process", "back"):
                continue
            for key in keys_of(action):
                if on.app.screen is on.fleet_screen:
                    await on.press(door)
                await on.press(key)
                assert [call for call, _ in asked(fleet) if call not in ("launch",)] == [], (door, key)
                if read_only:
                    assert asked(fleet) == []


@pytest.mark.parametrize("door", ["x", "X", "+", "m"])
async def test_no_key_but_the_dialogs_own_does_anything_in_a_dialog(door: str) -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        for key in (key for action in ACTIONS for key in keys_of(action)):
            if key in ("enter", "space", "q", "ctrl+q", "ctrl+c", "ctrl+z", "escape"):
                continue
            if on.app.screen is on.fleet_screen:
                await on.press(door)
            await on.press(key)
            assert asked(fleet) == [], (door, key)


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
