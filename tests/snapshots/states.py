"""The states of the dashboard worth a picture: one list for the snapshots and for the pictures of the documentation.

Each is reached by keys over the scripted scene, whose clock stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any, NamedTuple

from textual.pilot import Pilot

from gpudash.clock import ManualClock
from gpudash.ui.app import GpudashApp, Options
from gpudash.ui.screens.fleet import FleetScreen
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.sample import NOW, sample_fleet

WIDE, NARROW = (160, 48), (80, 24)
BURNS = (24.1, 24.1, 26.0, 28.5, 28.5, 31.0, 35.4, 35.4, 33.0, 31.8, 31.8, 31.8)
"""What the fleet burned in the last minutes."""


class State(NamedTuple):
    """How to get there."""

    under: str = "train-llama"
    """The instance under the cursor."""
    keys: tuple[str, ...] = ()
    steps: int = 0
    """What the in-memory cloud then does."""
    welcome: bool = False


STATES = {
    "fleet": State(),
    "filter": State("comfy", ("/", *"!guard:armed")),
    "marks": State("comfy", ("space", "down", "space", "X")),
    "instance": State(keys=("enter",)),
    "launch": State("comfy", ("n", *"h100", "enter")),
    "launching": State("comfy", ("n", *"h100", "enter", "enter", "escape"), 3),
    "extend": State(keys=("+",)),
    "terminate": State("comfy", ("X", *"com")),
    "undo": State("comfy", ("x", "right", "enter")),
    "costs": State(keys=("c",)),
    "leftovers": State(keys=("l",)),
    "palette": State("comfy", (":", *"theme nord")),
    "help": State(keys=("?",)),
    "welcome": State("", welcome=True),
}


def app_for(state: State, theme: str = "dark", *, ascii_only: bool = False) -> GpudashApp:
    """The app before it is brought there."""
    fleet = MemoryFleet(ManualClock(NOW)) if state.welcome else sample_fleet()
    app = GpudashApp(fleet, Options(theme=theme, zone=UTC, ascii_only=ascii_only, welcome=state.welcome))
    app.animation_level = "none"
    return app


async def bring(pilot: Pilot[Any], state: State, burns: Sequence[float] = BURNS) -> None:
    """Put the cursor on its instance, press the keys, let the cloud do its part."""
    app = pilot.app
    assert isinstance(app, GpudashApp)
    await pilot.pause()
    screen = app.screen_stack[0]
    assert isinstance(screen, FleetScreen)
    if state.under:
        screen.totals.burns.extendleft(reversed(burns))
        records = app.fleet.store.records
        screen.go_to(next(key for key, record in records.items() if record.instance.name == state.under))
        await pilot.pause(0.3)
        while screen._rest is not None:  # the ledger is asked for events once the cursor rests
            await pilot.pause(0.05)
        await pilot.pause()
        screen.beat()
    await pilot.press(*state.keys)
    await pilot.pause(0.3)
    for _ in range(state.steps):
        app.fleet.step()  # type: ignore[attr-defined]
    await pilot.pause(0.2)
