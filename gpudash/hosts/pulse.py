"""Decides whether a connection is alive. Pure: times come in, a verdict goes out.

paramiko's own keep-alive notices nothing (a stalled sshd counts as active for ever), so a link pings and this class
judges the age of the last answer. A laptop that slept is told by its wall clock having run ahead of its monotonic one.
"""

from __future__ import annotations

from enum import Enum

from gpudash.hosts.states import Limits


class Beat(Enum):
    """What one look says."""

    ALIVE = "alive"
    WOKE = "woke"
    """The machine slept: ping at once."""
    DEAD = "dead"
    """The peer has been silent too long: cut it."""


class Pulse:
    """The age of the last answer of one connection."""

    def __init__(self, limits: Limits, mono: float, wall: float) -> None:
        self._limits = limits
        self._answered = mono
        self._lead = wall - mono
        self._woke_at: float | None = None

    def answered(self, mono: float) -> None:
        """An answer came."""
        self._answered = mono
        self._woke_at = None

    def silence(self, mono: float) -> float:
        """Seconds since the last answer."""
        return mono - self._answered

    def next_look(self, mono: float) -> float:
        """Seconds until a look may find it dead, or a tick has passed."""
        return max(0.01, min(self._limits.tick_s, self._limits.dead_after_s - self.silence(mono)))

    def look(self, mono: float, wall: float) -> Beat:
        """Judge the connection now. Called on every tick."""
        lead, self._lead = self._lead, wall - mono
        if self._lead - lead > self._limits.sleep_jump_s:
            self._woke_at = mono
            return Beat.WOKE
        if self._woke_at is not None and mono - self._woke_at >= self._limits.wake_answer_s:
            return Beat.DEAD
        return Beat.DEAD if self.silence(mono) >= self._limits.dead_after_s else Beat.ALIVE
