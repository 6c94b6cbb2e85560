"""Compute, disk and traffic of an instance, from its own record. Pure.

``instance`` holds what an hour costs in its present state (no GPU when stopped), ``search`` the same while it runs;
``discountedTotalPerHour`` of either is what is charged. ``storage_cost`` is USD for a GB and a month of 720 hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gpudash.model.money import Price

HOURS_PER_MONTH = Decimal(720)
"""Vast's own month: `storage_total_cost` in its API file is `storage_cost` × GB / 720."""
_ZERO = Decimal(0)
_GRAIN = Decimal("1e-9")


def compute(record: Mapping[str, Any]) -> Price | None:
    """The GPUs while it runs, after discounts; None where the record does not tell."""
    running = _part(record, "search") or _part(record, "instance")
    total, disk = number(running.get("discountedTotalPerHour")), number(running.get("diskHour"))
    if total is not None and disk is not None and number(running.get("gpuCostPerHour")):
        return Price(_exact(max(total - disk, _ZERO)), "instance")
    base = number(record.get("dph_base"))
    return None if base is None else Price(_exact(base), "instance")


def disk(record: Mapping[str, Any], *, is_billed: bool = True) -> Price | None:
    """The disk in its present state: dearer on many machines once stopped."""
    if not is_billed:
        return Price(_ZERO, "instance")
    now = number(_part(record, "instance").get("diskHour"))
    if now is None:
        now = number(record.get("storage_total_cost"))
    if now is None:
        month, size = number(record.get("storage_cost")), number(record.get("disk_space"))
        now = None if month is None or size is None else month * size / HOURS_PER_MONTH
    return None if now is None else Price(_exact(now), "instance")


def traffic(record: Mapping[str, Any]) -> str | None:
    """What data costs, in words; it is in no price."""
    told = [(number(record.get(f"inet_{way}_cost")), word) for way, word in (("up", "out"), ("down", "in"))]
    return ", ".join(f"${usd.normalize():f}/GB {word}" for usd, word in told if usd is not None) or None


def number(value: Any) -> Decimal | None:
    """A figure as JSON has it; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _exact(usd: Decimal) -> Decimal:
    """Vast counts in binary fractions; beyond a billionth of a dollar is noise."""
    return usd.quantize(_GRAIN).normalize()


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = record.get(name)
    return part if isinstance(part, dict) else {}
