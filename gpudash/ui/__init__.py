"""The dashboard. This module is light: it paints the last frame before Textual is imported, then hands over.

`run_dashboard` is the only way in. Everything else here belongs to the screen; nothing below it knows one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpudash.config import Config


def run_dashboard(
    config: Config,
    *,
    demo: bool = False,
    speed: float = 1.0,
    fresh: bool = False,
    synthetic: int | None = None,
    read_only: bool = False,
) -> int:
    """Take the terminal and show the fleet until the person leaves; the exit code of the process.

    Args:
        config: the settings.
        demo: the sandbox alone, with a few hosts started where there are none.
        speed: seconds of the sandbox's clock in one real second.
        fresh: remove what an earlier demo left first.
        synthetic: that many made-up rows that tick, and nothing real.
        read_only: refuse every change.
    """
    from gpudash.ui.launcher import Run, launch

    return launch(Run(config, demo, speed, fresh, synthetic, read_only))
