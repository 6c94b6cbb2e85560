"""Bids for interruptible instances: the cloud's yes is the proof, and a bid asked twice is one bid.

A lost answer is not asked again by itself: a bid is money, and the person may want another one by now.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from gpudash.errors import GpudashError, Refused, Unsupported, UsageError
from gpudash.fleet import permissions, steps
from gpudash.fleet.desk import SENT_AT, Desk, with_params
from gpudash.fleet.endings import fail, known
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.money import Price
from gpudash.model.offer import LaunchOrder, Offer
from gpudash.model.operation import Operation, Stage
from gpudash.providers.base import TakesBids

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
    record = known(desk, key)
    permissions.check(desk, Verb.BID, key.account, record)
    if not usd_per_hour.is_finite() or usd_per_hour <= 0:
        raise UsageError(f"{usd_per_hour} is no price.", hint="Write USD an hour, like 0.25.")
    reason = permissions.reason_against(desk, Verb.BID, record)
    if reason is not None:
        raise Refused(reason)
    permissions.check_price(desk, Price(usd_per_hour, "bid"), None)
    return desk.begin(
        Verb.BID,
        (key.account, key.region),
        f"asked to bid ${usd_per_hour}/h for {record.instance.name}",
        key=key,
        name=record.instance.name,
        steps=steps.begin(steps.SHORT),
        params={USD: str(usd_per_hour)},
    )


def advance_bid(desk: Desk, operation: Operation) -> Operation:
    """Send it, once."""
    if operation.stage is not Stage.INTENDED:
        return operation
    if SENT_AT in operation.params or operation.id not in desk.fresh:
        detail = "interrupted; its price in the next list tells whether the bid was taken"
        return desk.save(operation, stage=Stage.FAILED, detail=detail, next_try_at=None)
    operation = desk.save(operation, attempts=1, params=with_params(operation, **{SENT_AT: desk.clock.now()}))
    assert operation.key is not None
    usd = Decimal(str(operation.params[USD]))
    try:
        provider = desk.accounts[operation.account]
        if not isinstance(provider, TakesBids):
            raise Unsupported(f"{provider.provider} takes no bids.")
        provider.set_bid(operation.key, usd)
    except GpudashError as exc:
        return fail(desk, operation, exc)
    return desk.save(
        operation,
        stage=Stage.PROVED,
        detail=f"the bid is ${usd}/h",
        steps=steps.all_done(operation.steps, desk.clock.now()),
        next_try_at=None,
    )
