"""The columns of the fleet table, and how columns share a width. Adding one is one row here.

Columns are chosen by weight: where the screen is narrow the light ones are left out whole, so nothing is cut in
mid-word; where it is wide the flexible ones grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from gpudash.fleet.record import Record
from gpudash.model.host import HostStatus
from gpudash.model.operation import Stage
from gpudash.model.tunnel import TunnelState
from gpudash.ui import cells
from gpudash.ui.order import SortKey
from gpudash.ui.scene import Line, Scene, plain
from gpudash.ui.view import Fields

R = TypeVar("R")


class Column(NamedTuple, Generic[R]):
    """One column of a table of `R`."""

    id: str
    title: str
    width: int
    """Least width, in cells."""
    text: Callable[[R, Scene, int], Line]
    """What it says; gets the width it has now."""
    sort: Callable[[R], SortKey | None] | None = None
    """What it sorts by; None sorts last."""
    weight: int = 5
    """1 is always there; higher goes first where there is no room."""
    grow: int = 0
    """How many cells it can use beyond its least."""
    right: bool = False
    """Figures stand on the right."""
    key: str | None = None
    """The letter (with Shift) that sorts by it."""
    screens: tuple[int, int] = (0, 10_000)
    """From and up to which screen width it is there at all."""
    falling: bool = False
    """The first press sorts the largest first."""
    live: bool = True
    """What it says depends on the moment, not on the record alone."""


class Placed(NamedTuple, Generic[R]):
    """A column with its place on the line."""

    column: Column[R]
    x: int
    width: int
    gap: int
    """Blank cells before it."""


def arrange(columns: Sequence[Column[R]], width: int) -> list[Placed[R]]:
    """Choose columns for a line of `width` cells and give each its place, in the order of the table."""
    gap = 2 if width >= 110 else 1
    fitting = [column for column in columns if column.screens[0] <= width < column.screens[1]]
    chosen: list[Column[R]] = []
    used = -gap
    for column in sorted(fitting, key=lambda column: column.weight):
        if used + gap + column.width <= width:
            chosen.append(column)
            used += gap + column.width
        elif column.weight > 1:
            break
    chosen.sort(key=fitting.index)
    widths = _spread(chosen, width - used)
    placed: list[Placed[R]] = []
    x = 0
    for column, wide in zip(chosen, widths, strict=True):
        placed.append(Placed(column, x, wide, gap if placed else 0))
        x += wide + gap
    return placed


def _spread(chosen: Sequence[Column[R]], rest: int) -> list[int]:
    extra = [0] * len(chosen)
    wanted = sum(column.grow for column in chosen)
    if wanted and rest > 0:
        share = min(1.0, rest / wanted)
        extra = [int(column.grow * share) for column in chosen]
    return [column.width + more for column, more in zip(chosen, extra, strict=True)]


_NARROW, _WIDE = (0, 100), (100, 10_000)


def _urgent_first(record: Record) -> float:
    """Money at risk, then what ends soon, then the rest, then what does not run. One figure: 10,000 sort fast."""
    operation = record.operation
    if operation is not None and operation.stage in (Stage.RETRYING, Stage.AMBIGUOUS) and record.is_ending:
        return 0.0
    instance, status = record.instance, record.status
    if not instance.state.bills_compute:
        return 9e12
    policy = None if status is None else status.policy
    if status is None or policy is None or not policy.limits_anything:
        return 1e12 - (float(instance.price.usd_per_hour) if instance.price else 1e6)
    moment = policy.lease_deadline or policy.hard_deadline
    at = 9e11 if moment is None else moment.timestamp()
    left = _seconds_left(status)
    if left is not None and record.status_at is not None:
        soon = record.status_at.timestamp() + left
        if soon < at:
            at = soon
    return (3e12 if status.enforcing else 2e12) + at


def _seconds_left(status: HostStatus) -> float | None:
    """Until it ends for being idle or parked, as it said."""
    idle, parked = status.idle_remaining_s, status.parked_remaining_s
    if parked is None or idle is None:
        return idle if parked is None else parked
    return idle if idle < parked else parked


def hourly(record: Record) -> float | None:
    instance = record.instance
    now = instance.price if instance.bills_compute else instance.storage_price
    return None if now is None else float(now.usd_per_hour)


def spent_so_far(record: Record) -> float | None:
    """Accrued when it was last listed, as a sort value: near enough for an order, and fast for 10,000."""
    accrual = record.accrual
    known, total = not accrual.fixed.unknown, float(accrual.fixed.usd)
    for interval in accrual.open:
        if interval.price is not None:
            hours = (record.listed_at - interval.start).total_seconds() / 3600
            total += float(interval.price.usd_per_hour) * max(0.0, hours)
            known = True
    return total if known or total else None


def _util(record: Record) -> float | None:
    return record.status.gpu_util_pct if record.status else None


def _lease(record: Record) -> datetime | None:
    return record.policy.lease_deadline if record.policy else None


def ends_at(record: Record) -> float | None:
    """When the first of its ends comes, as seconds since 1970: the same as `Record.ends`, without its words."""
    policy, status = record.policy, record.status
    soonest: float | None = None
    if policy is not None:
        lease, hard = policy.lease_deadline, policy.hard_deadline
        moment = hard if lease is None else lease if hard is None or lease < hard else hard
        soonest = None if moment is None else moment.timestamp()
    if status is not None and record.status_at is not None:
        left = _seconds_left(status)
        if left is not None:
            at = record.status_at.timestamp() + left
            soonest = at if soonest is None else min(soonest, at)
        if status.ends_why == "spot" and status.ends_at is not None:
            at = status.ends_at.timestamp()
            soonest = at if soonest is None else min(soonest, at)
    return soonest


def _idle(record: Record) -> float | None:
    return record.status.idle_remaining_s if record.status else None


def _guard(record: Record) -> float:
    """Worst first, by the same evidence as the verdict, without its words."""
    if not record.instance.state.bills_compute:
        return 9.0
    status, seen = record.status, record.status_at
    if status is None or seen is None or not status.policy.limits_anything:
        return 0.0
    is_armed = status.enforcing and status.end_method is not None and record.listed_at - seen <= record.fresh_for
    return 2.0 if is_armed else 1.0


def _gpu(record: Record) -> str | None:
    gpu = record.instance.gpu
    return None if gpu is None else f"{gpu} {record.instance.gpu_count or 0:03d}"


def _up(record: Record) -> float:
    return float(sum(tunnel.state is TunnelState.UP for tunnel in record.tunnels))


FIRST = "first"
"""The sort a fresh screen has: money at risk, then what ends soon."""
SORT_FIRST = _urgent_first

FLEET: tuple[Column[Record], ...] = (
    Column("status", "STATUS", 13, cells.status, _guard, weight=1, screens=_NARROW),
    Column("state", "STATE", 13, cells.state, lambda r: r.instance.state.value, weight=1, key="S", screens=_WIDE),
    Column("guard", "GUARD", 10, cells.guard, _guard, weight=1, screens=_WIDE, key="U"),
    Column(
        "name", "NAME", 14, cells.name, lambda r: r.instance.name.casefold(), weight=1, grow=18, key="N", live=False
    ),
    Column("account", "ACCOUNT", 9, cells.account, lambda r: r.key.account, weight=5, grow=7, key="A", live=False),
    Column(
        "region",
        "REGION",
        14,
        cells.region,
        lambda r: r.instance.region,
        weight=8,
        key="R",
        screens=(200, 10_000),
        live=False,
    ),
    Column(
        "type", "TYPE", 18, cells.kind, lambda r: r.instance.instance_type, weight=9, screens=(220, 10_000), live=False
    ),
    Column("gpu", "GPU", 11, cells.gpu, _gpu, weight=2, grow=9, key="G", live=False),
    Column("util", "UTIL", 13, cells.util, _util, weight=4, grow=12, key="B", falling=True, live=False),
    Column("price", "$/H", 6, cells.price, hourly, weight=1, grow=1, right=True, key="H", falling=True, live=False),
    Column("spent", "SPENT", 8, cells.spent, spent_so_far, weight=2, grow=2, right=True, key="C", falling=True),
    Column("idle", "IDLE", 12, cells.idle, _idle, weight=3, grow=4, key="I"),
    Column("lease", "LEASE", 12, cells.lease, _lease, weight=6, key="L", screens=_WIDE),
    Column("ends", "ENDS", 15, cells.ends, ends_at, weight=1, grow=2, key="E"),
    Column("projected", "AT END", 9, cells.projected, None, weight=10, right=True, screens=(180, 10_000)),
    Column("tunnels", "TUN", 3, cells.tunnels, _up, weight=7, right=True, falling=True, live=False),
)


def needle(record: Record) -> str:
    """Where plain words of a filter are looked for."""
    instance = record.instance
    key = instance.key
    return (
        f"{instance.name} {key.account} {instance.region} {key.id} {instance.gpu} {instance.instance_type} "
        f"{instance.state} {instance.provider}"
    ).lower()


def _says(text: Callable[[Record, Scene, int], Line]) -> Callable[[Record, datetime], str]:
    return lambda record, now: plain(text(record, Scene(now), 40))


FIELDS: Fields[Record] = Fields(
    words={
        "account": lambda r, _: r.key.account,
        "provider": lambda r, _: r.instance.provider,
        "region": lambda r, _: r.instance.region,
        "id": lambda r, _: r.key.id,
        "name": lambda r, _: r.instance.name,
        "state": lambda r, now: f"{r.instance.state.value} {plain(cells.state(r, Scene(now), 40))}",
        "guard": _says(cells.guard),
        "gpu": lambda r, _: cells.gpu_name(r),
        "type": lambda r, _: r.instance.instance_type or "",
        "ends": _says(cells.ends),
        "idle": _says(cells.idle),
        "spot": lambda r, _: "yes" if r.instance.spot else "no",
        "managed": lambda r, _: "yes" if r.instance.managed else "no",
    },
    numbers={
        "price": lambda r, _: hourly(r),
        "$/h": lambda r, _: hourly(r),
        "spent": lambda r, now: float(r.accrued(now).usd),
        "gpus": lambda r, _: r.instance.gpu_count,
        "vram": lambda r, _: r.instance.vram_gb,
        "util": lambda r, _: _util(r),
    },
    slow=frozenset({"state", "guard", "ends", "idle", "spent"}),
)


def is_fault(record: Record, now: datetime) -> bool:
    """What `!` leaves: an end not proved, a guard not armed, a state that is wrong, a link that is down."""
    return (
        record.still_billing_since() is not None
        or record.is_unguarded(now)
        or record.instance.state.value in ("error", "unknown")
        or record.missing_since is not None
        or record.instance.notice is not None
        or bool(record.status and (record.status.alarms or record.status.unknown))
        or any(tunnel.state not in (TunnelState.UP, TunnelState.CONNECTING) for tunnel in record.tunnels)
    )
