"""The screen over the real sandbox: real hosts, real SSH, the real statusd, and the real fleet behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from gpudash.config import Config
from gpudash.fleet.fleet import Fleet
from gpudash.fleet.session import Session
from gpudash.model.guard import GuardLevel
from gpudash.model.instance import InstanceState
from gpudash.providers.sandbox import control
from gpudash.ui.app import GpudashApp, Options
from gpudash.ui.launcher import Run, _is_first_run
from gpudash.ui.screens.fleet import FleetScreen
from gpudash.ui.widgets.footer import Footer
from tests.support.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def no_host_left(own_home: object) -> Iterator[None]:
    yield
    control.reset()


async def until(true: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Wait for the world; it has clocks of its own here."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def dashboard(*, read_only: bool = False) -> AsyncIterator[tuple[GpudashApp, Pilot[Any], Fleet]]:
    session = Session.open(Config(), accounts=["sandbox"], actor="dashboard", read_only=read_only)
    fleet = Fleet(session)
    app = GpudashApp(fleet, Options())
    try:
        async with app.run_test(size=(160, 48)) as pilot:
            yield app, pilot, fleet
            await app.action_quit()
    finally:
        session.close()


async def test_launch_extend_tunnel_stop_start_and_terminate_by_key() -> None:
    """The main job on real parts."""
    async with dashboard() as (app, pilot, fleet):
        screen = app.screen
        assert isinstance(screen, FleetScreen)
        await pilot.press("n")
        launch: Any = app.screen
        await until(lambda: bool(launch.view.order))
        await pilot.press(*"a10 ", "enter", "enter")
        await until(lambda: bool(fleet.store.operations))
        await pilot.press("escape")
        await until(lambda: bool(fleet.store.records))

        def the_one() -> Any:
            return next(iter(fleet.store.records.values()))

        def armed() -> bool:
            verdict = the_one().guard(fleet.clock.now())
            return verdict is not None and verdict.level is GuardLevel.ARMED

        await until(armed)
        await until(lambda: screen.table.record is not None)
        before = the_one().policy.lease_deadline
        await pilot.press("+", "enter")
        await until(lambda: the_one().status.policy.lease_deadline > before)
        await pilot.press("t")
        await until(lambda: any(tunnel.state.value == "up" for tunnel in the_one().tunnels))
        await pilot.press("x", "right", "enter")
        await until(lambda: the_one().is_ending)
        await pilot.press("u")
        await until(lambda: not the_one().is_ending)
        assert the_one().instance.state is InstanceState.RUNNING
        await pilot.press("x", "right", "enter")
        await until(lambda: the_one().instance.state is InstanceState.STOPPED)
        await pilot.press("r")
        await until(lambda: the_one().instance.state is InstanceState.RUNNING)
        name = the_one().instance.name
        await pilot.press("X", *name, "enter", "enter")
        await until(lambda: not fleet.store.records)
        await until(lambda: not screen.view.order)


async def test_read_only_over_real_hosts_changes_nothing() -> None:
    control.up(1)
    async with dashboard(read_only=True) as (app, pilot, fleet):
        await until(lambda: any(r.instance.state is InstanceState.RUNNING for r in fleet.store.records.values()))
        await until(lambda: app.screen.table.record is not None)
        for key in ("n", "+", "x", "X", "p", "a", "r"):
            await pilot.press(key)
            assert "Read-only" in app.screen.query_one(Footer).answer
        assert not fleet.store.operations


async def test_a_cloud_that_is_down_is_seen_in_the_strip_and_its_rows_stay() -> None:
    control.up(1)
    async with dashboard() as (app, pilot, fleet):
        await until(lambda: bool(fleet.store.records))
        control.set_fault("api-down", True)
        fleet.refresh()
        await until(lambda: any(lane.error for lane in fleet.store.health.values()))
        await pilot.pause(0.2)
        strip = app.screen.query_one("#strip")
        words = "".join(segment.text for y in range(2) for segment in strip.render_line(y))
        assert "sandbox ▲" in words or "sandbox ✖" in words
        assert app.screen.view.order


def test_who_has_filled_the_sandbox_is_not_welcomed_as_new() -> None:
    run = Run(Config())
    assert _is_first_run(run)
    control.up(1)
    assert not _is_first_run(run)
