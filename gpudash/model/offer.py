"""What can be launched now, what a person looks for, and the order that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from gpudash.model.money import Price
from gpudash.model.policy import Policy


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

    @property
    def usd_per_gpu(self) -> Decimal | None:
        """USD an hour for one GPU; None where the price is unknown or there is no GPU."""
        return self.price.usd_per_hour / self.gpu_count if self.price and self.gpu_count else None

    @property
    def usd_per_gb(self) -> Decimal | None:
        """USD an hour for one GB of VRAM over all GPUs; None where either is unknown."""
        vram = self.gpu_count * self.vram_gb
        return self.price.usd_per_hour / vram if self.price and vram else None


@dataclass(frozen=True, slots=True)
class OfferFilter:
    """What a person wants; None means any."""

    gpu: str | None = None
    """Part of the GPU's name, upper or lower case."""
    min_vram_gb: int | None = None
    gpus: int | None = None
    max_price: Decimal | None = None
    region: str | None = None
    account: str | None = None
    spot: bool | None = None
    instance_type: str | None = None

    def accepts(self, offer: Offer) -> bool:
        """Whether the offer is wanted. An unknown price never passes a price limit."""
        price = offer.price.usd_per_hour if offer.price else None
        return (
            (self.gpu is None or self.gpu.casefold() in offer.gpu.casefold())
            and (self.min_vram_gb is None or offer.vram_gb >= self.min_vram_gb)
            and (self.gpus is None or offer.gpu_count == self.gpus)
            and (self.max_price is None or (price is not None and price <= self.max_price))
            and self.region in (None, offer.region)
            and self.account in (None, offer.account)
            and self.spot in (None, offer.spot)
            and self.instance_type in (None, offer.instance_type)
        )


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
