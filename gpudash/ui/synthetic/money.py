"""Money of the fleet in memory: the reports that a ledger would give, from intervals that are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from gpudash.ledger import CostBy, CostLine
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.money import NO_MONEY, Accrual, Amount, Interval, cost


class MemoryCosts:
    """Answers as `Ledger.costs` does."""

    def __init__(
        self, intervals: Mapping[InstanceKey, Sequence[Interval]], names: Mapping[InstanceKey, str], now: datetime
    ) -> None:
        self._intervals, self._names, self._now = intervals, names, now

    def costs(self, since: datetime, until: datetime, by: CostBy = CostBy.DAY) -> list[CostLine]:
        """Grouped sums: days oldest first, else the dearest first."""
        if by is CostBy.DAY:
            return self._days(since, until)
        groups: dict[tuple[str, InstanceKey | None], list[InstanceKey]] = {}
        for key in self._intervals:
            groups.setdefault((key.account, key if by is CostBy.INSTANCE else None), []).append(key)
        lines = [
            self._line(self._names.get(key, key.id) if key else account, keys, since, until, account, key)
            for (account, key), keys in groups.items()
        ]
        return sorted(lines, key=lambda line: (-line.total.usd, line.label))

    def _days(self, since: datetime, until: datetime) -> list[CostLine]:
        lines = []
        day = since.replace(hour=0, minute=0, second=0, microsecond=0)
        while day < min(until, self._now):
            end = day + timedelta(days=1)
            lines.append(
                self._line(f"{day:%Y-%m-%d}", list(self._intervals), max(day, since), min(end, until), None, None)
            )
            day = end
        return lines

    def _line(
        self,
        label: str,
        keys: Sequence[InstanceKey],
        since: datetime,
        until: datetime,
        account: str | None,
        key: InstanceKey | None,
    ) -> CostLine:
        sums = {"compute": Amount(), "storage": Amount()}
        for one in keys:
            for interval in self._intervals[one]:
                start, end = max(interval.start, since), min(interval.end or self._now, until, self._now)
                if end > start:
                    sums[interval.kind] += cost(interval.price, end - start)
        return CostLine(label, sums["compute"], sums["storage"], account, key)


def accrual(started_at: datetime, instance: Instance, spent: Decimal = Decimal(0)) -> Accrual:
    """Money as the ledger would tell it: so much before, and the price since."""
    computes = instance.state.bills_compute
    running = instance.price if computes else instance.storage_price
    open_now = (
        (Interval("compute" if computes else "storage", instance.state.value, running, started_at, None),)
        if running
        else ()
    )
    return Accrual(Amount(spent) if spent else NO_MONEY, open_now)
