"""What may be launched instead of an offer of which the cloud has none free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from gpudash.fleet.desk import Desk
from gpudash.model.offer import Offer

MOST_STAND_INS = 8
"""Offers that are tried after the first one."""


def stand_ins(
    desk: Desk, offer: Offer, others: Iterable[Offer], max_price: Decimal | None, options: Mapping[str, str]
) -> tuple[Offer, ...]:
    """What may be launched instead where the cloud has none: as many of the same GPU at the same account, no dearer than
    the cap, or than the offer itself where there is none, on a host that is no worse. An option that means one region only
    keeps it there.
    """
    capabilities = desk.accounts.capabilities(offer.account)
    is_local = any(
        (option := capabilities.launch_option(name)) is not None and option.is_local(value)
        for name, value in options.items()
    )
    caps = [cap for cap in (max_price, desk.config.defaults.max_price_usd_per_hour) if cap is not None]
    limit = min(caps) if caps else offer.total.usd_per_hour if offer.total else None
    if limit is None:
        return ()

    def fits(other: Offer) -> bool:
        return (
            (other.account, other.gpu, other.gpu_count, other.vram_gb, other.spot)
            == (offer.account, offer.gpu, offer.gpu_count, offer.vram_gb, offer.spot)
            and (other.region, other.instance_type, other.id) != (offer.region, offer.instance_type, offer.id)
            and (bool(offer.gpu) or other.instance_type == offer.instance_type)
            and (not is_local or other.region == offer.region)
            and other.total is not None
            and other.total.usd_per_hour <= limit
            and other.available is not False
            and is_no_worse(other, offer)
        )

    def rank(other: Offer) -> tuple[bool, bool, Decimal, str]:
        price = other.total.usd_per_hour if other.total else limit
        return other.instance_type != offer.instance_type, other.available is not True, price, other.region

    return tuple(sorted(filter(fits, others), key=rank))[:MOST_STAND_INS]


def is_no_worse(other: Offer, offer: Offer) -> bool:
    """Where hosts differ: as new a CUDA, as well looked at, and as reliable to the percent."""
    return (
        (offer.cuda is None or (other.cuda is not None and other.cuda >= offer.cuda))
        and (offer.verified is not True or other.verified is True)
        and (offer.reliability is None or _percent(other.reliability) >= _percent(offer.reliability))
    )


def _percent(reliability: Decimal | None) -> int:
    return -1 if reliability is None else int(reliability * 100)
