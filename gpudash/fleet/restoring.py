"""Daemons that are gone from hosts of ours, and when to put them back without being asked.

A container has no init: when its cloud restarts it, statusd does not come back by itself. The dashboard, which asks
every host anyway, notices and pushes again, with the limits the host had. What fails is tried again, ever less often.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpudash.clock import Clock
from gpudash.fleet.hostpoll import HostReading
from gpudash.fleet.record import Record
from gpudash.model.instance import InstanceKey

AFTER_S = 30.0
"""A daemon that is being replaced, or restarted by its systemd, is away for less."""
FIRST_S, MOST_S = 60.0, 1800.0


@dataclass(slots=True)
class _Gone:
    since: float
    tries: int = 0
    next_at: float = 0.0


class Restorer:
    """Decides; the push is done by whoever asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gone: dict[InstanceKey, _Gone] = {}

    def is_due(self, record: Record, reading: HostReading) -> bool:
        """Whether the daemon of this host has to be put back now, as far as its last answer tells.

        Only where one of ours was seen answering since the last start, so that a host whose daemon somebody took away
        before is not meddled with, and only where its limits would end it.
        """
        now = self._clock.monotonic()
        if reading.status is not None:
            self._gone.pop(reading.key, None)
            return False
        if not reading.is_gone or not _was_guarded(record):
            return False
        gone = self._gone.setdefault(reading.key, _Gone(now))
        if now - gone.since < AFTER_S or now < gone.next_at:
            return False
        gone.tries += 1
        gone.next_at = now + min(MOST_S, FIRST_S * 2 ** (gone.tries - 1))
        return True


def _was_guarded(record: Record) -> bool:
    wanted, busy = record.wanted, record.operation is not None and record.operation.stage.is_open
    ours = record.instance.managed and wanted is not None and wanted.limits_anything
    return ours and record.status is not None and not busy
