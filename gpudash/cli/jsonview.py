"""Everything JSON that scripts rely on, made from the model: field names, order and units are a contract.

Pure. Unknown is ``null``, times end in ``Z``, lengths are whole seconds, money is a number in USD. A sum with an
unknown part is ``null`` where it belongs to one instance; in totals the known part stands, `unknown` names the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpudash.clock import iso
from gpudash.fleet.record import Record
from gpudash.model.balance import Balance
from gpudash.model.money import Amount, Price
from gpudash.model.offer import Offer
from gpudash.model.tunnel import Tunnel

if TYPE_CHECKING:
    from gpudash.fleet.health import Health
    from gpudash.fleet.totals import Totals
    from gpudash.model.event import Event
    from gpudash.model.operation import Operation
    from gpudash.providers.base import Leftover

Json = dict[str, Any]

_SEVERITY = ("ok", "stale", "error")

MICRO_USD = Decimal("0.000001")
"""Sums are printed to a millionth of a dollar; prices as they came."""


def instance(record: Record, now: datetime, cadence: timedelta) -> Json:
    """One instance, exactly as DESIGN's contract has it."""
    machine, policy, status = record.instance, record.policy, record.status
    verdict, ends = record.guard(now), record.will_end(now)
    lease_left, idle_left = record.lease_remaining(now), record.idle_remaining(now)
    on = machine.state.bills_compute
    return {
        "account": machine.key.account,
        "provider": machine.provider,
        "region": machine.region,
        "id": machine.key.id,
        "name": machine.name,
        "state": machine.state.value,
        "provider_state": machine.provider_state,
        "instance_type": machine.instance_type,
        "gpu": machine.gpu,
        "gpu_count": machine.gpu_count,
        "vram_gb": machine.vram_gb,
        "spot": machine.spot,
        "managed": machine.managed,
        "created_at": iso(machine.created_at),
        "started_at": iso(machine.started_at),
        "price_usd_per_hour": price(machine.price),
        "storage_usd_per_hour": price(machine.storage_price),
        "accrued_usd": usd(record.accrued(now)),
        "projected_usd": usd(record.projected(now)),
        "lease_deadline": iso(policy.lease_deadline) if policy else None,
        "lease_remaining_s": seconds(lease_left),
        "hard_deadline": iso(policy.hard_deadline) if policy else None,
        "idle_s": status.idle_s if status and on else None,
        "idle_timeout_s": seconds(policy.idle_timeout) if policy else None,
        "idle_remaining_s": seconds(idle_left) if on else None,
        "idle_action": policy.idle_action.value if policy else None,
        "awake_because": status.awake_because if status and on else None,
        "ends_at": iso(ends[0]) if ends else None,
        "ends_why": ends[1] if ends else None,
        "guard": verdict.level.value if verdict else None,
        "guard_reason": verdict.reason if verdict else None,
        "statusd": statusd(record, now),
        "ssh": {"host": machine.ssh.host, "port": machine.ssh.port, "user": machine.ssh.user} if machine.ssh else None,
        "tunnels": [tunnel_of_instance(tunnel) for tunnel in record.tunnels],
        "as_of": iso(record.listed_at),
        "stale": record.is_stale(now, cadence),
    }


def statusd(record: Record, now: datetime) -> Json:
    """The daemon: ``ok`` answered just now, ``silent`` once did, ``none`` never did; null where none is expected."""
    state: str | None
    if not record.instance.state.bills_compute:
        state = None
    elif record.status is None or record.status_at is None:
        state = "none" if record.status_problem else None
    else:
        fresh = record.status_problem is None and now - record.status_at <= record.fresh_for
        state = "ok" if fresh else "silent"
    return {
        "state": state,
        "version": record.status.version if record.status else None,
        "seen_at": iso(record.status_at),
    }


def tunnel_of_instance(tunnel: Tunnel) -> Json:
    """A forward as it stands under its instance."""
    return {"remote": tunnel.remote, "local": tunnel.local, "state": tunnel.state.value}


def tunnel(forward: Tunnel) -> Json:
    """A forward as `tunnel ls` shows it, with who holds it."""
    return {
        "account": forward.account,
        "id": forward.instance_id,
        "name": forward.name,
        "remote": forward.remote,
        "local": forward.local,
        "state": forward.state.value,
        "owner": forward.owner,
        "pid": forward.owner_pid,
        "since": iso(forward.since),
        "detail": forward.detail or None,
    }


def providers(healths: Iterable[Health], balances: Mapping[str, Balance]) -> list[Json]:
    """How each account answers: the worst of its regions, the oldest of their ages, every error by region; what is left
    in those that are paid in advance."""
    by_account: dict[str, list[Health]] = {}
    for health in healths:
        by_account.setdefault(health.account, []).append(health)
    return [
        _provider(account, regions) | balance_fields(balances.get(account)) for account, regions in by_account.items()
    ]


def balance_fields(balance: Balance | None) -> Json:
    """What is left, and how long it lasts; nothing where it is not known."""
    if balance is None:
        return {}
    return {"balance_usd": float(balance.usd), "runway_s": seconds(balance.runway), "balance_as_of": iso(balance.as_of)}


def _provider(account: str, regions: list[Health]) -> Json:
    ages = [health.as_of for health in regions]
    errors = [(health.region, health.error) for health in regions if health.error]
    shared = len({error for _, error in errors}) <= 1
    told = errors[0][1] if errors and shared else "; ".join(f"{region}: {error}" for region, error in errors)
    return {
        "account": account,
        "state": max((health.state for health in regions), key=_SEVERITY.index),
        "as_of": iso(min(age for age in ages if age)) if all(ages) else None,
        "error": told or None,
    }


def totals(sums: Totals) -> Json:
    """The strip above the table, as numbers. Known parts, with the names of those that lack something."""
    amounts = {
        "burn_usd_per_hour": sums.burn,
        "unguarded_usd_per_hour": sums.unguarded,
        "spent_today_usd": sums.spent_today,
        "projected_usd": sums.projected,
    }
    by_state = {str(state): count for state, count in sums.by_state.items() if count}
    return {
        "instances": sum(by_state.values()),
        "by_state": by_state,
        **{name: _known(amount) for name, amount in amounts.items()},
        "tunnels_up": sums.tunnels_up,
        "unknown": [name for name, amount in amounts.items() if amount.unknown],
        "estimated": [name for name, amount in amounts.items() if amount.estimated],
    }


def offer(item: Offer) -> Json:
    """One offer: DESIGN's contract, then its price for one GPU and one GB of VRAM, then what only some clouds tell."""
    return {
        "account": item.account,
        "provider": item.provider,
        "instance_type": item.instance_type,
        "gpu": item.gpu,
        "gpu_count": item.gpu_count,
        "vram_gb": item.vram_gb,
        "region": item.region,
        "price_usd_per_hour": price(item.price),
        "spot": item.spot,
        "available": item.available,
        "as_of": iso(item.as_of),
        "usd_per_gpu_hour": number(item.usd_per_gpu),
        "usd_per_vram_gb_hour": number(item.usd_per_gb),
        "offer_id": item.id,
        "options": dict(item.options),
        "storage_usd_per_hour": price(item.storage_price),
        "disk_gb": item.disk_gb,
        "cuda": number(item.cuda),
        "reliability": number(item.reliability),
        "verified": item.verified,
        "down_mbps": item.down_mbps,
        "up_mbps": item.up_mbps,
        "down_usd_per_gb": number(item.down_usd_per_gb),
        "up_usd_per_gb": number(item.up_usd_per_gb),
    }


def leftover(item: Leftover) -> Json:
    """One thing that bills without a running instance."""
    return {
        "account": item.account,
        "provider": item.provider,
        "region": item.region,
        "id": item.id,
        "kind": item.kind,
        "name": item.name,
        "size_gb": item.size_gb,
        "price_usd_per_hour": price(item.price),
        "instance_id": item.instance_id,
    }


def event(item: Event) -> Json:
    """One line of the diary."""
    return {
        "at": iso(item.at),
        "kind": item.kind,
        "text": item.text,
        "account": item.account,
        "id": item.key.id if item.key else None,
        "name": item.name or None,
        "actor": item.actor or None,
    }


def operation(item: Operation) -> Json:
    """A change under way, with its steps."""
    return {
        "id": item.id,
        "verb": item.verb.value,
        "stage": item.stage.value,
        "requested_at": iso(item.requested_at),
        "attempts": item.attempts,
        "next_try_at": iso(item.next_try_at),
        "detail": item.detail or None,
        "steps": [
            {"name": step.name, "state": step.state, "detail": step.detail or None, "at": iso(step.at)}
            for step in item.steps
        ],
    }


def host(record: Record) -> Json | None:
    """What statusd last said, for `show`: GPUs, signals, alarms. None where it never answered."""
    status = record.status
    if status is None:
        return None
    return {
        "seen_at": iso(record.status_at),
        "problem": record.status_problem,
        "phase": status.phase,
        "cpu_pct": status.cpu_pct,
        "gpus": [
            {
                "index": gpu.index,
                "name": gpu.name,
                "util_pct": gpu.util_pct,
                "memory_used_mib": gpu.memory_used_mib,
                "memory_total_mib": gpu.memory_total_mib,
                "temperature_c": gpu.temperature_c,
                "power_w": gpu.power_w,
                "processes": [{"pid": p.pid, "name": p.name, "memory_mib": p.memory_mib} for p in gpu.processes],
            }
            for gpu in status.gpus
        ],
        "signals": [
            {
                "name": signal.name,
                "verdict": signal.verdict.value,
                "value": signal.value,
                "unit": signal.unit,
                "threshold": signal.threshold,
                "age_s": signal.age_s,
                "detail": signal.detail or None,
            }
            for signal in status.signals
        ],
        "alarms": [{"code": alarm.code, "text": alarm.text} for alarm in status.alarms],
    }


def answer(
    action: str,
    *,
    account: str | None,
    id: str | None,
    ok: bool,
    proved: bool,
    detail: str,
    instance: Mapping[str, Any] | None,
) -> Json:
    """What every action answers with ``--json``."""
    return {
        "action": action,
        "account": account,
        "id": id,
        "ok": ok,
        "proved": proved,
        "detail": detail,
        "instance": instance,
    }


def price(value: Price | None) -> float | None:
    """USD an hour as a number; null where nobody knows."""
    return None if value is None else float(value.usd_per_hour)


def number(value: Decimal | None) -> float | None:
    """A plain figure; null where the cloud does not tell it."""
    return None if value is None else float(value)


def usd(amount: Amount | None) -> float | None:
    """A sum of one instance; null where any part of it is unknown, because a part would read as the whole."""
    return None if amount is None or amount.unknown else float(amount.usd.quantize(MICRO_USD))


def seconds(length: timedelta | None) -> int | None:
    """Whole seconds, rounded down, negative once it has passed."""
    return None if length is None else length // timedelta(seconds=1)


def _known(amount: Amount) -> float | None:
    known = amount.known
    return None if known is None else float(known.quantize(MICRO_USD))


def listing(
    as_of: datetime,
    records: Iterable[Json],
    healths: Iterable[Health],
    sums: Totals,
    balances: Mapping[str, Balance],
) -> Json:
    """The document of `ls`."""
    return {
        "as_of": iso(as_of),
        "instances": list(records),
        "providers": providers(healths, balances),
        "totals": totals(sums),
    }
