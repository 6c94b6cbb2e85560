"""The story of one instance, told from everything that remembers a part of it. Pure.

The cloud knows when it was made and started, the ledger what was asked for and by whom, the daemon what it saw and
did, and its history when something was active. What is still ahead stands on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpudash.fleet.record import Record
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.history import History
from gpudash.model.host import Verdict
from gpudash.model.operation import Operation

QUIET = timedelta(minutes=5)
"""A stretch without activity that is worth a line."""
UNSEEN = timedelta(minutes=15)
"""A hole in the history that is worth one; the daemon was not running, or its clock was put forward."""
FROM_THE_START = timedelta(minutes=10)
"""A history that begins this soon after the start knows the first activity."""

STEPS = {
    "asked": ("launch", "the cloud said yes"),
    "booting": ("boot", "the cloud says it runs"),
    "ssh": ("ready", "SSH answers"),
    "statusd": ("ready", "statusd runs"),
    "armed": ("armed", "the guard is proved: limits read back from the host"),
}
"""What each step of a launch means once it is done."""
AHEAD = {
    "lease": "the lease ends",
    "hard": "the hard deadline, which never moves",
    "idle": "the idle timeout is over, unless it is used",
    "parked": "the parked timeout is over, unless it is used",
    "spot": "the cloud takes it back",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One line."""

    at: datetime
    kind: str
    """A word: ``launch`` ``ready`` ``activity`` ``idle`` ``extend`` ``warning`` ``stop`` …"""
    text: str
    who: str = ""
    """``dashboard`` ``cli`` ``watchdog`` ``statusd`` ``cloud`` …"""
    ahead: bool = False
    """It has not happened yet."""


def timeline(
    record: Record,
    events: Iterable[Event],
    operations: Iterable[Operation],
    history: History | None,
    now: datetime,
) -> list[Moment]:
    """All moments, the latest first."""
    status = record.status
    moments = [
        *_ahead(record, now),
        *_born(record),
        *(Moment(event.at, event.kind, event.text, event.actor) for event in events),
        *(moment for operation in operations for moment in _steps(operation)),
        *(Moment(event.at, event.kind, event.text, "statusd") for event in (status.events if status else ())),
        *(_activity(history, record.instance.started_at) if history else ()),
    ]
    # The order of what happened at one moment is that of the sources.
    return sorted(moments, key=lambda moment: moment.at, reverse=True)


def _ahead(record: Record, now: datetime) -> Iterator[Moment]:
    if not record.instance.state.bills_compute:
        return
    guarded = record.will_end(now) is not None
    for at, why in record.all_ends():
        if at > now:
            yield Moment(at, why, AHEAD[why] + ("" if guarded else "; nothing is proved to do it"), ahead=True)


def _born(record: Record) -> Iterator[Moment]:
    item = record.instance
    if item.created_at is not None:
        yield Moment(item.created_at, "created", "the cloud made it", "cloud")
    if item.started_at is not None and item.started_at != item.created_at:
        yield Moment(item.started_at, "started", "its last start", "cloud")


def _steps(operation: Operation) -> Iterator[Moment]:
    if operation.verb is not Verb.LAUNCH:
        return
    for step in operation.steps:
        kind, text = STEPS.get(step.name, ("", ""))
        if text and step.state == "done" and step.at is not None:
            yield Moment(step.at, kind, f"{text}{f' ({step.detail})' if step.detail else ''}", operation.actor)


def _activity(history: History, started_at: datetime | None) -> Iterator[Moment]:
    """Where activity began and where it went quiet; holes in the history are named and never filled."""
    step = timedelta(minutes=1)
    quiet_since: datetime | None = None
    previous: datetime | None = None
    is_first = started_at is not None and bool(history.minutes) and history.minutes[0] - started_at <= FROM_THE_START
    for number, minute in enumerate(history.minutes):
        if previous is not None and minute - previous > UNSEEN:
            yield Moment(
                previous + step, "unseen", f"statusd remembers nothing of the next {_length(minute - previous)}"
            )
            quiet_since = None
        active = [signal.name for signal in history.signals if signal.verdicts[number] is Verdict.ACTIVE]
        if active and is_first:
            yield Moment(minute, "activity", f"first activity: {', '.join(active)}", "statusd")
        elif active and quiet_since is not None and minute - quiet_since >= QUIET:
            yield Moment(quiet_since, "idle", f"nothing was active for {_length(minute - quiet_since)}", "statusd")
            yield Moment(minute, "activity", f"in use again: {', '.join(active)}", "statusd")
        if active:
            is_first, quiet_since = False, None
        elif quiet_since is None:
            quiet_since = minute
        previous = minute
    if quiet_since is not None and previous is not None and not is_first and previous - quiet_since >= QUIET:
        yield Moment(quiet_since, "idle", "nothing has been active since", "statusd")


def _length(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
