"""What the fake of Vast has for rent, and how it is searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SETTINGS = {"order", "limit", "type", "allocated_storage", "disable_bundling"}
OPS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: bool(a == b), "neq": lambda a, b: bool(a != b), "gt": lambda a, b: bool(a > b),
    "gte": lambda a, b: bool(a >= b), "lt": lambda a, b: bool(a < b), "lte": lambda a, b: bool(a <= b),
    "in": lambda a, b: a in b, "notin": lambda a, b: a not in b,
}  # fmt: skip


@dataclass
class Machine:
    """One machine of a host, and the offer for it."""

    ask: int
    gpu_name: str
    num_gpus: int
    gpu_ram: int
    dph_base: float
    min_bid: float
    geolocation: str
    reliability: float = 0.995
    verification: str = "verified"
    cuda: float = 12.8
    down: float = 900.0
    up: float = 600.0
    down_cost: float = 0.002
    up_cost: float = 0.004
    disk_space: float = 500.0
    storage_cost: float = 0.15
    direct_port_count: int = 100
    taken: bool = False
    """Let to somebody else."""

    def priced(self, disk: float) -> dict[str, Any]:
        """As an offer for an instance with that disk."""
        storage = self.storage_cost * disk / 720
        return {
            "id": self.ask, "ask_contract_id": self.ask, "machine_id": self.ask + 1000, "host_id": 55,
            "gpu_name": self.gpu_name, "num_gpus": self.num_gpus, "gpu_ram": self.gpu_ram,
            "gpu_total_ram": self.gpu_ram * self.num_gpus, "cpu_ram": 128000, "cpu_cores": 32,
            "cpu_cores_effective": 16.0, "disk_space": self.disk_space, "dph_base": self.dph_base,
            "dph_total": self.dph_base + storage, "min_bid": self.min_bid, "storage_cost": self.storage_cost,
            "storage_total_cost": storage, "inet_up": self.up, "inet_down": self.down, "inet_up_cost": self.up_cost,
            "inet_down_cost": self.down_cost, "reliability": self.reliability, "reliability2": self.reliability,
            "geolocation": self.geolocation, "verification": self.verification, "cuda_max_good": self.cuda,
            "compute_cap": 890, "driver_version": "570.86.10", "direct_port_count": self.direct_port_count,
            "static_ip": True, "rentable": not self.taken, "rented": False, "is_bid": False, "external": None,
            "end_date": 1893456000, "duration": 8000000.0, "hosting_type": 0, "dlperf": 60.0, "score": 200.0,
            "dlperf_per_dphtotal": 100.0, "flops_per_dphtotal": 100.0, "total_flops": 80.0, "pcie_bw": 24.0,
            "pci_gen": 4.0, "gpu_frac": 1.0, "cpu_name": "EPYC", "disk_bw": 3000.0, "time_remaining": "",
        }  # fmt: skip


def machines() -> list[Machine]:
    """What is for rent in tests."""
    rtx = ("RTX 4090", 1, 24564)
    return [
        Machine(101, *rtx, 0.35, 0.18, "Washington, US"),
        Machine(102, *rtx, 0.36, 0.19, "Texas, US", reliability=0.999),
        Machine(103, *rtx, 0.37, 0.20, "Ohio, US", reliability=0.90, down=90.0),
        Machine(104, *rtx, 0.31, 0.15, "Sweden, SE", cuda=12.2, up_cost=0.03),
        Machine(105, *rtx, 0.20, 0.10, "Moscow, RU", verification="unverified"),
        Machine(106, "RTX 4090", 2, 24564, 0.70, 0.35, "Norway, NO", disk_space=60.0),
        Machine(107, "H100 SXM", 1, 81559, 2.10, 1.30, "Utah, US"),
        Machine(108, "H100 SXM", 8, 81559, 16.0, 10.0, "Iceland, IS"),
        Machine(109, "RTX A6000", 1, 49140, 0.45, 0.25, "Quebec, CA", direct_port_count=0),
    ]


def search(machines: list[Machine], asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Offers that fit the filter of a search, with the defaults that the published file names."""
    asked = {"verified": {"eq": True}, "rentable": {"eq": True}, **asked}
    disk = asked.get("allocated_storage", 8)
    found = [machine.priced(disk) for machine in machines]
    spot = asked.get("type") in ("bid", "interruptible")
    for offer in found:
        if spot:
            offer["dph_base"], offer["is_bid"] = offer["min_bid"], True
            offer["dph_total"] = offer["min_bid"] + offer["storage_total_cost"]
    if "verification" in asked:
        asked.pop("verified")
    found = [offer for offer in found if _fits(offer, asked)]
    for name, way in reversed(asked.get("order") or [["score", "desc"]]):
        found.sort(key=lambda offer, name=name: offer[name], reverse=way == "desc")
    return found[: asked.get("limit") or 64]


def _fits(offer: dict[str, Any], asked: dict[str, Any]) -> bool:
    own = {
        "verified": offer["verification"] == "verified",
        "geolocation": offer["geolocation"].rpartition(",")[2].strip(),
        "external": False,
    }
    return all(
        OPS[op](own.get(name, offer.get(name)), _typed(offer.get(name), wanted))
        for name, tests in asked.items()
        if name not in _SETTINGS
        for op, wanted in tests.items()
    )


def _typed(like: Any, value: Any) -> Any:
    """Vast's own client sends figures as text."""
    return float(value) if isinstance(value, str) and isinstance(like, int | float) else value
