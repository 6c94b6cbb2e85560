"""Filter and order of each screen are there again: on coming back to it, and after a restart. And are seen to be on."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from gpudash.ui.remembered import Remembered, Views
from gpudash.ui.screens.events import EventsScreen
from gpudash.ui.screens.leftovers import LeftoversScreen
from gpudash.ui.synthetic.sample import sample_fleet
from tests.ui.helpers import NARROW, Stage, stage


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "views-fleet.json"


def shown(on: Stage) -> list[str]:
    screen = on.app.screen
    assert isinstance(screen, (EventsScreen, LeftoversScreen))
    return [str(getattr(row.record, "kind", "")) for row in screen.view.order]


async def test_filter_and_order_of_the_fleet_come_back_after_a_restart(file: Path) -> None:
    async with stage(sample_fleet(), views_file=file) as on:
        await on.press("H", "/", *"lambda", "enter")
        before = on.rows()
        await on.press("q")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with stage(sample_fleet(), size=NARROW, views_file=file) as on:
        assert on.rows() == before == ["train-llama", "probe-7"]
        assert "2 of 8 · Esc shows all" in on.text("FilterBar _Side")
        assert on.app.focused is on.fleet_screen.table
        await on.press("H")
        assert on.rows() == ["probe-7", "train-llama"]
        await on.press("escape")
        assert len(on.rows()) == 8
        assert not on.app.screen.query("FilterBar")
        await on.press("q")
    async with stage(sample_fleet(), views_file=file) as on:
        assert len(on.rows()) == 8
        assert on.fleet_screen.view.sort_id == "price"
        assert not on.fleet_screen.view.reverse


async def test_a_list_comes_back_as_it_was_left_and_says_that_a_filter_is_on(file: Path) -> None:
    async with stage(sample_fleet(), views_file=file) as on:
        await on.press("l", "/", *"volume", "enter", "escape", "escape", "l")
        assert len(shown(on)) == 4
        await on.press("/", *"volume", "enter")
        on.app.pop_screen()
        await on.settle()
        await on.press("e", "/", *"probe")
        assert len(shown(on)) == 1
        await on.press("enter")
        await on.press("q")
    async with stage(sample_fleet(), views_file=file) as on:
        await on.press("l")
        assert shown(on) == ["volume", "volume"]
        assert "2 of 4 · Esc shows all" in on.text("FilterBar _Side")
        await on.press("escape", "escape", "e")
        assert len(shown(on)) == 1
        assert len(on.rows()) == 8


async def test_lists_are_ordered_by_key_and_keep_it(file: Path) -> None:
    async with stage(sample_fleet(), views_file=file) as on:
        await on.press("e")
        assert shown(on)[0] == "terminate"
        await on.press(">")
        assert shown(on) == sorted(shown(on))
        assert "Sorted by what" in on.answer
        await on.press("S")
        assert shown(on) == sorted(shown(on), reverse=True)
        await on.press("<")
        assert shown(on)[0] == "terminate"
        await on.press("S", "escape", "e")
        assert shown(on)[0] == "stop"
        await on.press("q")
    async with stage(sample_fleet(), views_file=file) as on:
        await on.press("e")
        assert shown(on)[0] == "stop"


async def test_faults_only_stands_above_the_rows() -> None:
    async with stage(sample_fleet()) as on:
        await on.press("!")
        assert "faults only: 4 of 8 · ! shows all" in on.text("Narrowed")
        await on.press("escape")
        assert len(on.rows()) == 8
        assert not on.fleet_screen.narrowed.display


async def test_the_board_of_offers_begins_afresh(file: Path) -> None:
    async with stage(sample_fleet(), views_file=file) as on:
        await on.press("n", *"h100", "escape", "escape", "n")
        assert on.app.screen.view.filter.text == ""  # type: ignore[attr-defined]


async def test_a_file_that_makes_no_sense_is_set_aside_and_said(file: Path) -> None:
    file.write_text('{"FleetScreen": {"filter": 3}}')
    async with stage(sample_fleet(), views_file=file) as on:
        assert len(on.rows()) == 8
        assert "set aside" in on.app.views.notice  # type: ignore[operator]
        assert any("set aside" in str(note.message) for note in on.app._notifications)
    assert file.with_name("views-fleet.json.corrupt").read_text() == '{"FleetScreen": {"filter": 3}}'


async def test_a_column_that_is_no_more_is_the_order_of_the_start(file: Path) -> None:
    file.write_text('{"FleetScreen": {"filter": "", "sort": "phase-of-the-moon", "reverse": true}}')
    async with stage(sample_fleet(), views_file=file) as on:
        assert on.rows()[0] == "probe-7"


def test_two_dashboards_write_their_own_screens_only(file: Path) -> None:
    one, two = Views(file), Views(file)
    assert one.put("A", Remembered("x"))
    assert two.put("B", Remembered(sort="name", reverse=True))
    one.save()
    two.save()
    again = Views(file)
    assert (again.of("A"), again.of("B")) == (Remembered("x"), Remembered("", "name", True))
    assert not again.put("A", Remembered("x"))


def test_what_is_as_at_first_is_not_kept(file: Path) -> None:
    views = Views(file)
    views.put("A", Remembered("x"))
    views.save()
    views.put("A", Remembered())
    views.save()
    assert json.loads(file.read_text()) == {}


def test_a_folder_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    views = Views(tmp_path / "nowhere" / "views.json")
    views.put("A", Remembered("x"))
    views.save()
    assert "not kept" in str(views.notice)
    assert views.of("A") == Remembered("x")


def test_without_a_file_it_lasts_as_long_as_the_program() -> None:
    views = Views()
    views.put("A", Remembered("x"))
    views.save()
    assert views.of("A").filter == "x"
