"""The last session's frame, on screen 20 ms after the start, while Textual is still being imported.

Only `os`, `sys`, `select` and `termios` are needed: echo and line mode go off (what is typed meanwhile is kept for the
dashboard and does not show), the alternate screen opens, and the stored bytes for this terminal size are written.
They are marked with their time when they are stored. Without a stored frame of this size only the name is shown.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path
from typing import Any

from gpudash.ui.background import QUERY, Answers

_ENTER = b"\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
_LEAVE = b"\x1b[?1049l\x1b[?25h\x1b[0m"


class EarlyFrame:
    """Holds the terminal from the first millisecond until the dashboard has it, and gives it back as it was."""

    def __init__(self, folder: Path, kind: str, *, asks_background: bool = False) -> None:
        self._folder, self._kind, self._asks = folder, kind, asks_background
        self._before: list[Any] | None = None
        self._shown = False

    @property
    def terminal_before(self) -> list[Any] | None:
        """The terminal's settings as they were."""
        return self._before

    def show(self) -> None:
        """Take the terminal and paint."""
        try:
            import termios
        except ImportError:
            return
        fd = sys.stdin.fileno()
        try:
            self._before = termios.tcgetattr(fd)
            quiet = termios.tcgetattr(fd)
            quiet[3] &= ~(termios.ECHO | termios.ICANON)
            termios.tcsetattr(fd, termios.TCSANOW, quiet)
        except termios.error:
            return
        self._write(_ENTER + self._stored() + (QUERY if self._asks else b""))
        self._shown = True

    def heard(self) -> tuple[bytes, Answers]:
        """What came from the terminal by now: the keys that were typed, and its answer, which may still be under way."""
        answers = Answers(waiting=self._asks and self._shown)
        if not answers.waiting:
            return b"", answers
        came = b""
        with contextlib.suppress(OSError):
            fd = sys.stdin.fileno()
            while select.select([fd], [], [], 0)[0] and (more := os.read(fd, 4096)):
                came += more
        # Byte for byte, because what is typed may break off within a character.
        typed = answers.take(came.decode("latin-1")) + answers.let_go()
        return typed.encode("latin-1"), answers

    def give_back(self) -> None:
        """Whatever happened: echo and line mode as before, and no alternate screen left."""
        if self._before is None:
            return
        import termios

        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._before)
        self._before = None

    def leave_screen(self) -> None:
        """Out of the alternate screen, where the dashboard never came to it."""
        if self._shown:
            self._write(_LEAVE)

    def keep(self, frame: str, width: int, height: int) -> None:
        """Store a frame for the next start; for the owner only."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(width, height)
            draft = path.with_suffix(".tmp")
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(frame)
            draft.replace(path)

    def _stored(self) -> bytes:
        try:
            width, height = os.get_terminal_size(sys.stdout.fileno())
            return self._path(width, height).read_bytes()
        except OSError:
            return b"\x1b[1m gpudash\x1b[0m"

    def _path(self, width: int, height: int) -> Path:
        return self._folder / f"{self._kind}-{width}x{height}.ansi"

    @staticmethod
    def _write(data: bytes) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            os.write(sys.stdout.fileno(), data)
