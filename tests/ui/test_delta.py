"""What is written to the terminal: the cells that differ, no more, and never anything else than what is on screen."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from typing import Any

import pyte
import pytest
from textual.drivers.headless_driver import HeadlessDriver

from gpudash.clock import ManualClock
from gpudash.ui.app import GpudashApp, Options
from gpudash.ui.delta import change_of_look
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.rows import SyntheticFleet
from gpudash.ui.synthetic.sample import NOW, sample_fleet
from tests.ui.helpers import Stage

SIZE = (120, 40)


class Recorder(HeadlessDriver):
    """A driver whose terminal is this object."""

    written: list[str]

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        self.__dict__.setdefault("written", []).append(data)

    def flush(self) -> None:
        pass


class Recorded(Stage):
    """A stage with a terminal that reads what was written."""

    def __init__(self, *stage: Any) -> None:
        super().__init__(*stage)
        self.terminal = pyte.Screen(*SIZE)
        self._stream = pyte.Stream(self.terminal)

    async def news(self) -> str:
        """What was written since the last time, and shown."""
        await self.settle()
        await self.paint()
        assert isinstance(self.app._driver, Recorder)
        text = "".join(self.app._driver.__dict__.get("written", []))
        self.app._driver.__dict__["written"] = []
        self._stream.feed(text)
        return text

    def wanted(self) -> pyte.Screen:
        """A terminal that got the whole frame in Textual's own words."""
        screen = pyte.Screen(*SIZE)
        whole = self.app.screen._compositor.render_update(full=True, screen_stack=self.app._background_screens)
        pyte.Stream(screen).feed(whole.render_segments(self.app.console).replace("\n", "\r\n"))
        return screen


@asynccontextmanager
async def recorded(fleet: MemoryFleet, **options: Any) -> AsyncIterator[Recorded]:
    app = GpudashApp(fleet, Options(zone=UTC, **options), driver=Recorder)
    async with app.run_test(headless=False, size=SIZE) as pilot:
        on = Recorded(app, pilot, fleet)
        await on.news()
        yield on


class StillFleet(SyntheticFleet):
    """Made-up rows whose hosts say nothing by themselves."""

    async def __aenter__(self) -> StillFleet:
        return self


def cells(screen: pyte.Screen) -> list[list[tuple[Any, ...]]]:
    """Every cell with its look. Of a blank only the ground is seen."""
    return [
        [
            (cell.data, cell.bg, cell.fg, cell.bold, cell.reverse)
            if cell.data.strip() or cell.underscore or cell.reverse
            else (" ", cell.bg)
            for cell in (screen.buffer[y][x] for x in range(screen.columns))
        ]
        for y in range(screen.lines)
    ]


KEYS = ("down", "up", "space", "pagedown", "N", "H", "F", "+", "escape", "?", "escape", "/", "t", "r", "escape", "end",
        "tab", "tab", "escape", "!", "!", "e", "escape", "g", ":", "x", "escape")  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
async def test_the_terminal_shows_what_is_on_screen_after_any_keys(seed: int) -> None:
    chance = random.Random(seed)
    async with recorded(StillFleet(200, ManualClock(NOW))) as on:
        for _ in range(25):
            await on.press(chance.choice(KEYS))
            if chance.random() < 0.3:
                await on.beat(chance.choice((1, 30, 600)))
            await on.news()
            assert cells(on.terminal) == cells(on.wanted())


async def test_names_of_wide_characters_come_whole() -> None:
    fleet = sample_fleet()
    async with recorded(fleet) as on:
        for name in ("訓練-一号", "e\u0301tude", "👩\u200d💻 dev", "訓練-二号", "plain"):
            record = next(iter(fleet.store.records.values()))
            fleet.put(replace(record.instance, name=name))
            await on.news()
            assert cells(on.terminal) == cells(on.wanted())


async def test_not_one_byte_is_written_when_no_visible_text_changed() -> None:
    async with recorded(sample_fleet()) as on:
        await on.go_to("notebooks")
        await on.pilot.pause(0.3)
        await on.news()
        on.app.beat()
        on.fleet_screen.table.update_lines()
        on.app.refresh(layout=True)
        assert await on.news() == ""


async def test_a_second_of_ten_thousand_rows_is_less_than_five_kilobytes() -> None:
    async with recorded(StillFleet(10_000, ManualClock(NOW))) as on:
        for _ in range(3):
            await on.beat(1)
            assert 0 < len(await on.news()) < 5000


async def test_the_cursor_that_moves_writes_its_two_lines_and_the_details() -> None:
    async with recorded(StillFleet(10_000, ManualClock(NOW))) as on:
        await on.press("down")
        await on.news()
        await on.press("down")
        assert len(await on.news()) < 4000


async def test_a_table_that_scrolls_is_moved_by_the_terminal_and_not_written_again() -> None:
    async with recorded(StillFleet(10_000, ManualClock(NOW))) as on:
        table = on.fleet_screen.table
        for _ in range(table.rows_on_screen + 3):
            await on.press("down")
        await on.news()
        for key in ("down", "down", "up"):
            await on.press(key)
            assert len(await on.news()) < 4000
        for scroll in (3, 3, -3):
            table._wheel(scroll)
            text = await on.news()
            assert ("\x1b[3M" if scroll > 0 else "\x1b[3L") in text
            assert cells(on.terminal) == cells(on.wanted())


async def test_ctrl_r_repairs_what_another_program_wrote_on_the_screen() -> None:
    async with recorded(sample_fleet()) as on:
        on._stream.feed("\x1b[10;20HBroadcast message from root")
        await on.press("ctrl+r")
        await on.news()
        assert cells(on.terminal) == cells(on.wanted())


async def test_a_terminal_that_was_away_gets_every_line_again() -> None:
    async with recorded(sample_fleet()) as on:
        on.terminal.reset()
        on.app.app_resume_signal.publish(on.app)
        await on.news()
        assert cells(on.terminal) == cells(on.wanted())


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("", "1;31", "\x1b[1;31m"),
        ("1;31", "", "\x1b[m"),
        ("1;31", "31", "\x1b[0;31m"),
        ("38;2;1;2;3;48;2;4;5;6", "38;2;1;2;3;48;2;7;8;9", "\x1b[48;2;7;8;9m"),
        ("38;5;17;48;5;18", "4;38;5;16;48;5;18", "\x1b[4;38;5;16m"),
        ("91;104", "104", "\x1b[39m"),
        ("97", "39", "\x1b[39m"),
        ("30;47", "30", "\x1b[49m"),
    ],
)
def test_only_what_changes_of_a_look_is_written(before: str, after: str, code: str) -> None:
    assert change_of_look(before, after) == code
