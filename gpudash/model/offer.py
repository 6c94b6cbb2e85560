"""What can be launched now, what a person looks for, and the order that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from gpudash.model.money import Price
from gpudash.model.policy import Policy

SHOWN_INSTEAD = "(not shown)"
_DISK = "disk_gb"
_VARIABLES = "env."
"""Options of this prefix are variables for the machine, which may be keys of other services."""


def without_secrets(options: Mapping[str, str]) -> dict[str, str]:
    """The options as screens and the ledger may have them: of variables the names alone."""
    return {name: SHOWN_INSTEAD if name.startswith(_VARIABLES) else value for name, value in options.items()}


@dataclass(frozen=True, slots=True)
class NewDisk:
    """What a launch makes to store things on, where that is paid beside the price of an offer and chosen at launch."""

    sizes: tuple[tuple[str, int], ...]
    """GB without a word, each with the option that says otherwise."""
    a_gb: Price | None
    """USD an hour for one GB; None is unknown."""
    unknown_with: tuple[str, ...] = ()
    """Options with which nobody can tell the size or the price."""
    beside: Price | None = None
    """What else is made with the machine and bills, such as an address."""

    def price(self, options: Mapping[str, str]) -> Price | None:
        """USD an hour with those options; None where it is unknown."""
        if self.a_gb is None or any(name in options for name in self.unknown_with):
            return None
        told = [options.get(name, str(size)) for name, size in self.sizes]
        if not all(size.isdecimal() for size in told):
            return None
        more = self.beside.usd_per_hour if self.beside else Decimal(0)
        return Price(self.a_gb.usd_per_hour * sum(map(int, told)) + more, self.a_gb.source, self.a_gb.estimated)


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that can be rented, at one place and price."""

    account: str
    provider: str
    instance_type: str
    gpu: str
    gpu_count: int
    vram_gb: int
    """VRAM of one GPU."""
    region: str
    price: Price | None
    spot: bool
    available: bool | None
    """None where the cloud does not say."""
    as_of: datetime
    vcpus: int | None = None
    memory_gb: int | None = None
    disk_gb: int | None = None
    """The disk it comes with, or the largest it can have; None where that is chosen freely at launch."""
    id: str | None = None
    """The cloud's own id, where an offer is one machine of one host; short-lived."""
    storage_price: Price | None = None
    """The disk, where it is paid beside `price`."""
    cuda: Decimal | None = None
    """The newest CUDA version that its driver runs."""
    reliability: Decimal | None = None
    """0 to 1, as the cloud rates the host."""
    verified: bool | None = None
    """The cloud has looked at that host; None where hosts are its own."""
    down_mbps: int | None = None
    up_mbps: int | None = None
    down_usd_per_gb: Decimal | None = None
    up_usd_per_gb: Decimal | None = None
    options: dict[str, str] = field(default_factory=dict, hash=False)
    """What an order for exactly this must say, by this cloud's own names: the disk that `storage_price` is for."""
    new_disk: NewDisk | None = None
    """None where the disk is in `price` or in `storage_price`."""

    @property
    def total(self) -> Price | None:
        """What an hour costs, its disk included where that is known."""
        if self.price is None or self.storage_price is None:
            return self.price
        both = (self.price, self.storage_price)
        usd = sum((part.usd_per_hour for part in both), Decimal(0))
        return Price(usd, self.price.source, any(part.estimated for part in both))

    def meters(self, options: Mapping[str, str]) -> tuple[Price | None, Price | None]:
        """USD an hour for the machine, and for the disk of a launch with those options; None is unknown."""
        if self.new_disk is not None:
            return self.price, self.new_disk.price(options)
        disk = self.storage_price
        if disk is None:
            return self.price, Price(Decimal(0), "in the price")
        told, priced = options.get(_DISK, ""), self.options.get(_DISK, "")
        if told.isdecimal() and priced.isdecimal() and int(priced):
            usd = disk.usd_per_hour * int(told) / int(priced)
            disk = Price(usd, disk.source, disk.estimated)
        return self.price, disk

    @property
    def usd_per_gpu(self) -> Decimal | None:
        """USD an hour for one GPU; None where the price is unknown or there is no GPU."""
        total = self.total
        return total.usd_per_hour / self.gpu_count if total and self.gpu_count else None

    @property
    def usd_per_gb(self) -> Decimal | None:
        """USD an hour for one GB of VRAM over all GPUs; None where either is unknown."""
        total, vram = self.total, self.gpu_count * self.vram_gb
        return total.usd_per_hour / vram if total and vram else None


class OfferFact(StrEnum):
    """What a person may ask for and not every cloud tells of its offers; the value is the word for people."""

    CUDA = "CUDA version"
    RELIABILITY = "reliability"
    BANDWIDTH = "bandwidth"
    TRAFFIC = "traffic price"


@dataclass(frozen=True, slots=True)
class OfferFilter:
    """What a person wants; None means any. What an offer does not tell never passes a limit on it."""

    gpu: str | None = None
    """Part of the GPU's name, upper or lower case."""
    min_vram_gb: int | None = None
    gpus: int | None = None
    max_price: Decimal | None = None
    region: str | None = None
    account: str | None = None
    spot: bool | None = None
    instance_type: str | None = None
    regions: tuple[str, ...] = ()
    """Any of these, beside `region`."""
    not_regions: tuple[str, ...] = ()
    disk_gb: int | None = None
    """Room for such a disk; prices are for that size where a cloud prices the disk."""
    cuda: Decimal | None = None
    """At least that version."""
    min_reliability: Decimal | None = None
    """0 to 1."""
    with_unverified: bool = False
    """Hosts that their cloud has not looked at, too."""
    min_down_mbps: int | None = None
    min_up_mbps: int | None = None
    max_traffic_usd_per_gb: Decimal | None = None
    """In either direction."""

    def accepts(self, offer: Offer) -> bool:
        """Whether the offer is wanted."""
        return self._fits_machine(offer) and self._fits_place(offer) and self._fits_host(offer)

    @property
    def places(self) -> tuple[str, ...]:
        """Every region that is wanted; none named means all."""
        return (self.region, *self.regions) if self.region else self.regions

    @property
    def asks_for(self) -> frozenset[OfferFact]:
        """What an offer must tell to be accepted, beyond what every cloud tells."""
        asked = {
            OfferFact.CUDA: self.cuda,
            OfferFact.RELIABILITY: self.min_reliability,
            OfferFact.BANDWIDTH: self.min_down_mbps or self.min_up_mbps,
            OfferFact.TRAFFIC: self.max_traffic_usd_per_gb,
        }
        return frozenset(fact for fact, value in asked.items() if value is not None)

    def _fits_machine(self, offer: Offer) -> bool:
        total = offer.total
        price = total.usd_per_hour if total else None
        return (
            (self.gpu is None or self.gpu.casefold() in offer.gpu.casefold())
            and (self.min_vram_gb is None or offer.vram_gb >= self.min_vram_gb)
            and (self.gpus is None or offer.gpu_count == self.gpus)
            and (self.max_price is None or (price is not None and price <= self.max_price))
            and self.account in (None, offer.account)
            and self.spot in (None, offer.spot)
            and self.instance_type in (None, offer.instance_type)
            and (self.disk_gb is None or offer.disk_gb is None or offer.disk_gb >= self.disk_gb)
        )

    def _fits_place(self, offer: Offer) -> bool:
        places = self.places
        return (not places or offer.region in places) and offer.region not in self.not_regions

    def _fits_host(self, offer: Offer) -> bool:
        return (
            (self.with_unverified or offer.verified is not False)
            and _at_least(offer.cuda, self.cuda)
            and _at_least(offer.reliability, self.min_reliability)
            and _at_least(offer.down_mbps, self.min_down_mbps)
            and _at_least(offer.up_mbps, self.min_up_mbps)
            and _at_most(offer.down_usd_per_gb, self.max_traffic_usd_per_gb)
            and _at_most(offer.up_usd_per_gb, self.max_traffic_usd_per_gb)
        )


def _at_least(told: Decimal | int | None, wanted: Decimal | int | None) -> bool:
    return wanted is None or (told is not None and told >= wanted)


def _at_most(told: Decimal | None, wanted: Decimal | None) -> bool:
    return wanted is None or (told is not None and told <= wanted)


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """One launch, complete: written to the ledger before the cloud hears of it."""

    token: str
    """Unique; sent as client token, name part or tag, and looked for afterwards."""
    account: str
    region: str
    instance_type: str
    name: str
    spot: bool
    policy: Policy
    offer: Offer | None = None
    """What was shown when it was confirmed."""
    max_price: Decimal | None = None
    service_port: int | None = None
    health_path: str | None = None
    recipe: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    """What only one cloud knows, by that cloud's own names."""
    alternatives: tuple[Offer, ...] = ()
    """What is asked for next, in this order, after a definite no for lack of capacity; each within the price cap."""
