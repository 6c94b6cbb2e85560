"""Bids for interruptible instances, held against the price caps: a bid is what is paid."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from gpudash.errors import Unsupported, UsageError
from gpudash.fleet import once, permissions
from gpudash.fleet.desk import Desk
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.money import Price
from gpudash.model.offer import LaunchOrder, Offer
from gpudash.model.operation import Operation
from gpudash.providers.base import Provider, TakesBids

USD = "usd_per_hour"


def check_first_bid(desk: Desk, order: LaunchOrder, offer: Offer) -> None:
    """Refuse a launch whose bid, with the disk, is above a cap: the bid is what is paid, whatever the offer says.

    Raises:
        Refused: above a cap.
    """
    bid = order.options.get("bid")
    if order.spot and bid is not None and desk.accounts.capabilities(order.account).takes_bids:
        total = replace(offer, price=Price(Decimal(bid), "bid")).total
        permissions.check_price(desk, total, order.max_price)


def intend_bid(desk: Desk, key: InstanceKey, usd_per_hour: Decimal) -> Operation:
    """Write the intent to bid so many USD an hour for the whole machine.

    Raises:
        NotFound: no such instance.
        UsageError: no price.
        Refused: read-only, on demand, or above the price cap of the settings.
        Unsupported: the cloud takes no bids.
    """
    if not usd_per_hour.is_finite() or usd_per_hour <= 0:
        raise UsageError(f"{usd_per_hour} is no price.", hint="Write USD an hour, like 0.25.")
    record = once.allowed(desk, Verb.BID, key)
    permissions.check_price(desk, Price(usd_per_hour, "bid"), None)
    text = f"asked to bid ${usd_per_hour}/h for {record.instance.name}"
    return once.intend(desk, Verb.BID, record, text, {USD: str(usd_per_hour)})


def advance_bid(desk: Desk, operation: Operation) -> Operation:
    """Send it, once."""
    usd = Decimal(str(operation.params[USD]))

    def bid(provider: Provider, key: InstanceKey) -> str:
        if not isinstance(provider, TakesBids):
            raise Unsupported(f"{provider.provider} takes no bids.")
        provider.set_bid(key, usd)
        return f"the bid is ${usd}/h"

    return once.advance(desk, operation, bid, "its price in the next list tells whether the bid was taken")
