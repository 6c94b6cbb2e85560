"""Is the terminal dark or light? It is asked (OSC 11) before Textual is imported, and nobody waits for its answer.

Most terminals have answered by the time the first frame is made, which then stands in the right theme at once; a
later answer is picked out of what is typed by the driver. Terminals that do not know the question say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

QUERY = b"\x1b]11;?\x07"
"""What colour is your background? (xterm's Operating System Command 11.)"""
PATIENCE_S = 2.0
"""After this long without an answer a lone ESC is again nothing but a key."""

_ANSWER = re.compile(r"\x1b\]11;([^\x07\x1b]*)(?:\x07|\x1b\\)")
_BEGUN = re.compile(r"\x1b(?:\](?:1(?:1(?:;(?:[rgba]{0,4}:?[0-9a-fA-F/]*)?\x1b?)?)?)?)?\Z")
_SURE = "\x1b]11;"
_COLOR = re.compile(r"(?:rgba?:)?([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})(?:/[0-9a-fA-F]{1,4})?")
_MUTE = ("dumb", "linux", "vt100", "vt220", "ansi", "cons25")


def can_be_asked(environment: Mapping[str, str]) -> bool:
    """Whether that kind of terminal takes the question without showing it."""
    return environment.get("TERM", "dumb") not in _MUTE


def is_light(answer: str) -> bool | None:
    """What a colour as ``rgb:ffff/ffff/ffff`` says; None where it is none."""
    match = _COLOR.fullmatch(answer)
    if match is None:
        return None
    red, green, blue = (int(part, 16) / float(16 ** len(part) - 1) for part in match.groups())
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5)


class Answers:
    """Takes the terminal's answers out of the stream of what is typed, in whatever pieces they come."""

    def __init__(self, *, waiting: bool) -> None:
        self.waiting = waiting
        """An answer may still come."""
        self.light: bool | None = None
        """What the last answer said."""
        self._held = ""
        self._kept_for = 0

    def take(self, text: str) -> str:
        """The same without answers; the beginning of one is held until the rest is there."""
        if not self._held and "\x1b]" not in text and not (self.waiting and text.endswith("\x1b")):
            return text
        text, self._held, self._kept_for = _ANSWER.sub(self._heard, self._held + text), "", 0
        begun = _BEGUN.search(text)
        if begun and (self.waiting or len(begun[0]) > 1):
            self._held = begun[0]
            return text[: begun.start()]
        # The rest of an answer that broke off is nobody's key.
        return re.sub(r"\x1b\]11;[rgba]{0,4}:?[0-9a-fA-F/]*", "", text)

    @property
    def holds(self) -> bool:
        """Something is held that may yet be a key."""
        return bool(self._held)

    def nothing_came(self) -> str:
        """What was held and was typed after all. Call it each time the terminal stayed silent for a moment."""
        self._kept_for += 1
        if not self._held or (self._held.startswith(_SURE) and self._kept_for < 100):
            return ""
        text, self._held = self._held, ""
        return "" if text.startswith(_SURE) else text

    def let_go(self) -> str:
        """What is held, for somebody else to go on with."""
        text, self._held = self._held, ""
        return text

    def _heard(self, match: re.Match[str]) -> str:
        self.waiting = False
        light = is_light(match[1])
        self.light = self.light if light is None else light
        return ""
