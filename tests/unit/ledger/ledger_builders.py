"""Instances, listings and operations as ledger tests need them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.money import Price
from gpudash.model.operation import Operation, Stage

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
TWO = Price(Decimal("2.00"), "api")
THREE = Price(Decimal("3.00"), "api")
DISK = Price(Decimal("0.10"), "table")
KEY = InstanceKey("lab", "east", "i-1")
RUNNING, STOPPED = InstanceState.RUNNING, InstanceState.STOPPED


def instance(tag: str = "i-1", state: InstanceState = RUNNING, **fields: Any) -> Instance:
    """A running instance at 2 $/h, created and started at noon, without a disk of its own."""
    known = {"price": TWO, "created_at": NOON, "started_at": NOON} | fields
    return Instance(InstanceKey("lab", "east", tag), "lambda", f"name-{tag}", state, str(state), **known)


def listing(
    at: datetime, items: Iterable[Instance] = (), *, complete: bool = True, region: str = "east"
) -> Listing[Instance]:
    """An answer that was asked for and came at one moment."""
    return Listing("lab", region, tuple(items), complete, at, at, None if complete else "page 2 is missing")


def operation(number: int = 1, **fields: Any) -> Operation:
    """A terminate that was asked for at noon."""
    known = {"stage": Stage.INTENDED, "requested_at": NOON, "updated_at": NOON, "key": KEY} | fields
    return Operation(f"op-{number}", known.pop("verb", Verb.TERMINATE), "lab", "east", **known)


def event(text: str = "stopped", at: datetime = NOON, key: InstanceKey | None = KEY) -> Event:
    """One line of the diary."""
    return Event(at, "stop", text, "lab", key, "one", "cli")
