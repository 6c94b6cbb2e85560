"""Keys at random: no exception, no wrong target, nothing changed in read-only mode."""

from __future__ import annotations

import random

import pytest

from gpudash.ui.actions import ACTIONS
from gpudash.ui.synthetic.sample import sample_fleet
from tests.ui.helpers import stage

LEAVING = {"q", "ctrl+q", "ctrl+c", "ctrl+z", "s"}
KEYS = [
    *sorted({key for action in ACTIONS for key in action.keys.split(",")} - LEAVING),
    *("tab", "left", "right", "enter", "escape", "escape", "down", "down", "6", "y"),
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("read_only", [False, True])
async def test_keys_at_random(seed: int, read_only: bool) -> None:
    chance = random.Random(seed)
    fleet = sample_fleet(read_only=read_only)
    known = set(fleet.store.records)
    async with stage(fleet, size=(110, 30)) as on:
        for number in range(150):
            await on.press(chance.choice(KEYS))
            if number % 10 == 0:
                fleet.step()
                await on.beat(1)
            assert on.app.crash is None
            assert on.app.is_running
        assert len(on.app.screen_stack) < 10
    if read_only:
        assert [call for call, _ in fleet.calls if call != "refresh"] == []
    for call, what in fleet.calls:
        if call in ("end", "start", "push", "extend"):
            key = what[0] if type(what) is tuple else what  # type: ignore[index]
            assert key in known or key in fleet.store.records or key.id.startswith("i-op")  # type: ignore[attr-defined]
