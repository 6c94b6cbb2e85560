"""Textual's terminal driver, with an Escape that does not wait and a thread that sleeps until something is typed.

Without the kitty protocol a lone ESC byte may begin a sequence, so Textual waits; but it looks at its clock only
every 100 ms, and does so for ever. Here it looks every 10 ms while an ESC is open, which brings Escape from 107 to
40 ms, and not at all otherwise: an idle dashboard is woken by its own beat alone.

It also goes on listening for the terminal's answer about its background, which is told to the app and is no key.
"""

from __future__ import annotations

import os
import select
import threading
import time
from codecs import getincrementaldecoder
from typing import Any, ClassVar

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from gpudash.ui.background import PATIENCE_S, Answers
from gpudash.ui.pick_theme import BackgroundTold

OPEN_S, WAITING_S = 0.01, 0.1
"""Between two looks at the clock while an escape sequence may be open, and while an answer is waited for."""
LAST_WORD_S = 0.1
"""How long leaving waits for an answer under way, which the shell would take for typing."""


class _Bell(threading.Event):
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

    typed_before: ClassVar[bytes] = b""
    """What was typed and read before there was a driver."""
    answers: ClassVar[Answers] = Answers(waiting=False)
    """Takes the terminal's answers out of what is typed."""
    _answered: ClassVar[threading.Event] = threading.Event()

    @classmethod
    def after(cls, typed: bytes, answers: Answers) -> type[QuickEscapeDriver]:
        """A driver that goes on where the early frame left off."""
        own = {"typed_before": typed, "answers": answers, "_answered": threading.Event()}
        return type(cls.__name__, (cls,), own)

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self.exit_event = self._bell = _Bell()

    def run_input_thread(self) -> None:
        """Read what is typed, until told to stop."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")().decode
        answers = self.answers
        ears = [self.fileno, self._bell.ear]
        patient_until = time.monotonic() + PATIENCE_S
        # Once only: after a child program this thread begins anew.
        text, type(self).typed_before = decode(self.typed_before), b""
        try:
            while not self.exit_event.is_set():
                if text:
                    text = self._without_answers(text)
                    for event in parser.feed(text) if text else ():
                        self.process_message(event)
                is_open = parser._timeout_time is not None or answers.holds
                pause = OPEN_S if is_open else WAITING_S if answers.waiting else None
                if self.fileno in select.select(ears, [], [], pause)[0]:
                    text = decode(os.read(self.fileno, 4096))
                    if not text:
                        break
                else:
                    text = ""
                    for event in parser.feed(typed) if (typed := answers.nothing_came()) else ():
                        self.process_message(event)
                    answers.waiting = answers.waiting and time.monotonic() < patient_until
                for event in parser.tick():
                    self.process_message(event)
        finally:
            try:
                for _ in parser.feed(""):
                    pass
            except (EOFError, ParseError):
                pass

    def _without_answers(self, text: str) -> str:
        """The text, after the app has been told of an answer in it."""
        was_waiting, before = self.answers.waiting, self.answers.light
        text = self.answers.take(text)
        if was_waiting and not self.answers.waiting:
            self._answered.set()
        if self.answers.light is not None and self.answers.light is not before:
            self.process_message(BackgroundTold(self.answers.light))
        return text

    def disable_input(self) -> None:
        """Stop reading; an answer that is under way is waited for a moment, or the shell would get it."""
        if self.answers.waiting and not self.exit_event.is_set():
            self._answered.wait(LAST_WORD_S)
        super().disable_input()
