"""The table as a person uses it: cursor, marks, sorting, filter, faults, mouse."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from textual import events
from textual.keys import _character_to_key

from gpudash.fleet.changes import ChangeSet
from gpudash.model.event import Event
from gpudash.model.instance import InstanceState, SshAddress
from gpudash.ui.synthetic.rows import SyntheticFleet
from gpudash.ui.synthetic.sample import NOW, sample_fleet
from gpudash.ui.widgets.filter_bar import FilterBar
from tests.ui.helpers import stage


async def test_the_strip_puts_money_first() -> None:
    async with stage(sample_fleet()) as on:
        words = on.text("#strip")
        for word in (
            "$31.80/h",
            "$100.39",
            "UNGUARDED",
            "$2.94/h",
            "6 running",
            "1 stopped",
            "3 tunnels up",
            "14:02:11",
        ):
            assert word in words
        assert "429 too many requests" in words
        assert "next try 20s" in words


async def test_the_details_follow_the_cursor() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("train-llama")
        words = on.text("#details")
        for word in (
            "train-llama",
            "GPU 7",
            "gpu 97% (> 5%)",
            "policy read back",
            "15:16 in 1h14m",
            "$101.2",
            "http://127.0.0.1:8889",
        ):
            assert word in words
        await on.press("up")
        assert "train-llama" not in on.text("#details")


async def test_events_of_the_row_are_asked_for_when_the_cursor_rests() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("train-llama")
        await on.pilot.pause(0.3)
        await on.settle()
        assert "lease moved to 15:16" in on.text("#details")


async def test_the_cursor_stays_on_its_instance_when_the_order_changes() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("eval")
        key = on.fleet_screen.table.cursor
        await on.press("N")
        assert on.fleet_screen.table.cursor == key
        await on.press("H")
        assert on.fleet_screen.table.cursor == key


async def test_when_its_instance_goes_the_cursor_takes_the_next() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        after = on.rows()[on.rows().index("comfy") + 1]
        record = on.fleet_screen.targets()[0]
        fleet.put(replace(record.instance, state=InstanceState.TERMINATED))
        await on.settle()
        assert "comfy" not in on.rows()
        assert on.fleet_screen.targets()[0].instance.name == after


@pytest.mark.parametrize(
    ("key", "first"), [("N", "comfy"), ("H", "train-llama"), ("C", "train-llama"), ("A", "old-test")]
)
async def test_shift_and_a_letter_sorts_and_again_reverses(key: str, first: str) -> None:
    async with stage(sample_fleet()) as on:
        await on.press(key)
        assert on.rows()[0] == first
        before = on.rows()
        await on.press(key)
        assert on.rows() != before
        await on.press("F")
        assert on.rows()[0] == "probe-7"


async def test_filter_works_as_it_is_typed_and_escape_goes_back_a_step_at_a_time() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("/", *"vast")
        assert set(on.rows()) == {"comfy", "sweep-3"}
        assert "2 of 8" in on.text("FilterBar PaintedBlock")
        await on.press("enter")
        assert on.app.focused is on.fleet_screen.table
        await on.press("space", "escape")
        assert len(on.rows()) == 8
        assert on.fleet_screen.table.marks
        await on.press("escape")
        assert not on.fleet_screen.table.marks


async def test_letters_typed_in_the_filter_are_no_keys() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.press("/", *"xXpaq+")
        assert on.app.screen is on.fleet_screen
        assert fleet.calls == []
        assert on.app.is_running


@pytest.mark.parametrize("gap_s", [0.0002, 0.001, 0.002])
async def test_letters_typed_while_the_filter_opens_stand_in_their_order(gap_s: float) -> None:
    async with stage(sample_fleet()) as on:
        for _ in range(8):
            for key in "/train:xabc":
                event = events.Key(_character_to_key(key), key)
                event.set_sender(on.app)
                on.app.post_message(event)
                await asyncio.sleep(gap_s)
            await on.settle()
            assert on.app.screen.query_one(FilterBar).text == "train:xabc"
            await on.press("escape")


async def test_a_letter_that_comes_late_goes_before_those_typed_after_it() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("/", "i", "n")
        bar = on.app.screen.query_one(FilterBar)
        bar.put_late("t")
        bar.put_late("r")
        await on.press("x")
        assert bar.text == "trinx"


async def test_a_filter_that_is_not_understood_says_so() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("/", *"colour:red")
        assert "no column 'colour'" in on.text("FilterBar PaintedBlock")


async def test_an_empty_result_says_why_and_how_to_see_all() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("/", *"zzz")
        assert "Nothing fits “zzz”" in on.text("#table")


async def test_faults_only_and_back() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("!")
        assert set(on.rows()) == {"probe-7", "old-test", "sweep-3", "eval"}
        await on.press("!")
        assert len(on.rows()) == 8


async def test_a_marked_instance_that_goes_is_no_target_any_more() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("comfy")
        await on.press("space")
        record = on.fleet_screen.targets()[0]
        fleet.put(replace(record.instance, state=InstanceState.TERMINATED))
        await on.settle()
        assert record.key not in {target.key for target in on.fleet_screen.targets()}


async def test_mouse_selects_marks_sorts_and_opens() -> None:
    async with stage(sample_fleet()) as on:
        table = on.fleet_screen.table
        await on.pilot.click(table, offset=(20, 4))
        assert on.fleet_screen.targets()[0].instance.name == on.rows()[3]
        await on.pilot.click(table, offset=(0, 4))
        assert len(table.marks) == 1
        x = next(place.x for place in table._layout() if place.column.id == "name") + 3
        await on.pilot.click(table, offset=(x, 0))
        await on.settle()
        assert on.rows() == sorted(on.rows())
        await on.pilot.click(table, offset=(20, 4), times=2)
        await on.settle()
        assert type(on.app.screen).__name__ == "InstanceScreen"


async def test_keys_in_the_footer_can_be_clicked() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("comfy")
        footer = on.fleet_screen.footer
        start = next(start for start, _, action in footer._places if action.id == "extend")
        await on.pilot.click(footer, offset=(start, 0))
        await on.settle()
        assert type(on.app.screen).__name__ == "ExtendScreen"


async def test_the_wheel_scrolls_and_the_cursor_stays_on_screen() -> None:
    async with stage(SyntheticFleet(200)) as on:
        table = on.fleet_screen.table
        for _ in range(5):
            await on.pilot._post_mouse_events(
                [__import__("textual.events").events.MouseScrollDown], table, offset=(5, 5)
            )
        await on.settle()
        assert table.top == 15
        row = table.cursor_row
        assert row is not None
        assert table.top <= table.view.position(row) < table.top + table.rows_on_screen


async def test_paging_and_ends() -> None:
    async with stage(SyntheticFleet(200)) as on:
        table = on.fleet_screen.table
        await on.press("end")
        assert table.cursor_row is not None
        assert table.view.position(table.cursor_row) == 199
        await on.press("pageup")
        assert table.view.position(table.cursor_row) == 199 - (table.rows_on_screen - 1)
        await on.press("home")
        assert table.view.position(table.cursor_row) == 0


async def test_a_change_set_without_news_draws_nothing() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        before = on.fleet_screen.table.lines_drawn
        on.app.changed(ChangeSet(changed=frozenset(fleet.store.records)))
        await on.settle()
        assert on.fleet_screen.table.lines_drawn == before


async def test_the_details_learn_of_an_address_and_of_what_happens_while_the_cursor_rests() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("notebooks")
        await on.beat(1)
        assert "ssh -p" not in on.text("#details")
        record = on.fleet_screen.targets()[0]
        address = SshAddress("198.51.100.9", 2222, "root")
        fleet.put(replace(record.instance, state=InstanceState.RUNNING, ssh=address))
        fleet.cloud.events.append(Event(NOW, "start", "it runs again", "runpod", record.key, "notebooks", "cli"))
        await on.beat(1)
        assert "ssh -p 2222 root@198.51.100.9" in on.text("#details")
        assert "it runs again" in on.text("#details")
