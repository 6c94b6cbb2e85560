"""What disks cost and which of them bill on their own.

Source: runpod/docs @a900806 (2026-08-20), `pods/pricing.mdx` and `accounts-billing/billing.mdx`: container disk $0.10 a
GB and month while the pod runs, wiped and free when it is stopped; volume disk $0.10 running and **$0.20 stopped**;
network volume $0.07 for the first TB, $0.05 beyond. A month is taken as 730 hours, so these are estimates.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gpudash.model.instance import Instance, InstanceState
from gpudash.model.money import Price
from gpudash.model.offer import NewDisk
from gpudash.providers.base import Leftover

SOURCE = "table 2026-08-20"
HOURS_A_MONTH = Decimal(730)
CONTAINER_DISK = VOLUME_RUNNING = Decimal("0.10")
VOLUME_STOPPED = Decimal("0.20")
NETWORK_VOLUME, NETWORK_VOLUME_BEYOND = Decimal("0.07"), Decimal("0.05")
FIRST_TB_GB = 1000
DISK_GB, VOLUME_GB = 50, 20
"""What a pod gets where nothing else is said."""
NEW_DISK = NewDisk(
    (("disk_gb", DISK_GB), ("volume_gb", VOLUME_GB)),
    Price(CONTAINER_DISK / HOURS_A_MONTH, SOURCE, estimated=True),
    unknown_with=("template",),
)
"""Container disk and volume cost the same while a pod runs."""


def disk_price(disk_gb: int | None, volume_gb: int | None, *, stopped: bool) -> Price:
    """USD an hour for a pod's own disks; a stopped pod's volume bills at the double rate, its container disk nothing."""
    if stopped:
        a_month = VOLUME_STOPPED * (volume_gb or 0)
    else:
        a_month = CONTAINER_DISK * (disk_gb or 0) + VOLUME_RUNNING * (volume_gb or 0)
    return Price(_an_hour(a_month), SOURCE, estimated=True)


def network_volume_price(size_gb: int | None, kind: object) -> Price | None:
    """USD an hour; None for tiers whose price is not published."""
    if size_gb is None or kind not in (None, "STANDARD"):
        return None
    first = min(size_gb, FIRST_TB_GB)
    a_month = NETWORK_VOLUME * first + NETWORK_VOLUME_BEYOND * (size_gb - first)
    return Price(_an_hour(a_month), SOURCE, estimated=True)


def network_volume(record: Mapping[str, Any], account: str) -> Leftover:
    """A network volume bills until it is deleted, whoever uses it."""
    size = record.get("size")
    size_gb = size if isinstance(size, int) else None
    return Leftover(
        account=account,
        provider="runpod",
        region=str(record.get("dataCenter") or "?"),
        id=str(record["id"]),
        kind="network volume",
        name=str(record.get("name") or record["id"]),
        size_gb=size_gb,
        price=network_volume_price(size_gb, record.get("type")),
    )


def stopped_disk(instance: Instance) -> Leftover | None:
    """The volume of a stopped pod; None where the pod runs or has none."""
    if instance.state is not InstanceState.STOPPED or not instance.disk_gb:
        return None
    return Leftover(
        account=instance.key.account,
        provider="runpod",
        region=instance.region,
        id=f"{instance.key.id}-volume",
        kind="disk",
        name=f"volume of {instance.name}",
        size_gb=instance.disk_gb,
        price=instance.storage_price,
        instance_id=instance.key.id,
    )


def _an_hour(a_month: Decimal) -> Decimal:
    return (a_month / HOURS_A_MONTH).quantize(Decimal("0.000001"))
