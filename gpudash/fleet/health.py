"""How well one region of one account answers, and how old what it last said is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

STALE_AFTER = 2
"""Cadences without a good answer until old values turn amber."""
ERROR_AFTER = 5
"""Cadences without a good answer until they turn red."""


@dataclass(frozen=True, slots=True)
class AccountNote:
    """What a person should know of an account beside its answers: a budget that is used up, a balance that runs out."""

    text: str
    """A few words; they stand beside the account's name."""
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """One lane as a person should see it. Region ``""`` stands for an account whose regions are not known yet."""

    account: str
    region: str
    state: str = "stale"
    """``ok``, ``stale`` or ``error``."""
    as_of: datetime | None = None
    """When the last good listing came; None where none ever did."""
    error: str | None = None
    """Why the last attempt failed, in the cloud's own words; None after a good answer."""
    next_try_at: datetime | None = None
    """Set while attempts are spaced out after errors."""
    lacks: tuple[str, ...] = ()
    """What nobody may ask of its items, each a sentence with the way out; no fault of the answer."""
    failures: int = 0
    """Failed attempts since the last good answer."""
    exit_code: int = 0
    """What a command that failed on this should end with; 0 after a good answer."""

    def at(self, now: datetime, cadence: timedelta) -> Health:
        """The same with its state as of `now`; the same object where it has not changed."""
        state = self._state(now, cadence)
        return self if state == self.state else replace(self, state=state)

    def _state(self, now: datetime, cadence: timedelta) -> str:
        if self.as_of is None:
            return "error" if self.error else "stale"
        age = now - self.as_of
        if age > ERROR_AFTER * cadence:
            return "error"
        return "stale" if self.error or age > STALE_AFTER * cadence else "ok"
