"""Marks: ranges, bulk actions with count and sum, what clears them, and undo of several."""

from __future__ import annotations

from typing import Any

import pytest

from gpudash.errors import Refused
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.ui.screens.confirm import ConfirmEnd
from gpudash.ui.synthetic.sample import sample_fleet
from tests.ui.helpers import Stage as Running
from tests.ui.helpers import stage


async def mark(on: Running, *names: str) -> None:
    for name in names:
        await on.go_to(name)
        await on.press("space")


def marked(on: Running) -> list[str]:
    table, order = on.fleet_screen.table, on.fleet_screen.view.order
    return [row.record.instance.name for row in order if row.key in table.marks]


async def test_shift_and_arrows_mark_a_range_that_grows_and_shrinks() -> None:
    async with stage(sample_fleet()) as on:
        rows = on.rows()
        await on.press("home", "shift+down", "shift+down", "shift+down")
        assert marked(on) == rows[:4]
        await on.press("shift+up", "shift+up")
        assert marked(on) == rows[:2]
        await on.press("shift+up", "shift+up")
        assert marked(on) == rows[:1]


async def test_a_range_leaves_other_marks_alone_and_starts_anew_elsewhere() -> None:
    async with stage(sample_fleet()) as on:
        rows = on.rows()
        await on.press("end", "space", "home", "shift+down", "shift+down", "shift+up")
        assert marked(on) == [*rows[:2], rows[-1]]
        await on.press("down", "down", "shift+down")
        assert marked(on) == [*rows[:2], rows[3], rows[4], rows[-1]]


async def test_all_and_none() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("ctrl+a")
        assert len(marked(on)) == 8
        await on.press("ctrl+a")
        assert marked(on) == []


async def test_marks_that_a_filter_hides_are_counted_and_said() -> None:
    async with stage(sample_fleet()) as on:
        await mark(on, "comfy", "eval")
        await on.press("/", *"comfy", "enter")
        assert "2 marked, 1 not shown" in on.text("#footer")


async def test_a_confirmed_bulk_end_clears_the_marks_of_those_done() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await mark(on, "comfy", "eval")
        await on.press("x")
        words = on.text()
        assert "Stop 2 instances?" in str(on.app.screen.query_one(".box").border_title)
        assert "$0.81/h" in words
        await on.press("right", "enter")
        assert [call for call, _ in fleet.calls] == ["end", "end"]
        assert marked(on) == []
        await on.press("u")
        assert [call for call, _ in fleet.calls] == ["end", "end", "cancel", "cancel"]
        stages = {operation.stage for operation in fleet.store.operations.values() if operation.id != "op-probe"}
        assert stages == {Stage.CANCELLED}


async def test_a_cancelled_bulk_end_keeps_the_marks() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await mark(on, "comfy", "eval")
        await on.press("x", "escape")
        assert sorted(marked(on)) == ["comfy", "eval"]
        assert fleet.calls == []


async def test_those_that_cannot_keep_their_marks_and_are_named() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await mark(on, "comfy", "train-llama", "eval")
        await on.press("x")
        assert "train-llama: Lambda cannot stop" in on.text()
        await on.press("right", "enter")
        assert marked(on) == ["train-llama"]


async def test_one_refusal_stops_none_of_the_others() -> None:
    fleet = sample_fleet()
    end = fleet.end

    async def refuse_one(key: InstanceKey, *more: Any) -> Operation:
        if key.account == "runpod":
            raise Refused("RunPod: not now.")
        return await end(key, *more)

    fleet.end = refuse_one  # type: ignore[method-assign]
    async with stage(fleet) as on:
        await mark(on, "eval", "comfy", "serve-mixtral")
        await on.press("x", "right", "enter")
        assert [call for call, _ in fleet.calls] == ["end", "end"]
        assert marked(on) == ["eval"]
        assert "1 of 3 refused: RunPod: not now." in on.answer


@pytest.mark.parametrize("key", ["a", "p", "t"])
async def test_every_bulk_action_clears_what_it_was_taken_on_for(key: str) -> None:
    async with stage(sample_fleet()) as on:
        await mark(on, "comfy", "serve-mixtral")
        await on.press(key)
        assert marked(on) == []


async def test_above_three_the_count_is_typed_before_anything_ends() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await mark(on, "comfy", "eval", "serve-mixtral", "sweep-3")
        await on.press("x")
        dialog = on.app.screen
        assert isinstance(dialog, ConfirmEnd)
        assert dialog.must_type == "4"
        assert "$5.95/h" in on.text()
        await on.press("right", "enter")
        assert fleet.calls == []
        await on.press("x", "4", "enter", "enter")
        assert [call for call, _ in fleet.calls] == ["end"] * 4
        assert marked(on) == []
