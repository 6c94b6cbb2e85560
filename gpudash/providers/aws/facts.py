"""What an instance type is: processors, memory, GPUs, what it can do. From EC2's own answer, never from its name.

The GPU types of autumn 2026 travel with the package, so that a first listing needs no call for them. Others are asked
for once, all together, and kept on disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

BATCH = 100
"""Names in one filter of DescribeInstanceTypes."""


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """One instance type."""

    name: str
    architecture: str
    """``x86_64`` or ``arm64``."""
    vcpus: int
    memory_mib: int
    gpu: str | None = None
    gpu_maker: str | None = None
    gpu_count: int = 0
    """GPUs the machine sees; a slice of one counts as one."""
    vram_gb: int = 0
    """Of one GPU, as its maker states it."""
    is_fractional: bool = False
    """It has a slice of a GPU, which needs the maker's virtual driver."""
    has_other_accelerator: bool = False
    """Inferentia, Trainium and the like."""
    can_hibernate: bool = False
    has_spot: bool = True
    has_instance_store: bool = False
    """Fast disks that a stop wipes."""
    network_cards: int = 1


def parse_type(record: Mapping[str, Any]) -> TypeFacts:
    """One DescribeInstanceTypes record."""
    gpus = (record.get("GpuInfo") or {}).get("Gpus") or []
    first: Mapping[str, Any] = gpus[0] if gpus else {}
    count = sum(int(gpu.get("Count") or 0) or int(gpu.get("LogicalGpuCount") or 0) for gpu in gpus)
    architectures = [name for name in record["ProcessorInfo"]["SupportedArchitectures"] if name in ("x86_64", "arm64")]
    return TypeFacts(
        name=str(record["InstanceType"]),
        architecture=architectures[0] if architectures else str(record["ProcessorInfo"]["SupportedArchitectures"][0]),
        vcpus=int(record["VCpuInfo"]["DefaultVCpus"]),
        memory_mib=int(record["MemoryInfo"]["SizeInMiB"]),
        gpu=first.get("Name"),
        gpu_maker=first.get("Manufacturer"),
        gpu_count=count,
        vram_gb=stated_gb(int((first.get("MemoryInfo") or {}).get("SizeInMiB") or 0)),
        is_fractional=bool(gpus) and 0 < float(first.get("GpuPartitionSize") or 1) < 1,
        has_other_accelerator=any(
            record.get(key) for key in ("NeuronInfo", "InferenceAcceleratorInfo", "FpgaInfo", "MediaAcceleratorInfo")
        ),
        can_hibernate=bool(record.get("HibernationSupported")),
        has_spot="spot" in (record.get("SupportedUsageClasses") or ["spot"]),
        has_instance_store=bool(record.get("InstanceStorageSupported")),
        network_cards=int((record.get("NetworkInfo") or {}).get("MaximumNetworkCards") or 1),
    )


def stated_gb(mib: int) -> int:
    """Memory as the maker states it: 16384 MiB is sold as 16 GB, 22888 MiB as 24 GB."""
    return mib // 1024 if mib % 1024 == 0 else round(mib * 1024 * 1024 / 1e9)


def dump_type(facts: TypeFacts) -> dict[str, object]:
    """Only what differs from the defaults, for files."""
    defaults = {field.name: field.default for field in fields(TypeFacts)}
    return {key: value for key, value in asdict(facts).items() if key != "name" and value != defaults[key]}


def load_type(name: str, body: Mapping[str, Any]) -> TypeFacts:
    """The reverse of `dump_type`."""
    return TypeFacts(name=name, **body)


@cache
def shipped() -> dict[str, TypeFacts]:
    """The GPU types that travel with the package."""
    text = (files("gpudash.providers.aws") / "data" / "gpu_types.json").read_text()
    return {name: load_type(name, body) for name, body in json.loads(text)["types"].items()}


def fetch(client: Any, names: Iterable[str]) -> dict[str, TypeFacts]:
    """Ask EC2 about types. By filter and not by name, because one unknown name spoils a whole list of names."""
    wanted = sorted(set(names))
    found: dict[str, TypeFacts] = {}
    for start in range(0, len(wanted), BATCH):
        found.update(_pages(client, [{"Name": "instance-type", "Values": wanted[start : start + BATCH]}]))
    return found


def fetch_gpu_types(client: Any) -> dict[str, TypeFacts]:
    """All types with a GPU that one region offers. Families are only a first sieve; `gpu_count` decides."""
    found = _pages(client, [{"Name": "instance-type", "Values": ["g*", "p*"]}])
    return {name: facts for name, facts in found.items() if facts.gpu_count}


def _pages(client: Any, filters: list[dict[str, Any]]) -> dict[str, TypeFacts]:
    pages = client.get_paginator("describe_instance_types").paginate(Filters=filters)
    return {facts.name: facts for page in pages for facts in map(parse_type, page["InstanceTypes"])}
