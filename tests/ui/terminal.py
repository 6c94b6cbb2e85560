"""The dashboard in a real pty whose other end is a terminal that remembers what it shows."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pyte

from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
WORDS = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}


class Terminal:
    """One run of ``gpudash demo`` on made-up rows, or of another command."""

    def __init__(self, *command: str, size: tuple[int, int] = (90, 24), **environment: str) -> None:
        variables = {key: value for key, value in os.environ.items() if key not in ("COLORFGBG", "NO_COLOR", "LC_ALL")}
        program = command or (sys.executable, "-m", "gpudash", "demo", "--synthetic", "12")
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self.bytes = b""
        """All that came."""
        self.child = pexpect.spawn(
            program[0], list(program[1:]), dimensions=size[::-1], env=variables | WORDS | environment, cwd=str(ROOT)
        )

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(self.screen.display)

    def read(self, seconds: float = 0.05) -> None:
        """Take in what comes within that time."""
        try:
            data = self.child.read_nonblocking(65536, timeout=seconds)
        except pexpect.TIMEOUT:
            return
        self.bytes += data
        # What pyte does not know and would print: private modes of the kitty protocol.
        self._stream.feed(data.replace(b"\x1b[>25u", b"").replace(b"\x1b[<u", b""))

    def until(self, true: Callable[[], bool] | str, seconds: float = PATIENCE_S) -> None:
        """Read until that is so, or those words are on the screen."""
        holds = (lambda: true in self.text) if isinstance(true, str) else true
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"it did not come true:\n{self.text}"
            self.read()

    def send(self, keys: str) -> None:
        """Type that, byte for byte."""
        self.child.send(keys)

    def resize(self, width: int, height: int) -> None:
        """The window gets another size."""
        self.screen.resize(height, width)
        self.child.setwinsize(height, width)

    def quit(self) -> None:
        """Leave by q, and wait for the end."""
        self.send("q")
        end = time.monotonic() + PATIENCE_S
        while self.child.isalive():
            assert time.monotonic() < end, f"it did not leave:\n{self.text}"
            try:
                self.read(0.05)
            except pexpect.EOF:
                self.child.wait()
        self.child.close()
        assert self.child.exitstatus == 0
