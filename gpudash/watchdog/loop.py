"""The watchdog's look, again and again: poll, judge, end what is due up to a cap, say what was done.

All changes go through `Actions`, like a person's. A dry run until told to enforce. Whatever fails on the way (settings,
ledger, a cloud, a host) means no action and an alarm; a missing heartbeat alone ends nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gpudash.clock import iso
from gpudash.errors import ExitCode, GpudashError
from gpudash.fleet.record import ENDING_VERBS
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.watchdog.judge import GRACE, Due, Verdict, judge

if TYPE_CHECKING:
    from gpudash.fleet.session import Session

MAX_ENDS = 3
"""How many instances one look may end."""
POLL_S = 15.0
"""How long a look waits for clouds."""
HOSTS_S = 5.0
"""How long it waits for the daemons of what seems due: an extend made on the host counts."""
PROOF_S = 120.0
"""How long it waits for the proof of one end."""
TIDY_S = 30.0
"""How long one look waits for the deletion of what ended instances left."""
PRUNE_EVERY = 360
"""After so many looks the ledger lets go of what is old."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing said: for people `text`, for scripts all of it."""

    at: datetime
    kind: str
    """``would-end`` ``ending`` ``ended`` ``unproved`` ``failed`` ``retry`` ``alarm`` ``summary``."""
    text: str
    account: str | None = None
    id: str | None = None
    name: str | None = None
    action: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As a JSON line."""
        who = {"account": self.account, "id": self.id, "name": self.name, "action": self.action}
        return {"at": iso(self.at), "kind": self.kind, "text": self.text, **who, **self.data}


@dataclass(slots=True)
class Report:
    """What one look did."""

    looked_at: int = 0
    due: int = 0
    ended: int = 0
    unproved: int = 0
    failed: int = 0
    held_back: int = 0
    """Due, and beyond the cap."""
    alarms: int = 0
    unreachable: bool = False
    """A cloud did not answer, or not in full."""
    broken: bool = False
    """Our own ledger failed; nothing was decided."""

    @property
    def exit_code(self) -> ExitCode:
        """The worst of it, in the words of a command."""
        if self.broken or self.failed:
            return ExitCode.FAILED
        if self.held_back:
            return ExitCode.REFUSED
        if self.unreachable:
            return ExitCode.UNREACHABLE
        return ExitCode.UNPROVED if self.unproved else ExitCode.OK


class Watchdog:
    """One watchdog over one session."""

    def __init__(
        self,
        session: Session,
        say: Callable[[Line], None],
        *,
        enforce: bool = False,
        max_ends: int = MAX_ENDS,
        grace: timedelta = GRACE,
        proof_s: float = PROOF_S,
    ) -> None:
        self._session = session
        self._say = say
        self._enforce = enforce
        self._max_ends = max_ends
        self._grace = grace
        self._proof_s = proof_s

    def run(self, interval_s: float, stop: threading.Event) -> None:
        """Look until told to stop. A look that fails as a whole is an alarm, and the next one comes all the same."""
        looks = 0
        while not stop.is_set():
            self.look()
            looks += 1
            if looks % PRUNE_EVERY == 0:
                self._prune()
            stop.wait(interval_s)

    def _prune(self) -> None:
        try:
            self._session.prune()
        except GpudashError as exc:
            self._alarm(Report(), f"{exc} Old events stay in the ledger.")

    def look(self) -> Report:
        """Look once."""
        report = Report()
        try:
            self._look(report)
        except GpudashError as exc:
            report.broken = True
            self._alarm(report, f"{exc} No action.")
        self._sum_up(report)
        return report

    def _look(self, report: Report) -> None:
        session = self._session
        if session.ledger.notice:
            report.broken = True
            self._alarm(report, f"{session.ledger.notice} No action in this look.")
            return
        asked_at = session.clock.now()
        session.poll(POLL_S)
        health = session.store.health
        found = self._judge(asked_at)
        if found.due:
            session.read_hosts(HOSTS_S, 0.0)
            found = self._judge(asked_at)
        report.looked_at, report.due = found.looked_at, len(found.due)
        report.unreachable = any(state.state != "ok" or state.error for state in health.values())
        for text in found.alarms:
            self._alarm(report, text)
        fresh = [due for due in found.due if not due.record.is_ending]
        for due in found.due:
            if due.record.is_ending:
                self._follow(report, due, due.record.operation)
        if self._enforce:
            self._retry({due.key for due in found.due})
        for due in fresh[: self._max_ends]:
            self._end(report, due)
        if self._enforce:
            session.tidy(TIDY_S)
        held_back = fresh[self._max_ends :]
        if held_back:
            report.held_back = len(held_back)
            names = ", ".join(due.name for due in held_back)
            self._alarm(report, f"{len(fresh)} are due and one look ends at most {self._max_ends}; left alone: {names}")

    def _judge(self, asked_at: datetime) -> Verdict:
        """Child instances whose parent has ended count like everything else that is due: cap, dry run and proof."""
        session = self._session
        return judge(
            session.store.records.values(),
            session.store.health,
            asked_at=asked_at,
            now=session.clock.now(),
            grace=self._grace,
            orphaned={orphan.record.key: orphan.since for orphan in session.orphans()},
        )

    def _retry(self, due: set[InstanceKey]) -> None:
        """Ask again, where the cloud answers, for ends that somebody wanted and that had no effect. Nothing else."""
        session = self._session
        for operation in session.ledger.open_operations():
            health = session.store.health.get((operation.account, operation.region))
            answers = health is not None and health.state == "ok" and health.error is None
            wanted = operation.verb in ENDING_VERBS and operation.stage is Stage.RETRYING and operation.key not in due
            if answers and wanted and session.actions.is_due(operation):
                now = session.actions.advance(operation)
                text = f"{operation.verb.value} {operation.name} asked for again: {now.detail or now.stage.value}"
                key = operation.key
                self._say(
                    Line(
                        session.clock.now(),
                        "retry",
                        text,
                        operation.account,
                        key.id if key else None,
                        operation.name,
                        operation.verb.value,
                    )
                )
        session.drain()

    def _end(self, report: Report, due: Due) -> None:
        verb = Verb(due.action.value)
        if not self._enforce:
            self._tell("would-end", f"would {verb.value} {_title(due)}: {due.why}", due)
            return
        reason = self._session.actions.reason_against(verb, due.record)
        if reason:
            report.failed += 1
            self._tell("failed", f"cannot {verb.value} {_title(due)}: {reason}", due)
            return
        self._tell("ending", f"{verb.value} {_title(due)}: {due.why}", due)
        try:
            operation = self._session.actions.end(due.key, due.action)
        except GpudashError as exc:
            report.failed += 1
            self._tell("failed", f"could not {verb.value} {_title(due)}: {exc} It goes on billing.", due)
            return
        self._follow(report, due, operation)

    def _follow(self, report: Report, due: Due, operation: Operation | None) -> None:
        """Wait for the proof of an end, ours or somebody's."""
        if operation is None:
            return
        if operation.stage.is_open and self._enforce:
            operation = self._session.settle_until(operation.id, self._proof_s)
        said = operation.detail or operation.stage.value
        if operation.stage is Stage.PROVED:
            report.ended += 1
            self._tell("ended", f"{_title(due)}: {due.action.value} proved", due)
        elif operation.stage.is_open:
            report.unproved += 1
            self._tell("unproved", f"{_title(due)}: {operation.verb.value} asked, not proved yet ({said})", due)
        else:
            report.failed += 1
            self._tell("failed", f"{_title(due)}: {operation.verb.value} failed ({said}); it goes on billing", due)

    def _sum_up(self, report: Report) -> None:
        mode = "enforcing" if self._enforce else "dry run, --enforce acts"
        text = (
            f"{report.looked_at} looked at, {report.due} past a deadline, {report.ended} ended,"
            f" {report.alarms} alarm{'' if report.alarms == 1 else 's'} ({mode})"
        )
        counts = {
            "looked_at": report.looked_at,
            "due": report.due,
            "ended": report.ended,
            "unproved": report.unproved,
            "failed": report.failed,
            "held_back": report.held_back,
            "alarms": report.alarms,
            "enforce": self._enforce,
        }
        self._say(Line(self._session.clock.now(), "summary", text, data=counts))

    def _alarm(self, report: Report, text: str) -> None:
        report.alarms += 1
        self._say(Line(self._session.clock.now(), "alarm", text))

    def _tell(self, kind: str, text: str, due: Due) -> None:
        price = due.record.instance.price
        data = {
            "limit": due.limit.value,
            "deadline": iso(due.deadline),
            "overdue_s": due.overdue // timedelta(seconds=1),
            "price_usd_per_hour": float(price.usd_per_hour) if price else None,
        }
        key = due.key
        line = Line(self._session.clock.now(), kind, text, key.account, key.id, due.name, due.action.value, data)
        self._say(line)


def _title(due: Due) -> str:
    return f"{due.name} ({due.key})"
