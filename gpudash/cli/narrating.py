"""`ls --watch`: the fleet in sentences, one line when something changed that a person would want to know.

For a screen reader, a log, a chat. No cursor control, no colour, no table; signs that are read aloud badly are words.
`tell` is pure; the loop asks as `ls` does and leaves on Ctrl-C, SIGTERM, SIGHUP, or when the reader of stdout has gone.
"""

from __future__ import annotations

import json
import select
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from gpudash.cli import jsonview, words
from gpudash.clock import iso
from gpudash.fleet.record import Record
from gpudash.model.instance import InstanceKey
from gpudash.model.money import Amount, Price

if TYPE_CHECKING:
    from gpudash.cli.output import Output
    from gpudash.fleet.health import Health
    from gpudash.fleet.session import Session
    from gpudash.fleet.totals import Totals

WARN_AT = tuple(timedelta(minutes=minutes) for minutes in (15, 5, 1))
"""An end that comes nearer than these is said, once each."""
SHORTEST = timedelta(seconds=1)
"""Between two looks, however little was asked for."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One line."""

    at: datetime
    kind: str
    """``summary`` ``seen`` ``state`` ``guard`` ``warning`` ``lease`` ``price`` ``notice`` ``ended`` ``provider``."""
    text: str
    account: str | None = None
    key: InstanceKey | None = None
    name: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As one document of ``--json``."""
        return {
            "at": iso(self.at),
            "kind": self.kind,
            "text": self.text,
            "account": self.account,
            "id": self.key.id if self.key else None,
            "name": self.name,
            **self.data,
        }


class Seen(NamedTuple):
    """What of one instance is compared from look to look."""

    record: Record
    state: str
    guard: str | None
    price: Price | None
    lease: datetime | None
    notice: str | None
    nearest: int
    """How many of `WARN_AT` its end has passed."""

    @classmethod
    def of(cls, record: Record, now: datetime) -> Seen:
        """Take a record apart."""
        machine, verdict, ends = record.instance, record.guard(now), record.will_end(now)
        billing = record.still_billing_since() is not None
        left = ends[0] - now if ends and machine.state.bills_compute and not record.is_ending else None
        return cls(
            record,
            "STILL BILLING, though its end was asked for" if billing else machine.state.value,
            verdict.level.value if verdict else None,
            machine.price,
            record.policy.lease_deadline if record.policy else None,
            machine.notice,
            0 if left is None else sum(left <= limit for limit in WARN_AT),
        )


class Fleet(NamedTuple):
    """What one look saw."""

    at: datetime
    instances: Mapping[InstanceKey, Seen]
    troubles: Mapping[str, str]
    """Accounts that do not answer, and why."""


def see(records: Iterable[Record], healths: Iterable[Health], now: datetime) -> Fleet:
    """What is compared, of one look."""
    troubles = {
        health.account: health.error or "no answer in time"
        for health in healths
        if health.error or health.state == "error"
    }
    return Fleet(now, {record.key: Seen.of(record, now) for record in records}, troubles)


def greet(fleet: Fleet, totals: Totals) -> Iterator[Sentence]:
    """The first lines: how many, what they burn, and each of them."""
    count = len(fleet.instances)
    text = (
        f"{count or 'no'} instance{'' if count == 1 else 's'}, burning {money(totals.burn)} an hour, "
        f"{money(totals.unguarded)} of it unguarded; {money(totals.spent_today)} spent today"
    )
    data = {"totals": jsonview.totals(totals)}
    yield Sentence(fleet.at, "summary", text, data=data)
    for account, problem in fleet.troubles.items():
        yield _trouble(fleet.at, account, problem)
    for seen in fleet.instances.values():
        yield _about(fleet.at, seen, "seen", describe(seen, fleet.at))


def tell(before: Fleet, after: Fleet) -> Iterator[Sentence]:
    """What changed between two looks, in sentences."""
    at = after.at
    for account, problem in after.troubles.items():
        if account not in before.troubles:
            yield _trouble(at, account, problem)
    for account in before.troubles:
        if account not in after.troubles:
            yield Sentence(at, "provider", f"{account} answers again", account)
    for key, seen in after.instances.items():
        known = before.instances.get(key)
        if known is None:
            yield _about(at, seen, "seen", f"new: {describe(seen, at)}")
        else:
            yield from _changes(at, known, seen)
    for key, known in before.instances.items():
        if key not in after.instances:
            spent = money(known.record.accrued(at))
            yield _about(at, known, "ended", f"ended, and is gone; it cost {spent}", {"state": "terminated"})


def _changes(at: datetime, known: Seen, seen: Seen) -> Iterator[Sentence]:
    if seen.state != known.state:
        yield _about(at, seen, "state", f"{seen.state}; it was {known.state}{_after(seen)}")
    if seen.guard != known.guard and seen.guard is not None:
        verdict = seen.record.guard(at)
        reason = f": {verdict.reason}" if verdict and verdict.reason else ""
        was = f"; it was {_GUARDED[known.guard]}" if known.guard else ""
        yield _about(at, seen, "guard", f"{_GUARDED[seen.guard]}{was}{reason}")
    if seen.price != known.price:
        yield _about(at, seen, "price", f"now {hourly(seen.price)}; it was {hourly(known.price)}")
    if seen.lease != known.lease and seen.lease is not None:
        yield _about(at, seen, "lease", f"its lease now ends at {words.when(seen.lease, at)}")
    if seen.notice != known.notice and seen.notice is not None:
        yield _about(at, seen, "notice", seen.notice)
    if seen.nearest > known.nearest:
        yield _about(at, seen, "warning", _soon(seen, at))
    elif known.nearest and not seen.nearest and seen.state == known.state:
        yield _about(at, seen, "warning", f"the warning is over; {_end(seen, at)}")


_GUARDED = {"armed": "guarded", "degraded": "its guard is not proved", "none": "NOT GUARDED"}
_BY = {
    "lease": "its lease",
    "hard": "its hard deadline",
    "idle": "its idle timeout",
    "parked": "its parked timeout",
    "spot": "the cloud, which takes it back",
}


def describe(seen: Seen, now: datetime) -> str:
    """All that matters of one instance, in one sentence."""
    machine = seen.record.instance
    count = "?" if machine.gpu_count is None else str(machine.gpu_count)
    gpus = f"{count} {machine.gpu or 'unknown GPU'}"
    parts = [seen.state, gpus, hourly(seen.price) if machine.state.bills_compute else "no compute is billed"]
    if seen.guard is not None:
        parts += [_GUARDED[seen.guard], _end(seen, now)]
    return ", ".join(parts)


def _end(seen: Seen, now: datetime) -> str:
    ends = seen.record.will_end(now)
    return f"ends at {words.when(ends[0], now)} by {_BY[ends[1]]}" if ends else "nothing will end it"


def _soon(seen: Seen, now: datetime) -> str:
    ends = seen.record.will_end(now)
    assert ends is not None
    policy = seen.record.policy
    left = words.length(max(ends[0] - now, timedelta(0)))
    if ends[1] in ("idle", "parked"):
        action = policy.idle_action.value if policy else "end"
        return f"{'idle' if ends[1] == 'idle' else 'parked'}: {action} in {left}, unless it is used"
    return f"the cloud takes it back in {left}" if ends[1] == "spot" else f"{_BY[ends[1]]} ends in {left}"


def _after(seen: Seen) -> str:
    operation = seen.record.operation
    if seen.state.startswith("STILL") and operation is not None and operation.detail:
        return f"; {operation.detail}"
    return ""


def hourly(price: Price | None) -> str:
    """``$23.92 an hour``; ``about`` stands before an estimate."""
    if price is None:
        return "at an unknown price"
    return f"{'about ' if price.estimated else ''}${words.digits(price.usd_per_hour)} an hour"


def money(amount: Amount) -> str:
    """A sum in words where signs would be read aloud."""
    if amount.known is None:
        return "an unknown sum"
    text = words.amount(Amount(amount.usd))
    return f"more than {text}" if amount.unknown else f"about {text}" if amount.estimated else text


def _about(at: datetime, seen: Seen, kind: str, text: str, data: dict[str, Any] | None = None) -> Sentence:
    machine = seen.record.instance
    name = machine.name or machine.key.id
    return Sentence(
        at, kind, f"{name} on {machine.key.account}: {text}", machine.key.account, machine.key, name, data or {}
    )


def _trouble(at: datetime, account: str, problem: str) -> Sentence:
    reason = problem.removeprefix(f"{account}: ").rstrip(".")
    return Sentence(at, "provider", f"{account} does not answer: {reason}; what is known of it may be old", account)


# -- the loop -------------------------------------------------------------------------------------------------------


def watch(session: Session, out: Output, interval: timedelta, timeout_s: float) -> None:
    """Look again and again.

    Raises:
        KeyboardInterrupt: told to stop, by whichever signal.
        BrokenPipeError: the reader of stdout has gone.
    """
    from gpudash.cli.listing import look, ordered

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    before: Fleet | None = None
    while True:
        session.catch_up()
        look(session, timeout_s)
        now, store = session.clock.now(), session.store
        after = see(ordered(store.records.values(), now), store.health.values(), now)
        if before is None:
            session.refresh_spent()
            sentences = greet(after, store.totals(now))
        else:
            sentences = tell(before, after)
        for sentence in sentences:
            say(out, sentence, session)
        before = after
        wait(max(interval, SHORTEST).total_seconds())


def say(out: Output, sentence: Sentence, session: Session) -> None:
    """One line, as text or as a document."""
    if not out.json:
        out.line(f"{sentence.at.astimezone():%H:%M:%S}  {words.printable(sentence.text)}")
        return
    record = session.store.records.get(sentence.key) if sentence.key else None
    cadence = session.store.cadence(sentence.key.account) if sentence.key else timedelta(0)
    shown = jsonview.instance(record, sentence.at, cadence) if record else None
    out.answered = True
    body = {**sentence.json(), "instance": shown}
    out.line(json.dumps(body, ensure_ascii=False, default=float, allow_nan=False))


def wait(seconds: float) -> None:
    """Wait, but not beyond the moment at which the reader of stdout leaves."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(seconds * 1000)):
        raise BrokenPipeError
