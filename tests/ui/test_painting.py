"""Drawing what changed, counted: lines a tick, refreshes without news, texts made; the same for 100 rows and for
10,000.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from rich.segment import Segment
from textual.color import Color
from textual.renderables.background_screen import BackgroundScreen
from textual.strip import Strip

from gpudash.clock import ManualClock
from gpudash.fleet.record import Record
from gpudash.model.guard import GuardVerdict
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.money import Price
from gpudash.model.policy import Policy
from gpudash.ui import columns
from gpudash.ui.columns import Column
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.dimmed import Dimmed
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
            assert table.view.position(table.cursor_row) == 299
            assert table.top + table.rows_on_screen == 300
            for y in range(table.size.height):
                assert table.render_line(y).cell_length == table.size.width


async def test_the_sums_of_a_large_fleet_are_right_after_any_change() -> None:
    fleet = SyntheticFleet(1000, ManualClock(NOW))
    chance = random.Random(5)
    async with stage(fleet) as on:
        totals = on.fleet_screen.totals
        while not totals.is_complete:
            totals.count_on(fleet.clock.now())
        for _ in range(6):
            for record in chance.sample(list(fleet.store.records.values()), 20):
                state = chance.choice(list(InstanceState))
                price = chance.choice([None, record.instance.price, Price(Decimal("1.5"), "made up", estimated=True)])
                policy = chance.choice([None, Policy(lease_deadline=NOW + timedelta(minutes=chance.randrange(90)))])
                disk = chance.choice([None, Price(Decimal("0.02"), "made up")])
                instance = replace(record.instance, state=state, price=price, storage_price=disk, tag_policy=policy)
                fleet.put(replace(instance, provider_state=state.value))
            fleet._report(chance.sample(list(fleet.store.records), 30))
            await on.beat(chance.choice([1, 50, 900]))
            for _ in range(8):
                totals.look_again(fleet.clock.now())
            whole, shown = fleet.store.totals(fleet.clock.now()), totals.at(fleet.store, fleet.clock.now())
            assert shown.by_state == whole.by_state
            assert shown.burn == whole.burn
            assert shown.unguarded == whole.unguarded
            assert shown.projected.usd == pytest.approx(whole.projected.usd, abs=Decimal("0.000001"))
            assert (shown.projected.estimated, shown.projected.unknown) == (
                whole.projected.estimated,
                whole.projected.unknown,
            )
            assert shown.tunnels_up == whole.tunnels_up


async def test_a_tick_of_ten_thousand_rows_looks_at_a_slice_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[InstanceKey] = []
    guard = Record.guard

    def counted(record: Record, now: datetime) -> GuardVerdict | None:
        judged.append(record.key)
        return guard(record, now)

    async with stage(StillFleet(10_000, ManualClock(NOW))) as on:
        while not on.fleet_screen.totals.is_complete:
            on.fleet_screen.totals.count_on(NOW)
        await on.beat(1)
        monkeypatch.setattr(Record, "guard", counted)
        await on.beat(1)
        assert len(set(judged)) <= 150 + on.fleet_screen.table.rows_on_screen


async def test_what_stands_behind_a_dialog_is_dimmed_once_and_as_the_library_would() -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("comfy")
        await on.press("+")
        await on.paint()
        dialog = on.app.screen
        assert isinstance(dialog, Dimmed)
        assert dialog._dimmer is not None
        color = dialog.styles.background
        for strip in on.fleet_screen._compositor.render_strips():
            dimmed = dialog._dimmer.strip(strip)
            assert list(dimmed) == list(BackgroundScreen.process_segments(strip, color))
            assert dialog._dimmer.strip(strip) is dimmed


async def test_a_key_in_a_dialog_makes_no_line_below_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(sample_fleet()) as on:
        await on.go_to("comfy")
        await on.press("x")
        await on.press("tab")
        await on.paint()
        assert isinstance(on.app.screen, Dimmed)
        tinted: list[Color] = []
        process = BackgroundScreen.process_segments

        def counted(segments: Iterable[Segment], color: Color) -> Iterable[Segment]:
            tinted.append(color)
            return process(segments, color)

        monkeypatch.setattr(BackgroundScreen, "process_segments", counted)
        await on.press("tab")
        await on.paint()
        assert tinted == []


async def test_a_bug_while_a_frame_is_drawn_ends_the_program_and_is_told() -> None:
    """Else the loop would note it where nobody looks, and the screen would stand still with old figures."""

    class Bug(Exception):
        pass

    def broken(line: Line, width: int, ground: str) -> Strip:
        raise Bug

    async def moved() -> None:
        async with stage(sample_fleet()) as on:
            on.fleet_screen.table.painter.strip = broken  # type: ignore[method-assign]
            await on.press("down")
            await on.pilot.pause(0.1)

    with pytest.raises(Bug):
        await moved()
