"""Drawing what changed, counted: lines a tick, refreshes without news, texts made; the same for 100 rows and for
10,000.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gpudash.clock import ManualClock
from gpudash.fleet.record import Record
from gpudash.ui import columns
from gpudash.ui.columns import Column
from gpudash.ui.scene import Line, Scene
from gpudash.ui.synthetic.rows import SyntheticFleet
from gpudash.ui.synthetic.sample import NOW, sample_fleet
from tests.ui.helpers import Stage, stage


def counts(on: Stage) -> tuple[int, int, int]:
    table = on.fleet_screen.table
    return table.lines_drawn, table.refreshes, table.texts_made


class StillFleet(SyntheticFleet):
    """Made-up rows whose hosts say nothing by themselves."""

    async def __aenter__(self) -> StillFleet:
        return self


@pytest.mark.parametrize("rows", [100, 10_000])
async def test_a_tick_draws_at_most_the_lines_on_screen(rows: int) -> None:
    async with stage(StillFleet(rows, ManualClock(NOW))) as on:
        table = on.fleet_screen.table
        for _ in range(3):
            drawn, _, made = counts(on)
            await on.beat(61)
            await on.paint()
            now_drawn, _, now_made = counts(on)
            assert 0 < now_drawn - drawn <= table.rows_on_screen
            assert now_made - made <= table.rows_on_screen


async def test_a_tick_costs_the_same_texts_for_100_and_10_000_rows() -> None:
    made = {}
    for rows in (100, 10_000):
        async with stage(StillFleet(rows, ManualClock(NOW))) as on:
            await on.paint()
            before = counts(on)[2]
            await on.beat(1)
            await on.paint()
            made[rows] = counts(on)[2] - before
    assert made[100] == made[10_000]


async def test_a_tick_asks_rows_that_stand_still_nothing_that_needs_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def watched(column: Column[Record]) -> Column[Record]:
        def text(record: Record, scene: Scene, width: int) -> Line:
            asked.append(column.id)
            return column.text(record, scene, width)

        return column._replace(text=text)

    monkeypatch.setattr(columns, "FLEET", tuple(watched(column) for column in columns.FLEET))
    async with stage(StillFleet(10_000, ManualClock(NOW))) as on:
        await on.beat(1)
        asked.clear()
        await on.beat(1)
        assert set(asked) == {"state", "guard", "spent", "idle", "lease", "ends"}
        assert len(asked) <= 6 * on.fleet_screen.table.rows_on_screen


async def test_news_of_some_rows_is_put_in_place_row_by_row_and_drawn_alone() -> None:
    fleet = StillFleet(500, ManualClock(NOW))
    async with stage(fleet) as on:
        table, view = on.fleet_screen.table, on.fleet_screen.view
        await on.paint()
        made, placed = table.texts_made, view.placed
        shown = [row.key for row in view.order[:5]]
        fleet._report([key for key in shown if fleet.store.records[key].status is not None] or shown)
        fleet.put(replace(fleet.store.records[shown[0]].instance, name="renamed"))
        await on.settle()
        assert 0 < table.texts_made - made <= 10
        assert view.placed - placed <= 5


async def test_nothing_is_refreshed_when_no_text_changed() -> None:
    fleet = sample_fleet()
    async with stage(fleet) as on:
        await on.go_to("notebooks")
        await on.pilot.pause(0.3)
        await on.paint()
        before = counts(on)[:2]
        on.fleet_screen.table.update_lines()
        on.app.beat()
        await on.paint()
        assert counts(on)[:2] == before


async def test_a_second_changes_few_lines_in_a_real_fleet() -> None:
    """Cents, minutes and the last ten minutes tick; most lines stand still."""
    async with stage(sample_fleet()) as on:
        await on.paint()
        drawn = counts(on)[0]
        await on.beat(1)
        await on.paint()
        assert counts(on)[0] - drawn <= 6


async def test_moving_the_cursor_draws_two_lines() -> None:
    async with stage(StillFleet(10_000, ManualClock(NOW))) as on:
        await on.press("down")
        await on.paint()
        before = counts(on)
        await on.press("down")
        await on.paint()
        after = counts(on)
        assert after[0] - before[0] == 2
        assert after[2] - before[2] == 0


async def test_a_refresh_of_ten_thousand_is_drawn_with_the_next_beat() -> None:
    fleet = StillFleet(10_000, ManualClock(NOW))
    async with stage(fleet) as on:
        before = counts(on)[2]
        await fleet.refresh_all()
        await on.settle()
        pages = 10_000 // 40
        assert counts(on)[2] - before < pages * on.fleet_screen.table.rows_on_screen


async def test_resizing_at_any_moment_keeps_cursor_and_lines() -> None:
    async with stage(StillFleet(300, ManualClock(NOW))) as on:
        await on.press("end")
        for size in ((80, 24), (250, 70), (61, 15), (160, 48)):
            await on.pilot.resize_terminal(*size)
            await on.settle()
            table = on.fleet_screen.table
            assert table.cursor_row is not None
            assert table.cursor_row.position == 299
            assert table.top + table.rows_on_screen == 300
            for y in range(table.size.height):
                assert table.render_line(y).cell_length == table.size.width


async def test_totals_of_a_large_fleet_come_to_the_same_sum() -> None:
    fleet = StillFleet(1000, ManualClock(NOW))
    async with stage(fleet) as on:
        for _ in range(9):
            await on.beat(1)
        whole = fleet.store.totals(fleet.clock.now())
        shown = on.fleet_screen.totals.at(fleet.store, fleet.clock.now())
        assert shown.by_state == whole.by_state
        assert shown.burn.usd == whole.burn.usd
        assert timedelta(0) < timedelta(seconds=float(shown.projected.usd))
