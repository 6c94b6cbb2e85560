"""Which theme a start uses: the person's, else one that suits the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping

from textual.message import Message

from gpudash.errors import ConfigError
from gpudash.ui import themes


class BackgroundTold(Message):
    """The terminal said what its background is, after the first theme had to be chosen."""

    def __init__(self, light: bool) -> None:
        super().__init__()
        self.light = light


def pick_theme(
    wanted: str | None, *, no_color: bool, light: bool | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[str, tuple[str, ...]]:
    """The theme's name, and what was wrong with the one that was wanted.

    Args:
        wanted: what the settings say.
        no_color: the person wants none.
        light: what the terminal answered of its background; None where it did not.
        environment: what else says what it can show.
    """
    fallback = _suiting(environment, light) if not no_color else themes.PLAIN
    if no_color or wanted is None:
        return fallback, ()
    try:
        themes.load(wanted)
    except ConfigError as exc:
        return fallback, (f"{exc} Using {fallback}.",)
    return wanted, ()


def _suiting(environment: Mapping[str, str], light: bool | None) -> str:
    """Sixteen colours where there are no more; else light where the background is, by the terminal's own answer or by
    what it put into ``COLORFGBG``; else dark."""
    term = environment.get("TERM", "")
    rich_colours = environment.get("COLORTERM", "") in ("truecolor", "24bit") or "256" in term
    if term in ("linux", "dumb", "xterm", "vt100", "ansi", "screen") and not rich_colours:
        return "terminal"
    if light is None:
        light = environment.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15")
    return themes.DEFAULT_LIGHT if light else themes.DEFAULT_DARK
