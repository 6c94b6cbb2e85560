"""Pictures of the real screens, of the scripted scene. ``python benchmarks/pictures.py`` writes docs/pictures/*.svg."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC
from pathlib import Path

ROOT = Path(__file__).parent.parent
os.environ["TEXTUAL_ANIMATIONS"] = "none"
sys.path[:0] = [str(ROOT)]

from gpudash.ui.app import GpudashApp, Options  # noqa: E402 - after the environment that Textual reads at import
from gpudash.ui.screens.fleet import FleetScreen  # noqa: E402
from gpudash.ui.synthetic.sample import sample_fleet  # noqa: E402

BURNS = (24.1, 24.1, 26.0, 28.5, 28.5, 31.0, 35.4, 35.4, 33.0, 31.8, 31.8, 31.8)
PICTURES: dict[str, tuple[tuple[int, int], str, str, tuple[str, ...], int]] = {
    "fleet-160": ((160, 30), "dark", "train-llama", (), 0),
    "fleet-80": ((80, 24), "dark", "train-llama", (), 0),
    "fleet-light": ((160, 30), "light", "train-llama", (), 0),
    "colour-blind": ((80, 24), "colour-blind", "train-llama", (), 0),
    "launch": ((120, 30), "dark", "comfy", ("n", *"h100", "enter"), 0),
    "launching": ((160, 30), "dark", "comfy", ("n", *"h100", "enter", "enter", "escape"), 3),
    "extend": ((120, 30), "dark", "train-llama", ("+",), 0),
    "terminate": ((120, 30), "dark", "comfy", ("X", *"com"), 0),
    "instance": ((160, 48), "dark", "train-llama", ("enter",), 0),
    "filter": ((120, 30), "dark", "comfy", ("/", *"!guard:armed"), 0),
    "help": ((160, 48), "dark", "comfy", ("?",), 0),
    "palette": ((120, 30), "dark", "comfy", (":", *"theme"), 0),
}
"""Name → size, theme, instance under the cursor, keys, steps of the in-memory cloud."""


async def picture(name: str, folder: Path) -> None:
    size, theme, instance, keys, steps = PICTURES[name]
    fleet = sample_fleet()
    app = GpudashApp(fleet, Options(theme=theme, zone=UTC))
    async with app.run_test(size=size) as pilot:
        screen = app.screen
        assert isinstance(screen, FleetScreen)
        screen.totals.burns.extendleft(reversed(BURNS))
        screen.go_to(next(key for key, record in fleet.store.records.items() if record.instance.name == instance))
        await pilot.pause(0.3)
        screen.beat()
        await pilot.press(*keys)
        await pilot.pause(0.3)
        for _ in range(steps):
            fleet.step()
        await pilot.pause(0.3)
        (folder / f"{name}.svg").write_text(app.export_screenshot(title="gpudash"), encoding="utf-8")


async def main() -> None:
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        await picture(name, folder)
        print(f"docs/pictures/{name}.svg")


if __name__ == "__main__":
    asyncio.run(main())
