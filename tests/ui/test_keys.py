"""What single keys lead to, beyond the row that each has in `keytable`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gpudash.model.capability import Verb
from gpudash.model.policy import EndAction
from gpudash.ui.screens.confirm import ConfirmEnd, ConfirmMany
from gpudash.ui.screens.events import EventsScreen
from gpudash.ui.screens.instance import InstanceScreen
from gpudash.ui.synthetic.sample import sample_fleet
from tests.ui.helpers import stage


async def test_keep_awake_holds_for_half_an_hour() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press("a")
        assert fleet.calls[-1][1][1] == timedelta(minutes=30)  # type: ignore[index]
        assert "is held awake" in on.answer


async def test_extend_moves_the_deadline_and_says_so() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("train-llama")
        record = on.fleet_screen.targets()[0]
        await on.press("+", "down", "enter")
        moved = fleet.store.records[record.key].policy
        assert moved is not None
        assert record.policy is not None
        assert moved.lease_deadline == record.policy.lease_deadline + timedelta(hours=1)
        assert "new deadline" in on.answer


async def test_a_start_is_followed_until_the_cloud_confirms_it() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("notebooks")
        await on.press("r")
        assert "start asked" in on.text("#table")
        fleet.step()
        fleet.step()
        await on.settle()
        assert "notebooks runs" in on.answer


async def test_a_failed_action_is_said_in_the_clouds_words() -> None:
    fleet = sample_fleet()

    async def refuse(key: object) -> Any:
        from gpudash.errors import NoCapacity

        raise NoCapacity("RunPod: no A40 is free in EU-RO-1.", hint="Try later.")

    fleet.start = refuse  # type: ignore[method-assign]
    async with stage(fleet) as on:
        await on.go_to("notebooks")
        await on.press("r")
        assert "no A40 is free" in on.answer


async def test_copy_puts_the_ssh_command_on_the_clipboard() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("comfy")
        await on.press("y")
        assert on.app.clipboard == "ssh -p 22 ubuntu@198.51.100.7"


async def test_refresh_asks_everybody_again() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("ctrl+r")
        assert fleet.calls == [("refresh", None)]


async def test_quit_leaves() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("q")
        assert on.app.return_value == 0


async def test_a_persons_own_keys_work_and_conflicts_are_shown() -> None:
    from gpudash.config import Config

    fleet = sample_fleet(config=Config(keys={"events": "ctrl+e", "stop": "k"}))
    async with stage(fleet) as on:
        await on.press("ctrl+e")
        assert isinstance(on.app.screen, EventsScreen)
        await on.press("escape", "e")
        assert on.app.screen is on.fleet_screen
        assert any("keys.stop" in problem for problem in on.app.key_problems)


async def test_a_persons_own_keys_work_in_the_lists_too() -> None:
    from gpudash.config import Config

    fleet = sample_fleet(config=Config(keys={"copy_url": "ctrl+y", "part.costs": "f4"}))
    async with stage(fleet) as on:
        await on.press("T", "ctrl+y")
        assert on.app.clipboard.startswith("http://127.0.0.1:")
        await on.press("enter", "f4")
        assert isinstance(on.app.screen, InstanceScreen)
        assert on.app.screen.part == "costs"


async def test_columns_of_the_fleet_are_chosen_without_their_letters_too() -> None:
    async with stage(sample_fleet()) as on:
        await on.press(">")
        first = on.fleet_screen.view.sort_id
        await on.press(">", "<")
        assert on.fleet_screen.view.sort_id == first != "urgency"
        assert "Sorted by" in on.answer


async def test_the_last_line_and_the_palette_show_a_persons_own_keys() -> None:
    from gpudash.config import Config

    fleet = sample_fleet(config=Config(keys={"launch": "ctrl+l", "stop": "f9"}))
    async with stage(fleet) as on:
        assert "^L launch" in on.text("#footer")
        await on.press(":", *"stop")
        assert "f9" in on.text("CommandLines").splitlines()[0]


async def test_bulk_actions_go_to_all_marked_and_only_to_those_that_can() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        for name in ("comfy", "eval"):
            await on.go_to(name)
            await on.press("space")
        assert "2 marked ~$0.85/h" in on.text("#footer")
        await on.press("p")
        assert [call for call, _ in fleet.calls] == ["push", "push"]


async def test_above_three_the_number_is_typed() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("ctrl+a", "p")
        screen = on.app.screen
        assert isinstance(screen, ConfirmMany)
        assert screen.must_type == "6"
        await on.press("enter")
        assert fleet.calls == []
        await on.press("p", "6", "enter", "enter")
        assert [call for call, _ in fleet.calls] == ["push"] * 6


async def test_reasons_of_the_cloud_are_asked_of_the_fleet_for_each_target() -> None:
    fleet = sample_fleet()
    fleet.cloud.reasons[Verb.STOP, "vast"] = "Vast says no."
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press("x")
        assert on.answer == "Vast says no."


async def test_the_palette_runs_verbs_by_name() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press(":")
        await on.press(*"push")
        await on.pilot.pause(0.3)
        await on.press("enter")
        await on.settle()
        assert [call for call, _ in fleet.calls] == ["push"]


@pytest.mark.parametrize("action", [EndAction.STOP, EndAction.TERMINATE])
async def test_the_instance_page_acts_on_its_instance(action: EndAction) -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press("enter")
        page = on.app.screen
        await on.press("x" if action is EndAction.STOP else "X")
        dialog = on.app.screen
        assert isinstance(dialog, ConfirmEnd)
        assert [record.instance.name for record in dialog.records] == ["comfy"]
        await on.press("escape")
        assert on.app.screen is page
