"""What a person decided about one instance: lease, hard deadline, idle timeout, and what to do when they pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gpudash.errors import Refused
from gpudash.model.duration import format_duration


class EndAction(StrEnum):
    """How an instance is ended."""

    STOP = "stop"
    """Compute ends, the disk stays and may bill."""
    HIBERNATE = "hibernate"
    """Like stop, with the memory written to disk."""
    TERMINATE = "terminate"
    """The machine and what is not on a volume are gone."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of one instance. All times absolute; None means no such limit."""

    lease_deadline: datetime | None = None
    hard_deadline: datetime | None = None
    """Set once; nothing moves it later."""
    idle_timeout: timedelta | None = None
    idle_action: EndAction = EndAction.STOP
    lease_action: EndAction = EndAction.TERMINATE
    parked_timeout: timedelta | None = None
    revision: int = 1
    """Grows with every change; the host keeps the highest it has seen."""

    @property
    def limits_anything(self) -> bool:
        """Something in it will end the instance some day."""
        return (self.lease_deadline or self.hard_deadline or self.idle_timeout) is not None

    def extended(self, until: datetime) -> Policy:
        """The policy with its lease moved to `until`, one revision on. The same moment again changes nothing.

        Raises:
            Refused: `until` lies beyond the hard deadline, or before the lease that is in force.
        """
        if until == self.lease_deadline:
            return self
        if self.hard_deadline is not None and until > self.hard_deadline:
            room = self.hard_deadline - (self.lease_deadline or self.hard_deadline)
            more = format_duration(room) if room > timedelta(0) else None
            allowed = f"At most {more} more is allowed." if more else "No more is allowed."
            raise Refused(f"The hard deadline {self.hard_deadline:%Y-%m-%d %H:%M} UTC is never moved.", hint=allowed)
        if self.lease_deadline is not None and until < self.lease_deadline:
            raise Refused(f"The lease runs until {self.lease_deadline:%Y-%m-%d %H:%M} UTC; an extend never shortens.")
        return replace(self, lease_deadline=until, revision=self.revision + 1)
