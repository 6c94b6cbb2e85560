"""Lambda's JSON becomes our words. Pure. Fields that are missing stay unknown; ones that are new are ignored.

Prices are whole US cents an hour for the whole machine. VRAM is no field of its own: it stands in the GPU's
description, "H100 (80 GB SXM5)". A listing carries the token of JupyterLab; it is never kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from gpudash.model.instance import EVERYWHERE, Instance, InstanceKey, InstanceState, SshAddress
from gpudash.model.money import Price
from gpudash.model.offer import Offer
from gpudash.providers.base import Leftover
from gpudash.providers.lambda_cloud.labels import shown_name, token_of

USER = "ubuntu"
FILESYSTEM_PRICE = Decimal("0.20")
"""USD for one GB used and one month (Lambda's documentation, October 2024)."""
INCLUDED = Price(Decimal(0), "included")
"""A machine's own disk costs nothing beside its price."""
HOURS_PER_MONTH = Decimal(730)
_STATES = {
    "booting": InstanceState.PENDING,
    "active": InstanceState.RUNNING,
    "unhealthy": InstanceState.ERROR,
    "terminating": InstanceState.TERMINATING,
    "terminated": InstanceState.TERMINATED,
    "preempted": InstanceState.TERMINATED,
}
_UNHEALTHY = "unhealthy at Lambda, as a machine that was shut down inside is; it bills until it is terminated"
_GPU = re.compile(r"(.+?)\s*\((\d+)\s*GB(?:\s+([^)]+))?\)")


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """One instance type."""

    name: str
    gpu: str
    gpu_count: int
    vram_gb: int
    price: Price | None
    vcpus: int | None
    memory_gb: int | None
    disk_gb: int | None
    regions: tuple[str, ...] = ()
    """Regions with stock when it was asked; Lambda calls it advisory."""


@dataclass(frozen=True, slots=True)
class Filesystem:
    """One filesystem; it bills whether or not a machine has it."""

    id: str
    name: str
    region: str
    is_in_use: bool
    bytes_used: int | None


def parse_instance(record: Mapping[str, Any], account: str, identity_files: Mapping[str, str]) -> Instance:
    """One machine as Lambda describes it.

    Args:
        record: an element of ``GET /instances``.
        account: whose it is.
        identity_files: private key file by the name of the key at Lambda.
    """
    status = str(record.get("status") or "")
    facts = parse_type(_part(record, "instance_type"))
    token, name = token_of(record), str(record.get("name") or "")
    identity = str(record["id"])
    filesystems = _texts(record.get("file_system_names"))
    state = _STATES.get(status, InstanceState.UNKNOWN)
    is_gone = state.is_terminal
    return Instance(
        key=InstanceKey(account, EVERYWHERE, identity),
        provider="lambda",
        name=shown_name(name) or str(record.get("hostname") or "") or identity,
        state=state,
        provider_state=status or "not told",
        instance_type=facts.name or None,
        gpu=facts.gpu or None,
        gpu_count=facts.gpu_count if facts.name else None,
        vram_gb=facts.vram_gb or None,
        managed=token is not None,
        price=facts.price,
        storage_price=INCLUDED,
        disk_gb=facts.disk_gb,
        ssh=_ssh(record, state, identity_files),
        launch_token=token,
        place=str(_part(record, "region").get("name") or "") or None,
        lost_on_terminate=f"{facts.disk_gb} GB local disk" if facts.disk_gb and not is_gone else None,
        stays_after_terminate=_stays(filesystems) if not is_gone else None,
        notice=_UNHEALTHY if status == "unhealthy" else None,
        raw=_raw(record, filesystems),
    )


def parse_types(data: Mapping[str, Any]) -> dict[str, TypeFacts]:
    """The answer of ``GET /instance-types``; an entry that cannot be read is left out."""
    found = {}
    for name, entry in data.items():
        if not isinstance(entry, dict):
            continue
        regions = [part.get("name") for part in entry.get("regions_with_capacity_available") or [] if part]
        facts = parse_type({"name": name, **_part(entry, "instance_type")}, tuple(_texts(regions)))
        found[facts.name] = facts
    return found


def parse_type(record: Mapping[str, Any], regions: tuple[str, ...] = ()) -> TypeFacts:
    """One instance type, from the list of types or from within an instance."""
    specs = _part(record, "specs")
    gpu, vram = parse_gpu(str(record.get("gpu_description") or ""))
    cents = _whole(record.get("price_cents_per_hour"))
    count = _whole(specs.get("gpus")) or 0
    return TypeFacts(
        name=str(record.get("name") or ""),
        gpu=gpu if count else "",
        gpu_count=count,
        vram_gb=vram if count else 0,
        price=None if cents is None else Price(Decimal(cents) / 100, "instance"),
        vcpus=_whole(specs.get("vcpus")),
        memory_gb=_whole(specs.get("memory_gib")),
        disk_gb=_whole(specs.get("storage_gib")),
        regions=regions,
    )


def parse_gpu(description: str) -> tuple[str, int]:
    """GPU and the VRAM of one, from "H100 (80 GB SXM5)" → ("H100 SXM5", 80); no VRAM told is 0."""
    match = _GPU.fullmatch(description.strip())
    if match is None:
        return description.strip(), 0
    return " ".join(filter(None, (match.group(1), match.group(3)))), int(match.group(2))


def offers_of(facts: TypeFacts, account: str, as_of: datetime) -> list[Offer]:
    """What a type offers: one a region with stock; without any, one that says so."""
    return [
        Offer(
            account=account,
            provider="lambda",
            instance_type=facts.name,
            gpu=facts.gpu,
            gpu_count=facts.gpu_count,
            vram_gb=facts.vram_gb,
            region=region,
            price=facts.price,
            spot=False,
            available=bool(region),
            as_of=as_of,
            vcpus=facts.vcpus,
            memory_gb=facts.memory_gb,
            disk_gb=facts.disk_gb,
        )
        for region in facts.regions or ("",)
    ]


def parse_filesystem(record: Mapping[str, Any]) -> Filesystem:
    """An element of ``GET /file-systems``."""
    return Filesystem(
        id=str(record["id"]),
        name=str(record.get("name") or record["id"]),
        region=str(_part(record, "region").get("name") or ""),
        is_in_use=bool(record.get("is_in_use")),
        bytes_used=_whole(record.get("bytes_used")),
    )


def leftover_of(filesystem: Filesystem, account: str, instance_id: str | None) -> Leftover:
    """A filesystem as something that bills; the figure is an estimate, because Lambda counts every few hours."""
    used, price, size = filesystem.bytes_used, None, None
    if used is not None:
        per_hour = FILESYSTEM_PRICE * Decimal(used) / 10**9 / HOURS_PER_MONTH
        price, size = Price(per_hour, "table 2024-10", estimated=True), -(-used // 10**9)
    where = filesystem.region
    return Leftover(
        account, "lambda", where, filesystem.id, "filesystem", filesystem.name, size, price, instance_id=instance_id
    )


def _ssh(record: Mapping[str, Any], state: InstanceState, identity_files: Mapping[str, str]) -> SshAddress | None:
    address = record.get("ip")
    if not isinstance(address, str) or not address or state in (InstanceState.TERMINATING, InstanceState.TERMINATED):
        return None
    given = _texts(record.get("ssh_key_names"))
    fitting = (identity_files[name] for name in given if name in identity_files)
    return SshAddress(address, 22, USER, identity_file=next(fitting, None), given_key=next(iter(given), None))


def _stays(filesystems: Sequence[str]) -> str | None:
    if not filesystems:
        return None
    word = "filesystem" if len(filesystems) == 1 else "filesystems"
    return f"{word} {', '.join(filesystems)}"


def _raw(record: Mapping[str, Any], filesystems: Sequence[str]) -> dict[str, object]:
    """What the details page shows: named fields only, because others may be secrets."""
    raw: dict[str, object] = {
        name: record[name] for name in ("hostname", "private_ip", "is_reserved") if record.get(name) is not None
    }
    raw["region"] = _part(record, "region").get("description")
    raw["ssh_key_names"] = list(_texts(record.get("ssh_key_names")))
    raw["file_system_names"] = list(filesystems)
    raw["tags"] = {str(tag["key"]): tag.get("value") for tag in record.get("tags") or [] if "key" in tag}
    raw["refused_actions"] = {
        name: told.get("reason_description") or told.get("reason_code") or "not available"
        for name, told in _part(record, "actions").items()
        if isinstance(told, dict) and told.get("available") is False
    }
    return raw


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = record.get(name)
    return part if isinstance(part, dict) else {}


def _texts(found: Any) -> list[str]:
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
