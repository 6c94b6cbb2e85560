"""What bills at Vast without a running GPU: disks of instances that do not run, and volumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpudash.model.instance import Instance, InstanceState
from gpudash.model.money import Price
from gpudash.providers.base import Leftover
from gpudash.providers.http import Api
from gpudash.providers.vast import prices
from gpudash.providers.vast.api import Pace
from gpudash.providers.vast.parse import text, whole
from gpudash.providers.vast.states import SCHEDULING

_RESTING = frozenset({InstanceState.STOPPED, InstanceState.ERROR})


def disks(instances: Iterable[Instance]) -> list[Leftover]:
    """Disks that bill while their GPU does not."""
    return [
        Leftover(
            account=instance.key.account,
            provider="vast",
            region=instance.region,
            id=f"{instance.key.id}-disk",
            kind="disk",
            name=f"disk of {instance.name}",
            size_gb=instance.disk_gb,
            price=instance.storage_price,
            instance_id=instance.key.id,
        )
        for instance in instances
        if _rests(instance) and not instance.bills_compute and _costs(instance.storage_price)
    ]


def volumes(api: Api, pace: Pace, account: str) -> list[Leftover]:
    """Volumes; each stands on one machine and bills until it is deleted."""
    body = api.read("GET", "/api/v0/volumes/", "list volumes", throttle=pace.volumes)
    found = body.get("volumes")
    return [parse_volume(record, account) for record in found if _is_volume(record)] if isinstance(found, list) else []


def parse_volume(record: Mapping[str, Any], account: str) -> Leftover:
    """One volume. What it costs an hour is `storage_total_cost`, as for an instance's disk."""
    size, usd = prices.number(record.get("disk_space")), prices.number(record.get("storage_total_cost"))
    users = record.get("instances")
    first = users[0].get("id") if isinstance(users, list) and users and isinstance(users[0], dict) else None
    return Leftover(
        account=account,
        provider="vast",
        region=text(record.get("geolocation")) or f"machine {record.get('machine_id')}",
        id=str(record["id"]),
        kind="volume",
        name=text(record.get("label")) or f"volume {record['id']}",
        size_gb=None if size is None else int(size),
        price=None if usd is None else Price(usd, "instance"),
        instance_id=None if first is None else str(first),
    )


def _rests(instance: Instance) -> bool:
    """It does not run and is not on its way up; one that waits for a GPU may wait for ever."""
    return instance.state in _RESTING or instance.provider_state == SCHEDULING


def _is_volume(record: Any) -> bool:
    return isinstance(record, dict) and whole(record.get("id")) is not None


def _costs(price: Price | None) -> bool:
    return price is None or price.usd_per_hour > 0
