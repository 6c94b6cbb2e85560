"""The fleet in one line: how many, how much an hour, how much of it unguarded, how much today."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gpudash.fleet.record import Record
from gpudash.ledger.money import running_meters
from gpudash.model.instance import InstanceState
from gpudash.model.money import Amount, cost
from gpudash.model.policy import EndAction
from gpudash.model.tunnel import TunnelState

HOUR = timedelta(hours=1)
NOTHING = Amount()


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all records at one moment. An amount with `unknown` set is a lower bound, and says so."""

    by_state: Mapping[InstanceState, int] = field(default_factory=dict)
    burn: Amount = NOTHING
    """USD per hour right now: compute that bills, and disks."""
    unguarded: Amount = NOTHING
    """The part of the compute burn that nothing is proved to end."""
    spent_today: Amount = NOTHING
    """Since midnight UTC, instances that are gone included."""
    projected: Amount = NOTHING
    """What will still be spent until the deadlines, disks included; `unknown` where something bills without one."""
    tunnels_up: int = 0


def sum_up(records: Iterable[Record], now: datetime, spent_today: Amount = NOTHING) -> Totals:
    """Add up. `spent_today` comes from the ledger and is passed through."""
    states: Counter[InstanceState] = Counter()
    burn, unguarded, projected, up = NOTHING, NOTHING, NOTHING, 0
    for record in records:
        instance = record.instance
        states[instance.state] += 1
        burn += burn_of(record)
        if instance.state.bills_compute:
            projected += record.to_come(now) or Amount(unknown=True)
            if instance.bills_compute and record.is_unguarded(now):
                unguarded += cost(instance.price, HOUR)
        up += sum(tunnel.state is TunnelState.UP for tunnel in record.tunnels)
    return Totals(dict(states), burn, unguarded, spent_today, projected, up)


def burn_of(record: Record) -> Amount:
    """USD per hour of one instance now, by the same meters as the ledger's intervals."""
    return sum((cost(price, HOUR) for price in running_meters(record.instance).values()), NOTHING)


def saved_by(record: Record, action: EndAction) -> Amount:
    """USD per hour that such an end saves: compute, and the disk too where nothing stays of it."""
    instance = record.instance
    if action is EndAction.TERMINATE and not instance.stays_after_terminate:
        return burn_of(record)
    return cost(instance.price, HOUR) if instance.bills_compute else NOTHING
