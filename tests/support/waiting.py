"""Waiting for what other processes do: bounded, and with the reason when it does not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long a test waits for what must come. Only a failure takes that long, so it has room for a machine that is busy
with everything else as well."""


def eventually(ask: Callable[[], T], what: str, *, timeout_s: float = PATIENCE_S, every_s: float = 0.03) -> T:
    """Ask until the answer is true, and return it."""
    give_up = time.monotonic() + timeout_s
    while not (answer := ask()):
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {timeout_s:g} s: {what}; last answer {answer!r}")
        time.sleep(every_s)
    return answer
