"""The pictures of README and guide, in one command: ``python benchmarks/pictures.py``. The scripted scene, clock frozen."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC
from pathlib import Path

os.environ["TEXTUAL_ANIMATIONS"] = "none"

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
WIDE, NARROW = (160, 48), (80, 24)
PICTURES: dict[str, tuple[tuple[int, int], str, str, tuple[str, ...]]] = {
    "fleet-160": ((160, 30), "dark", "train-llama", ()),
    "fleet-light": ((160, 30), "light", "train-llama", ()),
    "fleet-80": (NARROW, "dark", "train-llama", ()),
    "colour-blind": (NARROW, "colour-blind", "train-llama", ()),
    "launch": ((160, 30), "dark", "comfy", ("n", *"h100", "enter")),
    "extend": (NARROW, "dark", "train-llama", ("+",)),
    "terminate": (NARROW, "dark", "comfy", ("X",)),
    "instance": (WIDE, "dark", "train-llama", ("enter",)),
    "help": (WIDE, "dark", "train-llama", ("?",)),
}
"""File, size, theme, instance under the cursor, keys pressed."""


async def take(name: str) -> Path:
    """Draw one picture."""
    from gpudash.ui.app import GpudashApp, Options
    from gpudash.ui.screens.fleet import FleetScreen
    from gpudash.ui.synthetic.sample import sample_fleet

    size, theme, instance, keys = PICTURES[name]
    app = GpudashApp(sample_fleet(), Options(theme=theme, zone=UTC))
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, FleetScreen)
        screen.go_to(next(key for key, row in app.fleet.store.records.items() if row.instance.name == instance))
        await pilot.pause(0.3)
        await pilot.press(*keys)
        await pilot.pause(0.4)
        path = FOLDER / f"{name}.svg"
        path.write_text(app.export_screenshot(title="gpudash"))
        return path


def main() -> None:
    """Draw all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        print(asyncio.run(take(name)).relative_to(FOLDER.parent.parent))


if __name__ == "__main__":
    main()
