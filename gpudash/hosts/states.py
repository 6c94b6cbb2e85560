"""Words and numbers of a link: its states, and how long it waits for what."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class LinkState(StrEnum):
    """What the supervised connection to one instance is doing."""

    IDLE = "idle"
    """Nobody asked for it yet, or it was closed."""
    CONNECTING = "connecting"
    """TCP, host key and authentication are under way."""
    UP = "up"
    """Authenticated, and the server answers pings."""
    BACKOFF = "backoff"
    """It failed or broke; it will be tried again by itself."""
    NEEDS_USER = "needs_user"
    """A person must decide; nothing is tried before `Link.retry`, `accept` or `unlock`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a link is. Tests shorten these; nothing else changes them."""

    connect_s: float = 10.0
    """For TCP, for the banner, for key exchange and for authentication, each."""
    ping_every_s: float = 5.0
    """Between two pings of a quiet or busy link alike."""
    dead_after_s: float = 14.5
    """A link whose last answer is older than this is cut and tried again: a stalled server is seen within 15 s."""
    tick_s: float = 1.0
    """How often age and sleep are looked at. A connection that breaks is seen at once, whatever this is."""
    sleep_jump_s: float = 10.0
    """The wall clock running ahead of the monotonic clock by more than this within a tick means the machine slept."""
    wake_answer_s: float = 3.0
    """How soon a link must answer after a sleep."""
    hold_s: float = 5.0
    """How long a request through a forward waits for a link that is down."""
    channel_s: float = 10.0
    """For the host to open a connection to one of its ports."""
    backoff_first_s: float = 1.0
    """First wait after a failure; doubles each time."""
    backoff_max_s: float = 30.0
    """Longest wait between two attempts."""
    settled_s: float = 5.0
    """A link that held this long counts as good: the next failure starts with the first wait again."""
    reprobe_s: float = 5.0
    """How often a port without a service is tried again."""
    recheck_s: float = 60.0
    """How often a forward that nobody uses proves that its service is still there."""
    boot_s: float = 180.0
    """A machine this young may refuse our key because it has not been given it yet; that is waited out."""


class Backoff:
    """Waits of 1, 2, 4 … 30 s, each ± 30 %, so that many links to one place do not knock in step."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first = first_s
        self._max = max_s
        self._failures = 0

    def next(self, *, someone_waits: bool = False) -> float:
        """Seconds until the next attempt; never longer than the first wait while `someone_waits`."""
        wait = min(self._first * float(1 << self._failures), self._max)
        self._failures = min(self._failures + 1, 16)
        if someone_waits:
            wait = min(wait, self._first)
        return wait * random.uniform(0.7, 1.3)  # noqa: S311 - spreads load, keeps no secret

    def reset(self) -> None:
        """The next wait is the first one again."""
        self._failures = 0
