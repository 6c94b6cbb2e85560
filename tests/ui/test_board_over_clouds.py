"""One board for every cloud: the dashboard over real adapters, each talking HTTP to its cloud, one launch at each."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
from support import moto_server
from support.aws_cloud import REGION, aws_environment, raw_client
from support.aws_cloud import prepare as prepare_aws
from support.http_cloud import HttpCloud, Reply, Request, route
from support.lambda_cloud import KEY as LAMBDA_KEY
from support.lambda_cloud import FakeLambda
from support.lambda_cloud import prepare as prepare_keys
from support.runpod_cloud import KEY as RUNPOD_KEY
from support.runpod_cloud import FakeRunpod
from support.vast_cloud import KEY as VAST_KEY
from support.vast_fake import FakeVast
from support.waiting import PATIENCE_S
from textual.pilot import Pilot

from gpudash.clock import SystemClock
from gpudash.config import Account, Config
from gpudash.fleet.fleet import Fleet
from gpudash.fleet.session import Session
from gpudash.model.instance import InstanceState
from gpudash.model.operation import Stage
from gpudash.providers.aws import network
from gpudash.providers.sandbox import control
from gpudash.ui.app import GpudashApp, Options
from gpudash.ui.screens.fleet import FleetScreen
from gpudash.ui.screens.launch import LaunchScreen


class WhatIsMyAddress(HttpCloud):
    """The page that tells a machine its public address."""

    @route("GET", "/")
    def address(self, request: Request) -> Reply:
        return Reply(200, b"203.0.113.7\n")


class Clouds:
    """Every cloud on loopback, and how many machines each has."""

    def __init__(self) -> None:
        self.lambda_, self.runpod = FakeLambda(SystemClock()), FakeRunpod(SystemClock())
        self.vast = FakeVast(SystemClock())

    def alive(self) -> dict[str, int]:
        """Machines as each cloud itself has them in its books."""
        reservations = raw_client("ec2").describe_instances()["Reservations"]
        return {
            "aws": sum(len(found["Instances"]) for found in reservations),
            "lambda": len(self.lambda_.alive()),
            "runpod": len(self.runpod.alive()),
            "sandbox": len(control.sandbox().hosts()),
            "vast": len(self.vast.alive()),
        }

    def accounts(self) -> list[Account]:
        """As settings would have them."""
        return [
            Account("aws", "aws", regions=(REGION,), base_url=moto_server.server_url()),
            Account("lambda", "lambda", api_key_env="BOARD_LAMBDA", base_url=self.lambda_.url),
            Account("runpod", "runpod", api_key_env="BOARD_RUNPOD", base_url=self.runpod.url),
            Account("sandbox", "sandbox"),
            Account("vast", "vast", api_key_env="BOARD_VAST", base_url=self.vast.url),
        ]


@pytest.fixture
def clouds(own_home: object) -> Iterator[Clouds]:
    with ExitStack() as stack:
        stack.enter_context(aws_environment())
        moto_server.server_url()
        moto_server.reset()
        prepare_aws()
        prepare_keys()
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setitem(os.environ, "BOARD_LAMBDA", LAMBDA_KEY)
        patch.setitem(os.environ, "BOARD_RUNPOD", RUNPOD_KEY)
        patch.setitem(os.environ, "BOARD_VAST", VAST_KEY)
        page = WhatIsMyAddress(SystemClock())
        stack.callback(page.close)
        patch.setattr(network, "ADDRESS_URL", page.url)
        found = Clouds()
        stack.callback(found.lambda_.close)
        stack.callback(found.runpod.close)
        stack.callback(found.vast.close)
        stack.callback(control.reset)
        yield found


@asynccontextmanager
async def dashboard(accounts: list[Account]) -> AsyncIterator[tuple[Pilot[Any], GpudashApp, Fleet]]:
    config = Config(accounts={account.name: account for account in accounts})
    session = Session.open(config, accounts=[account.name for account in accounts], actor="dashboard")
    fleet = Fleet(session)
    app = GpudashApp(fleet, Options())
    try:
        async with app.run_test(size=(160, 48)) as pilot:
            yield pilot, app, fleet
            await app.action_quit()
    finally:
        session.close()


async def until(true: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait for the world; it has clocks of its own here."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} did not come true in time"
        await asyncio.sleep(0.05)


async def launch_at(name: str, pilot: Pilot[Any], app: GpudashApp, fleet: Fleet, clouds: Clouds) -> None:
    """Type the account, Enter, Enter."""
    before = len(fleet.store.operations)
    accounts = {account.name for account in clouds.accounts()}
    await pilot.press("n")
    board: Any = app.screen
    assert isinstance(board, LaunchScreen)
    await until(lambda: {row.record.account for row in board.view.rows.values()} == accounts, "every offer")
    await pilot.press(*f"account:{name} stock:n")
    await until(lambda: board.table.record is not None and board.table.record.account == name, "an offer")
    await pilot.press("enter", "enter")
    await until(lambda: len(fleet.store.operations) == before + 1, f"a launch at {name}")
    await until(lambda: clouds.alive()[name] == 1, f"a machine at {name}")
    await pilot.press("escape")
    await until(lambda: isinstance(app.screen, FleetScreen), "the table")


async def test_one_board_launches_at_each_cloud(clouds: Clouds) -> None:
    """Exactly one machine more in each cloud's books, and its row in the table."""
    names = [account.name for account in clouds.accounts()]
    async with dashboard(clouds.accounts()) as (pilot, app, fleet):
        for name in names:
            await launch_at(name, pilot, app, fleet, clouds)
        await until(lambda: {r.instance.key.account for r in fleet.store.records.values()} == set(names), "each row")
        assert clouds.alive() == dict.fromkeys(names, 1)
        assert all(op.stage not in (Stage.FAILED, Stage.AMBIGUOUS) for op in fleet.store.operations.values())
        for record in fleet.store.records.values():
            assert record.instance.managed
            assert record.instance.price is not None
            assert record.instance.state in (InstanceState.PENDING, InstanceState.STARTING, InstanceState.RUNNING)
