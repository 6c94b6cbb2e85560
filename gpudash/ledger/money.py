"""From listings to priced intervals: what billed, at what price, from when to when.

Rows are appended and closed once, never rewritten (a trigger refuses it). An instance has a *meter* for compute and one
for storage; each has at most one open interval. The moments are chosen so that money is never under-reported in
silence:

* While we watch (a listing at least every `WATCHED`), a change of state or price takes effect at the listing that
  shows it, and an end at the first listing that proves it: the error is one poll, and never to your favour.
* What happened while nobody looked is a stretch of its own, in state ``unseen``: an instance found ended billed until
  some moment between its last sight and now. Where its lease or hard deadline lies in between, the stretch ends there
  and its price is marked as estimated; where not, its price is unknown and every sum over it says so.
* An incomplete listing shows what it shows; absence from it means nothing. Absence from two complete ones is an end.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from gpudash.ledger import codec
from gpudash.ledger.database import Database
from gpudash.model.instance import Instance, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.money import Amount, Price, cost
from gpudash.model.policy import Policy

WATCHED = timedelta(minutes=5)
"""Two sights of an instance no further apart than this leave nothing unseen between them."""

LATE = timedelta(minutes=10)
"""A listing older than the newest one by less than this came late and is dropped; by more, the clock was put back."""

COMPUTE, STORAGE = "compute", "storage"
KINDS = (COMPUTE, STORAGE)
UNSEEN = "unseen"
"""The state of a stretch nobody looked at."""

_DISK_ONLY = frozenset({InstanceState.STOPPED, InstanceState.HIBERNATED})
_COMING_UP = frozenset({InstanceState.PENDING, InstanceState.STARTING})


def slack(db: Database) -> timedelta:
    """`WATCHED` by the ledger's clock."""
    return WATCHED * db.pace


def observe(db: Database, listing: Listing[Instance], now: datetime) -> None:
    """Open, go on with, and close intervals as one listing says. The same listing again changes nothing."""
    at = min(listing.fetched_at, now)
    with db.write() as connection:
        if _is_late(connection, listing, at, LATE * db.pace):
            return
        book = _Book(connection, listing.account, listing.region, slack(db))
        for instance in {instance.key: instance for instance in listing.items}.values():
            book.see(instance, at)
        if listing.complete:
            book.miss({instance.key.id for instance in listing.items}, listing.asked_at, at)
        book.settle()


def running_meters(instance: Instance) -> dict[str, Price | None]:
    """What an instance bills for in the state it is in, and at what price (None: unknown).

    A disk without a price bills an unknown amount where there is a disk: the instance has one of its own, or nothing
    else is left of it. A cloud whose price includes the disk says so with a storage price of zero.
    """
    meters: dict[str, Price | None] = {}
    if instance.bills_compute:
        meters[COMPUTE] = instance.price
    if instance.state.is_terminal:
        return meters
    if instance.storage_price is not None:
        if instance.storage_price.usd_per_hour:
            meters[STORAGE] = instance.storage_price
    elif instance.disk_gb or instance.state in _DISK_ONLY:
        meters[STORAGE] = None
    return meters


def lasting_meters(instance: Instance) -> dict[str, Price | None]:
    """What it bills for as long as it lives on, compute included where it only comes up yet; for forecasts."""
    meters = running_meters(instance)
    return {COMPUTE: instance.price} | meters if instance.state.bills_compute else meters


def _is_late(connection: sqlite3.Connection, listing: Listing[Instance], at: datetime, late: timedelta) -> bool:
    where = (listing.account, listing.region)
    row = connection.execute("SELECT observed_at FROM watched WHERE account = ? AND region = ?", where).fetchone()
    if row is not None and timedelta(0) < codec.moment(row[0]) - at < late:
        return True
    connection.execute("INSERT OR REPLACE INTO watched VALUES (?, ?, ?)", (*where, codec.stamp(at)))
    return False


@dataclass(frozen=True, slots=True)
class _Sight:
    """The last time an instance was in a listing."""

    state: InstanceState
    at: datetime
    missing_since: datetime | None
    gone: bool


@dataclass(frozen=True, slots=True)
class _Open:
    """An interval that runs on."""

    number: int
    state: str
    price: Price | None
    start: datetime


class _Book:
    """The meters of one region, inside one transaction."""

    def __init__(self, connection: sqlite3.Connection, account: str, region: str, slack: timedelta) -> None:
        self._connection = connection
        self._where = (account, region)
        self._slack = slack
        self._closed: dict[str, Amount] = {}
        self._sights = {
            row[0]: _Sight(InstanceState(row[1]), codec.moment(row[2]), row[3] and codec.moment(row[3]), bool(row[4]))
            for row in connection.execute(
                "SELECT id, state, seen_at, missing_since, gone_at FROM meters WHERE account = ? AND region = ?",
                self._where,
            )
        }
        self._open = {
            (row[0], row[1]): _Open(row[2], row[3], read_price(*row[4:7]), codec.moment(row[7]))
            for row in connection.execute(
                "SELECT id, kind, number, state, usd_per_hour, source, estimated, start_at FROM intervals"
                " WHERE account = ? AND region = ? AND end_at IS NULL",
                self._where,
            )
        }

    def see(self, instance: Instance, at: datetime) -> None:
        """Take note of an instance that was listed."""
        sight = self._sights.get(instance.key.id)
        wanted = running_meters(instance)
        if sight is None:
            self._meet(instance, wanted, at)
        else:
            for kind in KINDS:
                self._go_on(kind, instance, sight, kind in wanted, wanted.get(kind), at)
        self._connection.execute(
            "INSERT OR REPLACE INTO meters (account, region, id, name, state, seen_at, missing_since, gone_at)"
            " VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
            (*self._where, instance.key.id, instance.name, str(instance.state), codec.stamp(at)),
        )

    def miss(self, listed: set[str], asked_at: datetime, at: datetime) -> None:
        """Take note of what a complete listing did not show: once is noted, a second time ends it."""
        for instance_id, sight in self._sights.items():
            if instance_id in listed or sight.gone:
                continue
            if sight.missing_since is None:
                self._mark(instance_id, "missing_since", at)
            elif asked_at >= sight.missing_since and at > sight.missing_since:
                for kind in KINDS:
                    running = self._open.get((instance_id, kind))
                    if running is not None:
                        self._end(kind, instance_id, running, sight.at, max(sight.at, sight.missing_since))
                self._mark(instance_id, "gone_at", at)

    def settle(self) -> None:
        """Add what was closed to the sums of the instances it belongs to."""
        for tag, amount in self._closed.items():
            one = (*self._where, tag)
            row = self._connection.execute(
                "SELECT usd, estimated, unknown FROM settled WHERE (account, region, id) = (?, ?, ?)", one
            ).fetchone()
            total = self._sum_of_closed(tag) if row is None else read_amount(*row) + amount
            self._connection.execute(
                "INSERT OR REPLACE INTO settled (account, region, id, usd, estimated, unknown)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*one, str(total.usd), total.estimated, total.unknown),
            )

    def _meet(self, instance: Instance, wanted: dict[str, Price | None], at: datetime) -> None:
        """First sight: the ledger takes over what the cloud tells about the past, and says what it does not."""
        asked_at = self._requested_at(instance)
        born = _within(instance.created_at or asked_at, at)
        began = _within(instance.started_at, at) or born or at
        tag = instance.key.id
        if instance.state.is_terminal:
            if asked_at is not None:
                self._add_closed(COMPUTE, tag, UNSEEN, None, born or asked_at, at)
            return
        if COMPUTE not in wanted:
            if born is not None and (instance.state not in _COMING_UP or at - born > self._slack):
                self._add_closed(COMPUTE, tag, UNSEEN, None, born, at)
        else:
            if born is not None and began - born > self._slack:
                self._add_closed(COMPUTE, tag, UNSEEN, None, born, began)
            price = wanted[COMPUTE]
            if instance.spot and price is not None and at - began > self._slack:
                self._add_closed(COMPUTE, tag, UNSEEN, replace(price, estimated=True), began, at)
                began = at
            self._add_open(COMPUTE, tag, instance.state, price, began)
        if STORAGE in wanted:
            self._add_open(STORAGE, tag, instance.state, wanted[STORAGE], born or began)

    def _go_on(
        self, kind: str, instance: Instance, sight: _Sight, runs: bool, price: Price | None, at: datetime
    ) -> None:
        """Carry one meter from its last sight to this one."""
        tag, running = instance.key.id, self._open.get((instance.key.id, kind))
        if running is None:
            if runs:
                self._add_open(kind, tag, instance.state, price, self._restart(kind, instance, sight, price, at))
            return
        if not runs:
            self._end(kind, tag, running, sight.at, at)
            return
        unwatched = at - sight.at > self._slack
        if kind == COMPUTE and unwatched and _restarted(instance, sight, at):
            started = instance.started_at or at
            self._end(kind, tag, running, sight.at, started)
            self._add_open(kind, tag, instance.state, price, started)
        elif running.price != price:
            turn = max(sight.at, running.start) if unwatched else at
            self._close(tag, running, turn)
            if unwatched:
                self._add_closed(kind, tag, UNSEEN, _dearer(running.price, price), turn, at)
            self._add_open(kind, tag, instance.state, price, at)
        elif running.state != instance.state:
            self._close(tag, running, at)
            self._add_open(kind, tag, instance.state, price, at)

    def _restart(self, kind: str, instance: Instance, sight: _Sight, price: Price | None, at: datetime) -> datetime:
        """When a meter that did not run began again: no later than it can have been."""
        tag = instance.key.id
        last_end = self._last_end(kind, tag)
        if kind == STORAGE:
            born = _within(instance.created_at, at)
            return last_end or born or sight.at
        off = min(at, max(sight.at, last_end or sight.at))
        if instance.started_at is not None:
            return min(at, max(off, instance.started_at))
        if at - off <= self._slack:
            return off
        self._add_closed(kind, tag, UNSEEN, None, off, at)
        return at

    def _end(self, kind: str, tag: str, running: _Open, seen_at: datetime, off_at: datetime) -> None:
        """Close an interval that was seen at one moment and is over at a later one."""
        if off_at - seen_at <= self._slack:
            self._close(tag, running, off_at)
            return
        self._close(tag, running, seen_at)
        begin = max(seen_at, running.start)
        deadline = self._deadline(tag, begin, off_at)
        if deadline is not None and running.price is not None:
            self._add_closed(kind, tag, UNSEEN, replace(running.price, estimated=True), begin, deadline)
        else:
            self._add_closed(kind, tag, UNSEEN, None, begin, off_at)

    def _close(self, tag: str, running: _Open, end: datetime) -> None:
        end = max(end, running.start)
        self._connection.execute("UPDATE intervals SET end_at = ? WHERE number = ?", (codec.stamp(end), running.number))
        self._count(tag, running.price, end - running.start)

    def _count(self, tag: str, price: Price | None, length: timedelta) -> None:
        self._closed[tag] = self._closed.get(tag, Amount()) + cost(price, length)

    def _sum_of_closed(self, tag: str) -> Amount:
        rows = self._connection.execute(
            "SELECT usd_per_hour, source, estimated, start_at, end_at FROM intervals"
            " WHERE (account, region, id) = (?, ?, ?) AND end_at IS NOT NULL",
            (*self._where, tag),
        )
        parts = (cost(read_price(*row[:3]), codec.moment(row[4]) - codec.moment(row[3])) for row in rows)
        return sum(parts, Amount())

    def _add_open(self, kind: str, tag: str, state: str, price: Price | None, start: datetime) -> None:
        self._add(kind, tag, state, price, start, None)

    def _add_closed(self, kind: str, tag: str, state: str, price: Price | None, start: datetime, end: datetime) -> None:
        if end > start:
            self._add(kind, tag, state, price, start, end)
            self._count(tag, price, end - start)

    def _add(self, kind: str, tag: str, state: str, price: Price | None, start: datetime, end: datetime | None) -> None:
        self._connection.execute(
            "INSERT INTO intervals"
            " (account, region, id, kind, state, usd_per_hour, source, estimated, start_at, end_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *self._where,
                tag,
                kind,
                str(state),
                None if price is None else str(price.usd_per_hour),
                None if price is None else price.source,
                price is not None and price.estimated,
                codec.stamp(start),
                None if end is None else codec.stamp(end),
            ),
        )

    def _mark(self, instance_id: str, column: str, at: datetime) -> None:
        self._connection.execute(
            f"UPDATE meters SET {column} = ? WHERE account = ? AND region = ? AND id = ?",  # noqa: S608 — our own words
            (codec.stamp(at), *self._where, instance_id),
        )

    def _last_end(self, kind: str, tag: str) -> datetime | None:
        (end,) = self._connection.execute(
            "SELECT max(end_at) FROM intervals WHERE account = ? AND region = ? AND id = ? AND kind = ?",
            (*self._where, tag, kind),
        ).fetchone()
        return None if end is None else codec.moment(end)

    def _requested_at(self, instance: Instance) -> datetime | None:
        """When we asked for it, where one of our launches made it."""
        row = self._connection.execute(
            "SELECT requested_at FROM operations WHERE verb = 'launch' AND token = ?", (instance.launch_token,)
        ).fetchone()
        return None if row is None else codec.moment(row[0])

    def _deadline(self, tag: str, after: datetime, until: datetime) -> datetime | None:
        """The first of the instance's deadlines that fell into a stretch nobody looked at."""
        row = self._connection.execute(
            "SELECT body FROM policies WHERE account = ? AND region = ? AND id = ?", (*self._where, tag)
        ).fetchone()
        if row is None:
            return None
        policy = codec.loads(Policy, row[0])
        deadlines = (policy.lease_deadline, policy.hard_deadline)
        return min((moment for moment in deadlines if moment is not None and after < moment <= until), default=None)


def read_price(usd_per_hour: str | None, source: str | None, estimated: int) -> Price | None:
    """A price from its three columns."""
    return None if usd_per_hour is None else Price(Decimal(usd_per_hour), source or "", bool(estimated))


def read_amount(usd: str, estimated: int, unknown: int) -> Amount:
    """An amount from its three columns."""
    return Amount(Decimal(usd), bool(estimated), bool(unknown))


def _within(moment: datetime | None, at: datetime) -> datetime | None:
    """A moment of the cloud's, no later than ours."""
    return None if moment is None else min(moment, at)


def _restarted(instance: Instance, sight: _Sight, at: datetime) -> bool:
    """It ran when last seen, runs now, and its last start lies in between."""
    started = instance.started_at
    return started is not None and sight.at < started <= at and sight.state not in _COMING_UP


def _dearer(one: Price | None, other: Price | None) -> Price | None:
    """Of two prices of which either may have held, the higher, as an estimate; unknown where one is."""
    if one is None or other is None:
        return None
    return replace(max(one, other, key=lambda price: price.usd_per_hour), estimated=True)
