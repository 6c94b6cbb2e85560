"""Keys and mouse at random, pastes and other sizes among them: no exception, no wrong target, nothing changed in read-only mode.

Over the scripted scene, and over the real sandbox with real hosts while its faults come and go. The latter takes
``GPUDASH_RANDOM_KEYS_SECONDS`` (30 where nothing is said; some minutes before a release), and a run is told again by
``GPUDASH_RANDOM_KEYS_SEED``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from gpudash.config import Config
from gpudash.fleet.session import Session
from gpudash.providers.sandbox import control
from gpudash.ui.synthetic.sample import sample_fleet
from tests.conftest import SECONDS_OF_RANDOM_KEYS, SEED_OF_RANDOM_KEYS
from tests.ui import hands
from tests.ui.helpers import stage
from tests.ui.walker import KEYS, StayingApp, Walker, WatchedApp, WatchedFleet, is_up


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("read_only", [False, True])
async def test_keys_at_random(seed: int, read_only: bool) -> None:
    chance = random.Random(seed)
    fleet = sample_fleet(read_only=read_only)
    known = set(fleet.store.records)
    async with stage(fleet, size=(110, 30), kind=StayingApp) as on:
        for number in range(150):
            if number % 4 == 3 and number > 20:
                hands.act(on.app, chance)
                await on.settle()
            else:
                await on.press(chance.choice(KEYS))
            if number % 10 == 0:
                fleet.step()
                await on.beat(1)
            assert on.app.crash is None
            assert on.app.is_running
        assert len(on.app.screen_stack) < 10
    if read_only:
        # Tunnels are of this machine alone: they change nothing at a cloud, and read-only allows them.
        local = {"refresh", "toggle_tunnels", "open_tunnel", "close_tunnel"}
        assert {call for call, _ in fleet.calls} <= local
    for call, what in fleet.calls:
        if call in ("end", "start", "push", "extend"):
            key = what[0] if type(what) is tuple else what  # type: ignore[index]
            assert key in known or key in fleet.store.records or key.id.startswith("i-op")  # type: ignore[attr-defined]


@pytest.fixture
def hosts(own_home: object) -> Iterator[None]:
    control.clock().set_speed(30)
    control.up(4)
    yield
    control.reset()


@pytest.mark.timeout(SECONDS_OF_RANDOM_KEYS * 2 + 120)
@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("read_only", [False, True])
async def test_keys_at_random_over_real_hosts_with_faults(read_only: bool, capsys: pytest.CaptureFixture[str]) -> None:
    seed = SEED_OF_RANDOM_KEYS or random.randrange(10**6)
    with capsys.disabled():
        print(f"\nrandom keys: GPUDASH_RANDOM_KEYS_SEED={seed} read_only={read_only}")
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    walker = Walker(random.Random(seed))
    session = Session.open(Config(), accounts=["sandbox"], actor="dashboard", read_only=read_only)
    fleet = WatchedFleet(session, walker.watch)
    app = WatchedApp(fleet, walker)
    try:
        async with app.run_test(size=(120, 36)) as pilot:
            for _ in range(400):
                if is_up(fleet):
                    break
                await asyncio.sleep(0.05)
            await walker.walk(SECONDS_OF_RANDOM_KEYS / (3 if read_only else 1.5))
            await pilot.pause()
            assert app.crash is None
            await app.action_quit()
    finally:
        told = session.ledger.recent_operations()
        session.close()
    assert walker.wrong == []
    assert problems == []
    assert len(walker.pressed) > 10 * SECONDS_OF_RANDOM_KEYS / 3
    if read_only:
        assert [verb for verb, _ in walker.asked if verb != "toggle_tunnels"] == []
        assert told == []
    else:
        assert walker.asked
