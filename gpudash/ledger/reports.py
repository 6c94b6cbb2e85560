"""What intervals add up to: per instance as a line that goes on, over a span of time by day, account or instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Any

from gpudash.ledger import codec
from gpudash.ledger.database import Database
from gpudash.ledger.money import COMPUTE, read_amount, read_price, slack
from gpudash.model.instance import InstanceKey
from gpudash.model.money import Accrual, Amount, Interval, Price, cost

KEPT = timedelta(days=7)
"""How long after its end an instance still has an accrual of its own."""


class CostBy(StrEnum):
    """How `costs` groups."""

    DAY = "day"
    """One line a calendar day."""
    ACCOUNT = "account"
    """One line an account."""
    INSTANCE = "instance"
    """One line an instance."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """One line of a costs report."""

    label: str
    """The day (``2026-03-01``), the account, or the instance's name (else its id)."""
    compute: Amount
    storage: Amount
    account: str | None = None
    """None where a line covers several."""
    key: InstanceKey | None = None
    """Where the line is one instance."""

    @property
    def total(self) -> Amount:
        """Compute and storage together."""
        return self.compute + self.storage


def intervals(db: Database, key: InstanceKey) -> list[Interval]:
    """Every interval of one instance as it was written, oldest first."""
    rows = db.rows(
        "SELECT kind, state, usd_per_hour, source, estimated, start_at, end_at FROM intervals"
        " WHERE account = ? AND region = ? AND id = ? ORDER BY start_at, number",
        (key.account, key.region, key.id),
    )
    return [_interval(row) for row in rows]


def accruals(db: Database, account: str | None) -> dict[InstanceKey, Accrual]:
    """What each instance has cost, for all that exist or ended in the last week.

    The part of an open interval since the last sight counts on; when that sight is old, it counts as an estimate.
    """
    now = db.clock.now()
    watched = now - slack(db)
    settled: dict[InstanceKey, Amount] = {}
    parts: dict[InstanceKey, list[Interval]] = {}
    for account_name, region, tag, seen_at, *columns in db.rows(
        _ACCRUALS, {"since": codec.stamp(now - KEPT), "account": account}
    ):
        key = InstanceKey(account_name, region, tag)
        if columns[0] == _SETTLED:
            settled[key] = read_amount(*columns[1:4])
            parts.setdefault(key, [])
        else:
            parts.setdefault(key, []).extend(_confirmed(_interval(columns), codec.moment(seen_at), watched))
    accrued = {key: Accrual.of(intervals) for key, intervals in parts.items()}
    return {
        key: Accrual(settled[key] + accrual.fixed, accrual.open) if key in settled else accrual
        for key, accrual in accrued.items()
    }


_SETTLED = "settled"
_COLUMNS = "account, region, id, seen_at, kind, i.state, usd_per_hour, source, i.estimated, start_at, end_at"
_SHOWN = "(gone_at IS NULL OR gone_at > :since) AND (:account IS NULL OR account = :account)"
_ACCRUALS = f"""
    SELECT {_COLUMNS} FROM meters JOIN intervals i USING (account, region, id)
        WHERE end_at IS NULL AND {_SHOWN}
    UNION ALL
    SELECT {_COLUMNS} FROM meters JOIN intervals i USING (account, region, id)
        LEFT JOIN settled s USING (account, region, id)
        WHERE end_at IS NOT NULL AND s.usd IS NULL AND {_SHOWN}
    UNION ALL
    SELECT account, region, id, seen_at, '{_SETTLED}', usd, estimated, unknown, NULL, NULL, NULL
        FROM meters JOIN settled USING (account, region, id) WHERE {_SHOWN}
"""  # noqa: S608 — our own words only
"""Open intervals, closed ones of instances whose sum is not kept, and the sums: in one statement, so that an interval
that is closed meanwhile is counted once."""


def spent(db: Database, since: datetime, until: datetime) -> Amount:
    """All that was spent between two moments; the future costs nothing yet."""
    total = Amount()
    for _, _, part in _parts(db, since, until):
        total += part
    return total


def costs(db: Database, since: datetime, until: datetime, by: CostBy, zone: tzinfo = UTC) -> list[CostLine]:
    """What was spent between two moments, grouped: days oldest first (in `zone`), else the dearest first."""
    if by is CostBy.DAY:
        return [
            _line(label, [(kind, part) for _, kind, part in _parts(db, start, end)])
            for label, start, end in _days(since, min(until, db.clock.now()), zone)
        ]
    names = {InstanceKey(*where): name for *where, name in db.rows("SELECT account, region, id, name FROM meters")}
    groups: dict[tuple[str, InstanceKey | None], list[tuple[str, Amount]]] = {}
    for key, kind, part in _parts(db, since, until):
        groups.setdefault((key.account, key if by is CostBy.INSTANCE else None), []).append((kind, part))
    lines = [
        _line((names.get(key) or key.id) if key else account, parts, account, key)
        for (account, key), parts in groups.items()
    ]
    return sorted(lines, key=lambda line: (-line.total.usd, line.label))


def _line(
    label: str, parts: list[tuple[str, Amount]], account: str | None = None, key: InstanceKey | None = None
) -> CostLine:
    compute = sum((part for kind, part in parts if kind == COMPUTE), Amount())
    storage = sum((part for kind, part in parts if kind != COMPUTE), Amount())
    return CostLine(label, compute, storage, account, key)


def _parts(db: Database, since: datetime, until: datetime) -> Iterator[tuple[InstanceKey, str, Amount]]:
    """Every stretch of money between two moments: whose, what for, how much."""
    now = db.clock.now()
    until, watched = min(until, now), now - slack(db)
    rows = db.rows(
        "SELECT account, region, id, seen_at, kind, i.state, usd_per_hour, source, estimated, start_at, end_at"
        " FROM intervals i JOIN meters USING (account, region, id)"
        " WHERE start_at < ? AND (end_at IS NULL OR end_at > ?)",
        (codec.stamp(until), codec.stamp(since)),
    )
    for account, region, instance_id, seen_at, *columns in rows:
        interval = _interval(columns)
        for part in (interval,) if interval.end else _confirmed(interval, codec.moment(seen_at), watched):
            start, end = max(part.start, since), min(part.end or until, until)
            if end > start:
                yield InstanceKey(account, region, instance_id), part.kind, cost(part.price, end - start)


def _confirmed(interval: Interval, seen_at: datetime, watched: datetime) -> Iterator[Interval]:
    """An open interval of an instance nobody has seen lately, in two: what was seen, and what is assumed since."""
    price = interval.price
    if interval.end is not None or price is None or price.estimated or seen_at >= watched or seen_at < interval.start:
        yield interval
        return
    assumed = Price(price.usd_per_hour, price.source, estimated=True)
    yield Interval(interval.kind, interval.state, price, interval.start, seen_at)
    yield Interval(interval.kind, interval.state, assumed, seen_at, None)


def _days(since: datetime, until: datetime, zone: tzinfo) -> Iterator[tuple[str, datetime, datetime]]:
    day = since.astimezone(zone).date()
    while True:
        start = datetime.combine(day, time(), zone).astimezone(UTC)
        end = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
        if start >= until:
            return
        yield day.isoformat(), max(start, since), min(end, until)
        day += timedelta(days=1)


def _interval(row: Sequence[Any]) -> Interval:
    kind, state, usd, source, estimated, start, end = row
    return Interval(kind, state, read_price(usd, source, estimated), codec.moment(start), end and codec.moment(end))
