"""Textual's terminal driver, with an Escape that does not wait and a thread that sleeps until something is typed.

Without the kitty protocol a lone ESC byte may begin a sequence, so Textual waits; but it looks at its clock only
every 100 ms, and does so for ever. Here it looks every 10 ms while an ESC is open, which brings Escape from 107 to
40 ms, and not at all otherwise: an idle dashboard is woken by its own beat alone.
"""

from __future__ import annotations

import os
import select
from codecs import getincrementaldecoder
from threading import Event
from typing import Any

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

OPEN_S = 0.01
"""Between two looks at the clock while an escape sequence may be open."""


class _Bell(Event):
    """An event that a thread in `select` hears."""

    def __init__(self) -> None:
        super().__init__()
        self.ear, self._mouth = os.pipe()

    def set(self) -> None:
        super().set()
        os.write(self._mouth, b"!")

    def clear(self) -> None:
        super().clear()
        while select.select([self.ear], [], [], 0)[0]:
            os.read(self.ear, 64)


class QuickEscapeDriver(LinuxDriver):
    """Polls often while an escape sequence may be open."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self.exit_event = self._bell = _Bell()

    def run_input_thread(self) -> None:
        """Read what is typed, until told to stop."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")().decode
        ears = [self.fileno, self._bell.ear]
        try:
            while not self.exit_event.is_set():
                is_open = parser._timeout_time is not None
                ready = select.select(ears, [], [], OPEN_S if is_open else None)[0]
                if self.fileno in ready:
                    text = decode(os.read(self.fileno, 4096))
                    if not text:
                        break
                    for event in parser.feed(text):
                        self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
        finally:
            try:
                for _ in parser.feed(""):
                    pass
            except (EOFError, ParseError):
                pass
