"""Pictures of the real screens, in the states of the snapshots. ``python benchmarks/pictures.py`` writes
docs/pictures/*.svg; with names, only those.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
os.environ["TEXTUAL_ANIMATIONS"] = "none"
sys.path[:0] = [str(ROOT)]

from tests.snapshots.states import STATES, app_for, bring  # noqa: E402 - after the environment Textual reads at import

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


async def main() -> None:
    """Write those that were asked for, or all."""
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        await picture(name, folder)
        print(f"docs/pictures/{name}.svg")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        # Nobody's own settings, themes or keys are in the pictures.
        for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
            os.environ[variable] = home
        asyncio.run(main())
