"""The strip's sums, without adding up ten thousand rows in every beat.

Each row is counted once; when it changes, what it counted for is taken back and what it counts for now is added. What
grows with the clock is kept as a line (a sum and a rate). What turns over with the clock (a guard whose proof gets too
old, a deadline that passes) is looked at again a slice a beat: all of a small fleet, a large one within a minute or two.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice

from gpudash.fleet.record import Record
from gpudash.fleet.store import FleetStore
from gpudash.fleet.totals import Totals
from gpudash.ledger.money import lasting_meters, running_meters
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.money import Amount, Price
from gpudash.model.tunnel import TunnelState
from gpudash.ui.order import Row
from gpudash.ui.view import View

SLICE = 150
"""Rows that are counted, or looked at again, in one go."""
BURN_EVERY = timedelta(seconds=10)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR = Decimal(3_600_000_000)
"""In microseconds."""


class LiveTotals:
    """Sums over the rows of a view, cheap to ask every second. `count_on` until `is_complete`, `changed` before each
    row changes.
    """

    def __init__(self, view: View[Record]) -> None:
        self.burns: deque[float] = deque(maxlen=24)
        """Burn of the last minutes, for the sparkline."""
        self._view = view
        self._burn_at: datetime | None = None
        self._waiting: set[InstanceKey] = set()
        self._round: Iterator[Row[Record]] = iter(())
        self._states: Counter[InstanceState] = Counter()
        self._tunnels_up = 0
        self._burn, self._unguarded, self._rate = _Sum(), _Sum(), _Sum()
        self._until = Decimal(0)
        """USD an hour times the deadline in microseconds, summed: less `_rate` times now, it is what will be spent."""
        self._endless = 0
        """Rows that bill without a deadline, and meters at an unknown price."""
        self._at_risk: dict[InstanceKey, Price | None] = {}
        self._over: set[InstanceKey] = set()
        """Rows whose deadline has passed."""

    @property
    def is_complete(self) -> bool:
        """Every row is counted."""
        return not self._waiting

    def begin(self, now: datetime) -> None:
        """Count the rows that the view has by now; the first slice at once."""
        self._waiting = {row.record.key for row in self._view.rows.values()}
        self.count_on(now)

    def count_on(self, now: datetime) -> None:
        """Count some more of those that wait."""
        for key in list(islice(self._waiting, SLICE)):
            self._waiting.discard(key)
            row = self._view.rows.get(key)
            if row is not None:
                self._count(row.record, 1, now)
        if not self._waiting:
            self._waiting = set()  # a set that was large stays large

    def changed(self, key: InstanceKey, new: Record | None, now: datetime) -> None:
        """A row comes, goes or is about to have another record; ask before the view has it."""
        row = self._view.rows.get(key)
        if key in self._waiting:
            if new is None:
                self._waiting.discard(key)
            return
        if row is not None:
            self._count(row.record, -1, now)
        if new is not None:
            self._count(new, 1, now)

    def look_again(self, now: datetime) -> None:
        """See what of the next rows turned over with the clock."""
        rows = list(islice(self._round, SLICE))
        if not rows:
            self._round = iter(list(self._view.rows.values()))
            rows = list(islice(self._round, SLICE))
        for row in rows:
            record = row.record
            key = record.key
            if self._view.rows.get(key) is not row or key in self._waiting or not record.instance.state.bills_compute:
                continue
            if record.is_unguarded(now) is not (key in self._at_risk):
                self._risk(record, -1 if key in self._at_risk else 1)
            deadline = _deadline(record)
            if deadline is not None and deadline <= now and key not in self._over:
                self._project(record, deadline, -1)
                self._over.add(key)

    def at(self, store: FleetStore, now: datetime) -> Totals:
        """The sums at that moment; the burn of a fleet that is not counted whole yet is a lower bound."""
        burn = self._burn.amount(unknown=bool(self._waiting)) + store.endpoints.burn
        if self._burn_at is None or now - self._burn_at >= BURN_EVERY:
            self._burn_at = now
            self.burns.append(float(burn.usd))
        left = max(Decimal(0), self._until - self._rate.usd * _microseconds(now)) / _HOUR
        return Totals(
            {state: count for state, count in self._states.items() if count},
            burn,
            self._unguarded.amount(),
            store.spent_today(now, burn),
            Amount(left, self._rate.estimated > 0, self._endless > 0),
            self._tunnels_up,
        )

    # -- one row ------------------------------------------------------------------------------------------------

    def _count(self, record: Record, sign: int, now: datetime) -> None:
        instance = record.instance
        self._states[instance.state] += sign
        for price in running_meters(instance).values():
            self._burn.add(price, sign)
        if record.tunnels:
            self._tunnels_up += sign * sum(tunnel.state is TunnelState.UP for tunnel in record.tunnels)
        if not instance.state.bills_compute:
            return
        key = instance.key
        if key in self._at_risk if sign < 0 else record.is_unguarded(now):
            self._risk(record, sign)
        deadline = _deadline(record)
        if sign > 0 and deadline is not None and deadline <= now:
            self._over.add(key)
        elif sign < 0 and key in self._over:
            self._over.discard(key)
        else:
            self._project(record, deadline, sign)

    def _risk(self, record: Record, sign: int) -> None:
        key = record.key
        if sign > 0:
            self._at_risk[key] = record.instance.price
            self._unguarded.add(record.instance.price, 1)
        else:
            self._unguarded.add(self._at_risk.pop(key), -1)

    def _project(self, record: Record, deadline: datetime | None, sign: int) -> None:
        if deadline is None:
            self._endless += sign
            return
        for price in lasting_meters(record.instance).values():
            if price is None:
                self._endless += sign
                continue
            self._rate.add(price, sign)
            self._until += sign * price.usd_per_hour * _microseconds(deadline)


class _Sum:
    """USD an hour, with how many of its parts are estimated and unknown."""

    def __init__(self) -> None:
        self.usd = Decimal(0)
        self.estimated = self.unknown = 0

    def add(self, price: Price | None, sign: int) -> None:
        if price is None:
            self.unknown += sign
            return
        self.usd += sign * price.usd_per_hour
        if price.estimated:
            self.estimated += sign

    def amount(self, *, unknown: bool = False) -> Amount:
        return Amount(self.usd, self.estimated > 0, unknown or self.unknown > 0)


def _deadline(record: Record) -> datetime | None:
    policy = record.policy
    return None if policy is None else policy.lease_deadline or policy.hard_deadline


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
