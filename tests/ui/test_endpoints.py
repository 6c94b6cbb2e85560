"""The screen of pools and endpoints, over a real account made for the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC

import pytest
from support.http_cloud import Fault
from support.runpod_cloud import RunpodCloud, problem, runpod_cloud
from support.runpod_state import Endpoint as FakeEndpoint
from support.waiting import PATIENCE_S
from textual.widgets import Button, Input

from gpudash.clock import SystemClock
from gpudash.config import Config
from gpudash.fleet.fleet import Fleet
from gpudash.fleet.session import Session
from gpudash.ui.app import GpudashApp, Options
from gpudash.ui.screens.bounds import BoundsScreen, ConfirmPurge
from gpudash.ui.screens.endpoints import EndpointsScreen
from tests.ui.helpers import Stage


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    """RunPod by the real clock."""
    with runpod_cloud(SystemClock()) as found:
        yield found


@asynccontextmanager
async def screen(
    cloud: RunpodCloud, *, read_only: bool = False, size: tuple[int, int] = (160, 48)
) -> AsyncIterator[Stage]:
    """The dashboard with `P` pressed."""
    config = Config(accounts={"runpod": cloud.account})
    with Session.open(config, actor="dashboard", read_only=read_only) as session:
        app = GpudashApp(Fleet(session), Options(zone=UTC))
        async with app.run_test(size=size) as pilot:
            on = Stage(app, pilot, app.fleet)  # type: ignore[arg-type]  # the helper names the in-memory fleet
            await on.settle()
            await on.press("P")
            assert isinstance(app.screen, EndpointsScreen)
            yield on
        async with asyncio.timeout(PATIENCE_S):  # what is asked right now has a connection open
            while any(lane.busy for lane in session.lanes._lanes.values()):
                await asyncio.sleep(0.01)


async def until(on: Stage, seen: Callable[[], bool], what: str) -> None:
    """Wait for what the cloud has to answer first."""
    async with asyncio.timeout(PATIENCE_S):
        while not seen():
            await asyncio.sleep(0.02)
            await on.settle()
    assert seen(), what


async def listed(on: Stage, name: str = "chat") -> None:
    await until(on, lambda: name in on.text(), f"{name} is listed")


async def test_rows_say_what_workers_do_and_what_is_kept_warm(cloud: RunpodCloud) -> None:
    """Workers by state, bounds, queue, price an hour and a day, the warning in words, and the sum."""
    cloud.fake.add_endpoint(name="chat", low=1, high=2, idle_s=7)
    async with screen(cloud) as on:
        await listed(on)
        text = on.text()
        for word in ("Pools and endpoints", "1 idle", "1–2", "7 s", "$26.40", "keeps 1 worker warm"):
            assert word in text
        assert "$1.10/h" in text


async def test_bounds_are_changed_and_proved(cloud: RunpodCloud) -> None:
    """b opens what it is now; Tab and Enter go on, Set sets, and the row shows what was read back."""
    fake = cloud.fake.add_endpoint(name="chat", low=1, high=2)
    async with screen(cloud) as on:
        await listed(on)
        await on.press("b")
        dialog = on.app.screen
        assert isinstance(dialog, BoundsScreen)
        dialog.query_one("#low", Input).value = "0"
        dialog.query_one("#idle", Input).value = "30s"
        await on.settle()
        assert "0 kept warm: $0.00 a day" in on.text()
        dialog.query_one("#act", Button).press()
        await until(on, lambda: (fake.low, fake.high, fake.idle_s) == (0, 2, 30), "it was set")
        await until(on, lambda: "0–2" in on.text(), "the row shows it")


async def test_enter_alone_sets_nothing(cloud: RunpodCloud) -> None:
    """Enter walks through the fields to the button, and Esc leaves all as it was."""
    fake = cloud.fake.add_endpoint(name="chat", low=1)
    async with screen(cloud) as on:
        await listed(on)
        await on.press("b", "0", "enter", "enter", "enter")
        assert isinstance(on.app.screen, BoundsScreen)
        await on.press("escape")
        assert isinstance(on.app.screen, EndpointsScreen)
        assert fake.low == 1
        assert cloud.fake.count("PATCH") == 0


async def test_what_cannot_hold_is_said_while_it_is_typed(cloud: RunpodCloud) -> None:
    """And the button does nothing then; a maximum of zero says what ends."""
    cloud.fake.add_endpoint(name="chat", low=1, high=2)
    async with screen(cloud) as on:
        await listed(on)
        await on.press("b")
        dialog = on.app.screen
        for field, typed, says in (
            ("low", "9", "contradict"),
            ("low", "few", "whole numbers"),
            ("low", "1", "Nothing is changed yet"),
            ("idle", "2h", "from 1 s to 1 h"),
        ):
            dialog.query_one(f"#{field}", Input).value = typed
            await on.settle()
            assert says in on.text()
            dialog.query_one("#act", Button).press()
            await on.settle()
            assert on.app.screen is dialog
        dialog.query_one("#idle", Input).value = "10s"
        dialog.query_one("#low", Input).value = "0"
        dialog.query_one("#high", Input).value = "0"
        await on.settle()
        assert "Jobs at work are ended" in on.text()


async def test_a_purge_asks_first_on_cancel(cloud: RunpodCloud) -> None:
    """x says how many jobs are lost; Enter takes nothing, Purge takes all that wait."""
    fake = cloud.fake.add_endpoint(name="chat", high=0)
    key = cloud.provider.endpoints.listing().items[0].key
    for number in range(3):
        cloud.provider.endpoints.submit(key, number)
    async with screen(cloud) as on:
        await until(on, lambda: " 3 " in on.text(), "the queue is shown")
        await on.press("x")
        assert isinstance(on.app.screen, ConfirmPurge)
        assert isinstance(on.app.focused, Button)
        assert on.app.focused.id == "cancel"
        assert "3 jobs that wait" in on.text()
        await on.press("enter")
        assert len(fake.jobs) == 3
        await on.press("x", "right", "enter")
        await until(on, lambda: fake.jobs == [], "the queue is empty")


async def test_a_load_balancer_has_no_queue_to_purge(cloud: RunpodCloud) -> None:
    """The key says so."""
    cloud.fake.add_endpoint(name="web", kind="LOAD_BALANCER")
    async with screen(cloud) as on:
        await listed(on, "web")
        await on.press("x")
        assert "has no queue" in on.answer


async def test_a_cloud_that_fails_keeps_the_rows(cloud: RunpodCloud) -> None:
    """Failure is not emptiness: the row stays, and the heading says what failed."""
    fake: FakeEndpoint = cloud.fake.add_endpoint(name="chat")
    async with screen(cloud) as on:
        await listed(on)
        with cloud.fake.fault(Fault("down", problem(503, "maintenance"), path="serverless")):
            await on.press("ctrl+r")
            await until(on, lambda: "maintenance" in on.text(), "the problem is said")
        assert fake.name in on.text()


async def test_nothing_there_is_said(cloud: RunpodCloud) -> None:
    """And P or Esc leads back."""
    async with screen(cloud, size=(80, 24)) as on:
        await until(on, lambda: "No serverless endpoint" in on.text(), "the empty words")
        await on.press("P")
        assert not isinstance(on.app.screen, EndpointsScreen)
