"""What can be launched: types with a GPU of each region, on demand and as spot. EC2 does not tell what is free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from gpudash.model.money import Price
from gpudash.model.offer import NewDisk, Offer, OfferFilter
from gpudash.providers.aws import facts
from gpudash.providers.aws.clients import Clients
from gpudash.providers.aws.errors import translated
from gpudash.providers.aws.facts import TypeFacts
from gpudash.providers.aws.prices import Volume
from gpudash.providers.aws.request import GPU_DISK_GB, PLAIN_DISK_GB
from gpudash.providers.aws.surroundings import Surroundings


def region_offers(
    clients: Clients, around: Surroundings, account: str, region: str, wanted: OfferFilter, now: datetime
) -> list[Offer]:
    """Offers of one region that a person wants: one question for types, at most two for prices."""
    with translated(f"read the types of {region}"):
        client = clients.read("ec2", region)
        named = wanted.instance_type
        found = facts.fetch(client, [named]) if named else facts.fetch_gpu_types(client)
    around.remember_types(found)
    fitting = [kind for kind in found.values() if _may_fit(kind, wanted)]
    names = [kind.name for kind in fitting]
    if names and wanted.spot is not True:
        around.prices.refresh_on_demand(clients, region, names)
    if names and wanted.spot is not False:
        around.prices.refresh_spot(clients, region, [kind.name for kind in fitting if kind.has_spot])
    return [offer for offer in _offers(fitting, around, account, region, now) if wanted.accepts(offer)]


def _may_fit(kind: TypeFacts, wanted: OfferFilter) -> bool:
    return (
        (wanted.gpu is None or wanted.gpu.casefold() in (kind.gpu or "").casefold())
        and (wanted.min_vram_gb is None or kind.vram_gb >= wanted.min_vram_gb)
        and (wanted.gpus is None or kind.gpu_count == wanted.gpus)
    )


def _offers(
    kinds: Iterable[TypeFacts], around: Surroundings, account: str, region: str, now: datetime
) -> Iterator[Offer]:
    for kind in kinds:
        for spot in (False, True) if kind.has_spot else (False,):
            prices = around.prices
            price = prices.spot(region, kind.name, None) if spot else prices.on_demand(region, kind.name)
            yield Offer(
                account=account,
                provider="aws",
                instance_type=kind.name,
                gpu=kind.gpu or "",
                gpu_count=kind.gpu_count,
                vram_gb=kind.vram_gb,
                region=region,
                price=price,
                spot=spot,
                available=None,
                as_of=now,
                vcpus=kind.vcpus,
                memory_gb=round(kind.memory_mib / 1024),
                new_disk=_new_disk(kind, around, region),
            )


def _new_disk(kind: TypeFacts, around: Surroundings, region: str) -> NewDisk:
    """The root disk, and the public address; an estimate, since an image may need a larger disk."""
    price = around.prices.volume(region, Volume("", 1, "gp3"))
    size = GPU_DISK_GB if kind.gpu_count else PLAIN_DISK_GB
    a_gb = None if price is None else Price(price.usd_per_hour, price.source, estimated=True)
    return NewDisk((("disk_gb", size),), a_gb, unknown_with=("disk_type",), beside=around.prices.public_ipv4())
