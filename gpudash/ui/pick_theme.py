"""Which theme a start uses: the person's, else one that suits the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gpudash.errors import ConfigError
from gpudash.ui import themes


def pick_theme(
    wanted: str | None, *, no_color: bool, environment: Mapping[str, str] = os.environ
) -> tuple[str, tuple[str, ...]]:
    """The theme's name, and what was wrong with the one that was wanted."""
    fallback = _suiting(environment) if not no_color else themes.PLAIN
    if no_color or wanted is None:
        return fallback, ()
    try:
        themes.load(wanted)
    except ConfigError as exc:
        return fallback, (f"{exc} Using {fallback}.",)
    return wanted, ()


def _suiting(environment: Mapping[str, str]) -> str:
    """Sixteen colours where there are no more; light where the terminal says that its background is."""
    term = environment.get("TERM", "")
    rich_colours = environment.get("COLORTERM", "") in ("truecolor", "24bit") or "256" in term
    if term in ("linux", "dumb", "xterm", "vt100", "ansi", "screen") and not rich_colours:
        return "terminal"
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return themes.DEFAULT_LIGHT if background in ("7", "15") else themes.DEFAULT_DARK
