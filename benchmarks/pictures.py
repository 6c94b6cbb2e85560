"""Pictures of the real screens, in the states of the snapshots. ``python benchmarks/pictures.py`` writes
docs/pictures/*.svg; with names, only those.

Those called ``sandbox-*`` are taken over a sandbox of their own, with real hosts, real SSH and the real daemon, once
all hosts are guarded and one that nobody guards has come up; the rest over the scripted scene, and so are the snapshots:
a real host has an id, ports and a load of its own each time, and no sandbox has four clouds that refuse different things.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from datetime import UTC, timedelta
from pathlib import Path

ROOT = Path(__file__).parent.parent
os.environ["TEXTUAL_ANIMATIONS"] = "none"
sys.path[:0] = [str(ROOT)]

# After the environment that Textual reads at import:
from gpudash.config import Config  # noqa: E402
from gpudash.fleet.fleet import Fleet  # noqa: E402
from gpudash.fleet.session import Session  # noqa: E402
from gpudash.providers.sandbox import control  # noqa: E402
from gpudash.ui.app import GpudashApp, Options  # noqa: E402
from gpudash.ui.synthetic.sample import NOW  # noqa: E402
from tests.snapshots.states import STATES, app_for, bring  # noqa: E402

PICTURES: dict[str, tuple[str, tuple[int, int], str]] = {
    "fleet-160": ("fleet", (160, 30), "dark"),
    "fleet-80": ("fleet", (80, 24), "dark"),
    "fleet-light": ("fleet", (160, 30), "light"),
    "colour-blind": ("fleet", (80, 24), "colour-blind"),
    "launch": ("launch", (120, 24), "dark"),
    "launching": ("launching", (160, 30), "dark"),
    "extend": ("extend", (120, 30), "dark"),
    "terminate": ("terminate", (120, 30), "dark"),
    "undo": ("undo", (80, 24), "dark"),
    "marks": ("marks", (120, 30), "dark"),
    "instance": ("instance", (160, 48), "dark"),
    "costs": ("costs", (120, 24), "dark"),
    "filter": ("filter", (120, 30), "dark"),
    "help": ("help", (160, 48), "dark"),
    "palette": ("palette", (120, 30), "dark"),
    "welcome": ("welcome", (120, 30), "dark"),
}
"""File → state, size, theme."""

SANDBOX: dict[str, tuple[str, tuple[int, int]]] = {
    "sandbox-fleet": ("fleet", (160, 30)),
    "sandbox-instance": ("instance", (160, 48)),
    "sandbox-extend": ("extend", (120, 30)),
}
"""The same states over real hosts: file → state, size."""
SPEED = 30
"""The sandbox's hour is two minutes: what is seen is a fleet in the middle of its day."""
MORNING = timedelta(minutes=14)
"""So long, by its own clock, before the moment of the scripted scene it begins; so every picture is of one day."""
PATIENCE_S = 90.0
PAST_S = 20.0
"""Real seconds in which signals, money and sparklines gather."""

CELL = 12.2
"""Width of a cell in Rich's SVG."""
_TEXT = re.compile(
    r'(<text [^>]*?)x="([\d.]+)"([^>]*?)textLength="([\d.]+)"([^>]*)>((?:&#160;)*)([^<]*?)((?:&#160;)*)</text>'
)


def without_edge_spaces(svg: str) -> str:
    """The same picture, with no text that begins or ends in spaces: some programs drop them and shift the rest."""

    def cut(match: re.Match[str]) -> str:
        head, x, middle, length, rest, before, words, after = match.groups()
        if not words:
            return ""
        left, right = before.count("&"), after.count("&")
        place, width = float(x) + left * CELL, float(length) - (left + right) * CELL
        return f'{head}x="{place:g}"{middle}textLength="{width:g}"{rest}>{words}</text>'

    return _TEXT.sub(cut, svg)


async def picture(name: str, folder: Path) -> None:
    """Write one."""
    state, size, theme = PICTURES[name]
    app = app_for(STATES[state], theme)
    async with app.run_test(size=size) as pilot:
        await bring(pilot, STATES[state])
        svg = without_edge_spaces(app.export_screenshot(title="gpudash"))
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")


async def over_the_sandbox(names: list[str], folder: Path) -> None:
    """Have a morning's fleet, wait until it is as wanted, and write those."""
    try:
        begin = {"real0": time.time(), "virtual0": (NOW - MORNING).timestamp(), "speed": SPEED}
        control.sandbox().clock_file.parent.mkdir(parents=True)
        control.sandbox().clock_file.write_text(json.dumps(begin))
        with Session.open(Config(), accounts=[control.ACCOUNT], actor="dashboard") as session:
            await _pictures_of(Fleet(session), names, folder)
    finally:
        control.reset()


async def _pictures_of(fleet: Fleet, names: list[str], folder: Path) -> None:
    app = GpudashApp(fleet, Options(theme="dark", zone=UTC))
    app.animation_level = "none"
    async with app.run_test(size=SANDBOX[names[0]][1]) as pilot:
        *guarded, forgotten = control.demo_orders(fleet.clock)
        control.launch_unguarded(forgotten)
        for order in guarded:
            await fleet.launch(order)
        give_up = asyncio.get_running_loop().time() + PATIENCE_S
        while sum(record.status is not None for record in fleet.store.records.values()) < len(guarded):
            if asyncio.get_running_loop().time() > give_up:
                raise SystemExit(f"The hosts are not guarded after {PATIENCE_S:.0f} s; try again on a quiet machine.")
            await pilot.pause(0.1)
        await pilot.pause(PAST_S)
        for name in names:
            state, size = SANDBOX[name]
            await pilot.resize_terminal(*size)
            await bring(pilot, STATES[state], burns=())
            svg = without_edge_spaces(app.export_screenshot(title="gpudash demo"))
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
            while len(app.screen_stack) > 1:
                await pilot.press("escape")
        await app.action_quit()


async def main() -> None:
    """Write those that were asked for, or all."""
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or [*PICTURES, *SANDBOX]
    for name in wanted:
        if name not in SANDBOX:
            await picture(name, folder)
    if real := [name for name in wanted if name in SANDBOX]:
        await over_the_sandbox(real, folder)
    print(*(f"docs/pictures/{name}.svg" for name in wanted), sep="\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        # Nobody's own settings, themes or keys are in the pictures.
        os.environ["HOME"] = home
        for variable, place in (("CONFIG", ".config"), ("STATE", ".local/state"), ("CACHE", ".cache")):
            os.environ[f"XDG_{variable}_HOME"] = f"{home}/{place}"
        asyncio.run(main())
