"""Variables taken out of the environment for Textual, which a child process shall have again."""

from __future__ import annotations

import os

GIVEN_BACK: dict[str, str] = {}
"""Filled by the launcher."""


def environment() -> dict[str, str]:
    """The environment as the person set it."""
    mine = {name: value for name, value in os.environ.items() if name not in ("TEXTUAL_FPS", "ESCDELAY")}
    return mine | GIVEN_BACK
