"""Waiting for what other processes do: bounded, and with the reason when it does not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(ask: Callable[[], T], what: str, *, timeout_s: float = 20.0, every_s: float = 0.03) -> T:
    """Ask until the answer is true, and return it."""
    give_up = time.monotonic() + timeout_s
    while not (answer := ask()):
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {timeout_s:g} s: {what}; last answer {answer!r}")
        time.sleep(every_s)
    return answer
