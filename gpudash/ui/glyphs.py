"""Which characters this terminal can show. Everything is written in Unicode; a poor terminal gets it translated as it
is drawn.

The translation is one cell to one cell, so no layout depends on it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from rich.cells import cell_len

_ASCII = str.maketrans(
    {
        "▁": "_", "▂": ".", "▃": "-", "▄": "=", "▅": "+", "▆": "*", "▇": "#", "█": "#",
        "▰": "#", "▱": "-", "▌": ">", "▐": "<", "│": "|", "─": "-", "┄": "-", "━": "=", "╌": "-",
        "●": "*", "◐": "%", "○": "O", "◌": ".", "▲": "!", "▸": ">", "▪": "#", "▫": "o", "◆": "*",
        "✓": "+", "✗": "x", "✖": "x", "×": "x", "·": "|", "•": "*", "–": "-", "—": "-", "…": "~", "→": ">", "←": "<",
        "↑": "^", "↓": "v", "⏎": "<", "°": "'", "≥": ">", "≤": "<", "“": '"', "”": '"', "‘": "'", "’": "'",
        "é": "e", "ö": "o", "ü": "u", "ä": "a",
    }
)  # fmt: skip


def to_ascii(text: str) -> str:
    """The text in ASCII, cell for cell; what has no likeness becomes ``?``, as wide as it was."""
    if text.isascii():
        return text
    text = text.translate(_ASCII)
    if text.isascii():
        return text
    return "".join(char if char.isascii() else "?" * cell_len(char) for char in text)


def wants_ascii(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the locale or the terminal cannot show Unicode, or the person said so with ``GPUDASH_ASCII=1``."""
    chosen = environment.get("GPUDASH_ASCII")
    if chosen is not None:
        return chosen not in ("", "0")
    if environment.get("TERM") in ("linux", "dumb", "vt100", "vt220"):
        return True
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or ""
    if not environment.get("LC_ALL") and locale in ("", "C.UTF-8", "C.utf8"):
        # Python itself writes LC_CTYPE=C.UTF-8 under LANG=C, so LANG is what the person said.
        locale = environment.get("LANG") or locale or "UTF-8"
    return "utf" not in locale.lower()
