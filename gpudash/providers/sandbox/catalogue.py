"""What the sandbox rents: real GPUs in three made-up regions, at made-up prices near what they cost in 2026."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

CENT = Decimal("0.01")
DISK_USD_PER_GB_HOUR = Decimal("0.08") / Decimal(730)
"""Eight cents a gigabyte and month."""

REGIONS = {
    "sandbox-east": Decimal("1.00"),
    "sandbox-west": Decimal("1.04"),
    "sandbox-europe": Decimal("1.12"),
}
"""Each region and how dear it is."""

DEFAULT_REGION = "sandbox-east"


@dataclass(frozen=True, slots=True)
class MachineType:
    """One size of one GPU."""

    name: str
    gpu: str
    gpu_count: int
    vram_gb: int
    price: Decimal
    """On demand, in the cheapest region, for the whole machine."""
    spot_price: Decimal
    vcpus: int
    memory_gb: int
    disk_gb: int
    scarce_in: tuple[str, ...] = ()
    """Regions that show it and never have one free."""
    absent_from: tuple[str, ...] = ()
    """Regions that do not offer it."""

    def price_in(self, region: str, *, spot: bool) -> Decimal:
        """USD for one hour."""
        return ((self.spot_price if spot else self.price) * REGIONS[region]).quantize(CENT)


@dataclass(frozen=True, slots=True)
class _Gpu:
    slug: str
    name: str
    vram_gb: int
    price: str
    spot: str
    counts: tuple[int, ...]
    vcpus: int
    memory_gb: int
    disk_gb: int
    scarce_in: tuple[str, ...] = ()
    absent_from: tuple[str, ...] = ()


_GPUS = (
    _Gpu("t4", "T4", 16, "0.35", "0.14", (1, 4), 4, 16, 64),
    _Gpu("v100", "V100", 16, "0.55", "0.22", (1, 8), 6, 46, 128, absent_from=("sandbox-west",)),
    _Gpu("rtx-a4000", "RTX A4000", 16, "0.25", "0.15", (1,), 8, 32, 64),
    _Gpu("l4", "L4", 24, "0.60", "0.25", (1, 4), 8, 32, 64),
    _Gpu("a10", "A10", 24, "0.75", "0.31", (1, 2), 30, 200, 256),
    _Gpu("rtx-3090", "RTX 3090", 24, "0.30", "0.16", (1, 2), 8, 32, 64),
    _Gpu("rtx-4090", "RTX 4090", 24, "0.44", "0.26", (1, 2, 4), 12, 48, 96),
    _Gpu("rtx-5090", "RTX 5090", 32, "0.79", "0.47", (1, 2), 12, 64, 128, absent_from=("sandbox-europe",)),
    _Gpu("rtx-a6000", "RTX A6000", 48, "0.80", "0.40", (1, 4), 14, 100, 200),
    _Gpu("l40s", "L40S", 48, "0.95", "0.45", (1, 4), 16, 94, 200),
    _Gpu("a100-40g", "A100 PCIe", 40, "1.29", "0.62", (1,), 30, 200, 512),
    _Gpu("a100-80g", "A100 SXM", 80, "1.79", "0.89", (1, 4, 8), 30, 220, 512),
    _Gpu("h100-pcie", "H100 PCIe", 80, "2.49", "1.25", (1,), 26, 225, 1024),
    _Gpu("h100-sxm", "H100 SXM", 80, "2.99", "1.61", (1, 2, 4, 8), 26, 225, 1024),
    _Gpu("gh200", "GH200", 96, "1.49", "0.95", (1,), 64, 432, 4096, absent_from=("sandbox-europe",)),
    _Gpu("h200", "H200", 141, "3.79", "2.10", (1, 8), 28, 240, 1024, scarce_in=("sandbox-west",)),
    _Gpu("b200", "B200", 180, "4.99", "3.05", (1, 8), 26, 360, 1024, scarce_in=("sandbox-europe",)),
)


def _build() -> Iterator[MachineType]:
    for gpu in _GPUS:
        for count in gpu.counts:
            yield MachineType(
                name=f"{count}x-{gpu.slug}",
                gpu=gpu.name,
                gpu_count=count,
                vram_gb=gpu.vram_gb,
                price=Decimal(gpu.price) * count,
                spot_price=Decimal(gpu.spot) * count,
                vcpus=gpu.vcpus * count,
                memory_gb=gpu.memory_gb * count,
                disk_gb=gpu.disk_gb,
                scarce_in=gpu.scarce_in,
                absent_from=gpu.absent_from,
            )


TYPES = {machine.name: machine for machine in _build()}
"""Every size by name, such as ``8x-h100-sxm``."""
