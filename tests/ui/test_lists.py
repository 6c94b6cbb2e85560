"""Tunnels, events and leftovers: what Enter and y do, what stands there when nothing does, and what a failure leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gpudash.clock import ManualClock
from gpudash.errors import LedgerError, Unreachable
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.listing import Listing
from gpudash.model.operation import Operation, Stage
from gpudash.providers.base import Leftover
from gpudash.ui.screens.confirm import ConfirmEnd
from gpudash.ui.screens.instance import InstanceScreen
from gpudash.ui.screens.launch import LaunchScreen
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.sample import NOW, sample_fleet
from gpudash.ui.widgets.footer import Footer
from tests.ui.helpers import Stage as Running
from tests.ui.helpers import stage


def page(on: Running) -> str:
    assert isinstance(on.app.screen, InstanceScreen)
    record = on.app.screen.targets()[0]
    return record.instance.name


def shining(on: Running) -> list[str]:
    """Actions in the last line that are not grey."""
    return [action.id for action, enabled in on.app.screen.query_one(Footer).facts.keys if enabled]


@pytest.mark.parametrize(
    ("key", "words"), [("T", "No tunnel"), ("e", "Nothing has happened"), ("l", "Nothing is left")]
)
async def test_an_empty_list_says_what_that_means(key: str, words: str) -> None:
    async with stage(MemoryFleet(ManualClock(NOW))) as on:
        await on.press(key)
        assert words in on.text("#table")
        await on.press("enter", "y")
        assert "selected" in on.answer
        await on.press("escape")
        assert on.app.screen is on.fleet_screen


@pytest.mark.parametrize(("key", "acts"), [("T", "close_tunnel"), ("e", "copy_event"), ("l", "open")])
async def test_keys_of_a_row_are_grey_where_there_is_none(key: str, acts: str) -> None:
    async with stage(sample_fleet()) as on:
        await on.press(key)
        assert acts in shining(on)
        await on.press("/", *"zzz")
        assert acts not in shining(on)
        assert "filter" in shining(on)


async def test_enter_on_a_tunnel_opens_its_instance() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("T", "/", *"train", "enter", "enter")
        assert page(on) == "train-llama"


async def test_enter_on_an_event_opens_its_instance_or_says_that_there_is_none() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("e", "/", *"extend", "enter", "enter")
        assert page(on) == "train-llama"
        await on.press("escape", "escape", "/", *"probe", "enter", "enter")
        assert "concerns no instance" in on.answer
        await on.press("y")
        assert on.app.clipboard.startswith("2026-03-03 13:59:11 UTC terminate probe-7: ")


async def test_events_that_happen_meanwhile_appear_and_the_cursor_stays() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("e", "down")
        table = on.app.screen.table  # type: ignore[attr-defined]
        before = table.record
        fleet.cloud.events.append(Event(NOW + timedelta(seconds=1), "push", "new", "vast", None, "comfy", "cli"))
        moved = Operation("op-x", Verb.PUSH, "vast", "NL", Stage.PROVED, NOW, NOW)
        fleet._tell(fleet.store.apply_operation(moved))
        await on.settle()
        await on.beat(1)
        assert "comfy" in on.text("#table").splitlines()[1]
        assert table.record is before


async def test_enter_on_a_leftover_opens_its_instance_and_y_copies_its_id() -> None:
    fleet = sample_fleet()
    key = next(k for k, r in fleet.store.records.items() if r.instance.name == "notebooks")
    fleet.cloud.leftovers = tuple(
        replace(item, account=key.account, instance_id=key.id) if item.name == "notebooks" else item
        for item in fleet.cloud.leftovers
    )
    async with stage(fleet) as on:
        await on.press("l", "/", *"notebooks", "enter", "y")
        assert on.app.clipboard == "nv-77"
        await on.press("enter")
        assert page(on) == "notebooks"
        await on.press("escape", "escape", "home", "enter")
        assert "belongs to no instance" in on.answer


async def test_a_cloud_that_fails_keeps_the_rows_it_told_before() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("l")
        now = fleet.clock.now()
        aws: Listing[Leftover] = Listing("aws", "", (), False, now, now, "no answer within 10 s")
        rest = Listing("lambda", "", fleet.cloud.leftovers[3:], True, now, now)

        async def leftovers() -> list[Listing[Leftover]]:
            return [aws, rest]

        fleet.leftovers = leftovers  # type: ignore[method-assign]
        await on.press("ctrl+r")
        names = {row.record.account for row in on.app.screen.view.order}  # type: ignore[attr-defined]
        assert names == {"aws", "lambda"}
        assert "aws: no answer within 10 s" in on.text("Heading")


async def test_a_cloud_that_never_answered_is_not_called_empty() -> None:
    fleet = sample_fleet()
    now = fleet.clock.now()

    async def leftovers() -> list[Listing[Leftover]]:
        return [Listing("aws", "", (), False, now, now, "no answer within 10 s")]

    fleet.leftovers = leftovers  # type: ignore[method-assign]
    async with stage(fleet) as on:
        await on.press("l")
        assert "Nobody knows: aws: no answer within 10 s" in on.text("#table")


@pytest.mark.parametrize("error", [LedgerError("The ledger is locked."), Unreachable("Nobody is there.")])
async def test_a_list_that_cannot_be_read_says_so_and_stops_asking(error: Exception) -> None:
    fleet = sample_fleet()

    async def events(limit: int = 200, key: object = None) -> list[Event]:
        raise error

    async with stage(fleet) as on:
        fleet.events = events  # type: ignore[method-assign, assignment]
        await on.press("e")
        assert str(error) in on.text("#table")
        await on.press("escape")
        assert on.app.screen is on.fleet_screen


async def test_a_launch_under_way_can_be_ended_once_the_cloud_shows_it() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("n", *"h100", "enter", "enter")
        assert isinstance(on.app.screen, LaunchScreen)
        assert "X end it" in on.text("#footer")
        await on.press("X")
        assert "has not shown" in on.answer
        for _ in range(12):
            fleet.step()
        await on.settle()
        await on.press("X")
        dialog = on.app.screen
        assert isinstance(dialog, ConfirmEnd)
        await on.press("escape")
        assert isinstance(on.app.screen, LaunchScreen)
        await on.press("X", "right", "enter")
        assert fleet.calls[-1][0] == "end"


async def test_x_before_a_launch_ends_nothing() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("n", "enter", "X")
        assert fleet.calls == []
