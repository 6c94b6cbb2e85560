"""What is searched for at Vast, what comes back, and the order it is shown in. Pure.

Rank: what an hour costs with the disk asked for, cheapest first; at the same price the more reliable host. Without a type
named, only the `BEST_OF` best of each type, country and kind are kept: thousands of hosts offer the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from gpudash.model.money import Price
from gpudash.model.offer import Offer, OfferFilter
from gpudash.providers.vast import prices
from gpudash.providers.vast.parse import place_of, read_type, text, type_name, vram_gb, whole

DISK_GB = 32
"""The disk where nobody names one; a disk at Vast never grows."""
BEST_OF = 3
MOST = 2000
"""Offers that one search brings."""


def query(wanted: OfferFilter, *, spot: bool) -> dict[str, Any]:
    """The body of ``POST /api/v0/bundles/``, filtered there as far as Vast can. GPU names are compared here."""
    disk = wanted.disk_gb or DISK_GB
    asked: dict[str, Any] = {
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "verified": {"eq": True},
        "direct_port_count": {"gte": 1},
        "disk_space": {"gte": disk},
        "allocated_storage": disk,
        "order": [["dph_total", "asc"], ["reliability", "desc"]],
        "limit": MOST,
    }
    if spot:
        asked["type"] = "bid"
    if wanted.with_unverified:
        del asked["verified"]
        asked["verification"] = {"in": ["verified", "unverified"]}
    kind = read_type(wanted.instance_type) if wanted.instance_type else None
    if kind is not None:
        asked |= {"num_gpus": {"eq": kind[0]}, "gpu_name": {"eq": kind[1]}}
    elif wanted.gpus:
        asked["num_gpus"] = {"eq": wanted.gpus}
    if wanted.min_vram_gb:
        asked["gpu_ram"] = {"gte": wanted.min_vram_gb * 1000}
    limits = {
        "dph_total": ("lte", wanted.max_price),
        "cuda_max_good": ("gte", wanted.cuda),
        "reliability": ("gte", wanted.min_reliability),
        "inet_down": ("gte", wanted.min_down_mbps),
        "inet_up": ("gte", wanted.min_up_mbps),
        "inet_down_cost": ("lte", wanted.max_traffic_usd_per_gb),
        "inet_up_cost": ("lte", wanted.max_traffic_usd_per_gb),
    }
    asked |= {name: {op: float(value)} for name, (op, value) in limits.items() if value is not None}
    places = {"in": list(wanted.places)} if wanted.places else {}
    if wanted.not_regions:
        places["notin"] = list(wanted.not_regions)
    return asked | ({"geolocation": places} if places else {})


def parse_offer(record: Mapping[str, Any], account: str, disk_gb: int, as_of: datetime, *, spot: bool) -> Offer | None:
    """One machine that can be rented; None for a record that names no GPU or no id."""
    identity, gpus, gpu = whole(record.get("id")), whole(record.get("num_gpus")), text(record.get("gpu_name"))
    if identity is None or not gpus or not gpu:
        return None
    usd = prices.number(record.get("min_bid" if spot else "dph_base"))
    word = text(record.get("verification"))
    return Offer(
        account=account,
        provider="vast",
        instance_type=type_name(gpus, gpu),
        gpu=gpu,
        gpu_count=gpus,
        vram_gb=vram_gb(record.get("gpu_ram")) or 0,
        region=place_of(record) or "unknown",
        price=None if usd is None else Price(usd, "offer"),
        spot=spot,
        available=record.get("rentable") is not False,
        as_of=as_of,
        vcpus=_rounded(record.get("cpu_cores_effective")),
        memory_gb=_rounded(record.get("cpu_ram"), 1024),
        disk_gb=_rounded(record.get("disk_space")),
        id=str(identity),
        storage_price=_disk(record, disk_gb),
        cuda=prices.number(record.get("cuda_max_good")),
        reliability=_first(record, "reliability2", "reliability"),
        verified=None if word is None else word == "verified",
        down_mbps=_rounded(record.get("inet_down")),
        up_mbps=_rounded(record.get("inet_up")),
        down_usd_per_gb=prices.number(record.get("inet_down_cost")),
        up_usd_per_gb=prices.number(record.get("inet_up_cost")),
        options={"disk_gb": str(disk_gb)} | ({"bid": f"{usd:f}"} if spot and usd is not None else {}),
    )


def rank(offers: Iterable[Offer], wanted: OfferFilter) -> list[Offer]:
    """Those that are wanted, best first."""
    fitting = sorted((offer for offer in offers if wanted.accepts(offer)), key=_order)
    if wanted.instance_type is not None:
        return fitting
    kept, counts = [], dict[tuple[str, str, bool], int]()
    for offer in fitting:
        kind = (offer.instance_type, offer.region, offer.spot)
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= BEST_OF:
            kept.append(offer)
    return kept


def _order(offer: Offer) -> tuple[bool, Decimal, Decimal, str]:
    total = offer.total
    return (
        total is None,
        total.usd_per_hour if total else Decimal(0),
        -(offer.reliability or Decimal(0)),
        offer.id or "",
    )


def _disk(record: Mapping[str, Any], disk_gb: int) -> Price | None:
    month = prices.number(record.get("storage_cost"))
    return None if month is None else Price(month * disk_gb / prices.HOURS_PER_MONTH, "offer")


def _first(record: Mapping[str, Any], *names: str) -> Decimal | None:
    return next((told for name in names if (told := prices.number(record.get(name))) is not None), None)


def _rounded(value: Any, divisor: int = 1) -> int | None:
    told = prices.number(value)
    return None if told is None else int(told / divisor)
