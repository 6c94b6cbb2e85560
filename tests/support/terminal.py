"""A real terminal for tests: a program in a tmux pane of its own, typed at and read as a person would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.support.waiting import PATIENCE_S


class Terminal:
    """One tmux server with one pane. Leaves nothing behind."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        size: tuple[int, int] = (160, 48),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._argv = list(argv)
        self._size = size
        self._env = {
            **os.environ,
            **(env or {}),
            "TERM": "tmux-256color",
            "COLORTERM": "truecolor",
            "LC_ALL": "C.UTF-8",
        }

    def __enter__(self) -> Terminal:
        config = self._folder / "tmux.conf"
        config.write_text("set -g default-terminal tmux-256color\nset -g remain-on-exit on\nset -sg escape-time 0\n")
        program = f"echo $$ >{self._file('pid')}; exec {shlex.join(self._argv)}"
        command = f"sh -c {shlex.quote(program)}; echo $? >{self._file('status')}"
        width, height = self._size
        self._tmux("-f", str(config), "new-session", "-d", "-x", str(width), "-y", str(height), command)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(self.text())
        self._tmux("kill-server", check=False)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: ``n``, ``Enter``, ``Escape``, ``C-c``."""
        for key in keys:
            self._tmux("send-keys", key)

    def type(self, text: str) -> None:
        """Type text as it stands."""
        self._tmux("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        """Change the size of the window under the program."""
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def text(self) -> str:
        """What can be read on the screen now."""
        return self._tmux("capture-pane", "-p").stdout

    def lines(self, pattern: str) -> list[str]:
        """The lines on the screen in which the pattern is found."""
        return [line for line in self.text().splitlines() if re.search(pattern, line)]

    def press_focus(self, key: str, line: str) -> None:
        """Press a key that moves the focus within a line, and wait until it is seen there: a key that comes earlier
        goes to where the focus was."""
        before = self._coloured(line)
        self.press(key)
        self.wait_until(lambda _: self._coloured(line) != before, f"the focus moves in {line}")

    def _coloured(self, pattern: str) -> list[str]:
        """The lines in which the pattern is found, with their colours."""
        shown, coloured = self.text().splitlines(), self._tmux("capture-pane", "-p", "-e").stdout.splitlines()
        return [told for plain, told in zip(shown, coloured, strict=False) if re.search(pattern, plain)]

    def wait_for(self, pattern: str, *, timeout_s: float = PATIENCE_S) -> str:
        """Wait until the pattern can be read on the screen; the screen as it then is."""
        return self.wait_until(lambda text: re.search(pattern, text) is not None, pattern, timeout_s=timeout_s)

    def wait_gone(self, pattern: str, *, timeout_s: float = PATIENCE_S) -> str:
        """Wait until the pattern can no longer be read."""
        return self.wait_until(lambda text: re.search(pattern, text) is None, f"no {pattern}", timeout_s=timeout_s)

    def wait_until(self, holds: Callable[[str], bool], what: str, *, timeout_s: float = PATIENCE_S) -> str:
        """Wait until something holds of the screen's text."""
        end = time.monotonic() + timeout_s
        while True:
            text = self.text()
            if holds(text):
                return text
            if time.monotonic() > end:
                raise AssertionError(f"never seen in {timeout_s:g} s: {what}\n{text}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """The program's process."""
        return int(self._read("pid", PATIENCE_S))

    def exit_status(self, *, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the program to end; what it ended with (128 + n for signal n)."""
        return int(self._read("status", timeout_s))

    def _file(self, name: str) -> str:
        return shlex.quote(str(self._folder / f"program.{name}"))

    def _read(self, name: str, timeout_s: float) -> str:
        path = self._folder / f"program.{name}"
        end = time.monotonic() + timeout_s
        while not (path.exists() and path.read_text().endswith("\n")):
            if time.monotonic() > end:
                raise AssertionError(f"no {name} of the program in {timeout_s:g} s\n{self.text()}")
            time.sleep(0.05)
        return path.read_text()

    def _tmux(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = ["tmux", "-S", str(self._folder / "tmux.sock"), *words]
        return subprocess.run(argv, env=self._env, check=check, text=True, capture_output=True, timeout=PATIENCE_S)
