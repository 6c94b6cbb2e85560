"""Launches: from an offer to an armed guard, or to the proof that nothing was launched. Never sent twice.

    intended ──(price, then sent_at on disk)──> sent ──> accepted ──> booting ──> ssh ──> statusd ──> armed = proved
      ^                                          ├─ no answer: ambiguous ── found by token ──┘
      │                                          │              └── absent from two good listings: failed
      └── the next offer, with a new token ──────┴─ a definite no for lack of capacity

A launch that was killed before `sent_at` was on disk never left; one killed later is looked for by its token.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from gpudash.errors import (
    Ambiguous,
    GpudashError,
    HostError,
    LinkDown,
    NeedsUser,
    NoCapacity,
    ProviderError,
    Refused,
    UsageError,
)
from gpudash.fleet import bids, permissions, steps
from gpudash.fleet.desk import SENT_AT, Desk, count, title, with_params
from gpudash.fleet.guarding import arm, config_of
from gpudash.fleet.limits import default_policy
from gpudash.fleet.outcome import ERROR
from gpudash.fleet.pace import backoff_s
from gpudash.fleet.record import Record, is_reachable
from gpudash.fleet.standins import stand_ins
from gpudash.ledger import codec
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.money import Price
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter, without_secrets
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction, Policy

ORDER = "order"
TRIES = "tries"
PRICE_FRESH_S = 60.0
"""A price seen longer ago than this is looked up again before anything is asked for."""
LINK_PATIENCE_S = 8.0
"""How long one step waits for SSH; the link itself goes on trying between steps."""
AGAIN_FIRST_S, AGAIN_MOST_S = 1.0, 30.0
"""Waits between attempts to reach a new instance or to arm its guard."""
WAIT_FOR_PERSON_S = 15.0
REFUSALS = "refusals"
"""Parameter of a launch: what was said of the offers that had none."""


def plan(
    desk: Desk,
    offer: Offer,
    *,
    name: str | None = None,
    lease: timedelta | None = None,
    idle_timeout: timedelta | None = None,
    idle_action: EndAction | None = None,
    max_price: Decimal | None = None,
    service_port: int | None = None,
    health_path: str | None = None,
    recipe: str | None = None,
    options: dict[str, str] | None = None,
    others: Iterable[Offer] = (),
) -> LaunchOrder:
    """A complete order: what was asked for, else the defaults. `others`: offers that may stand in where none is free.

    Raises:
        UsageError: a lease longer than the longest one allowed, or an option that the cloud has not.
        Unsupported: the cloud or the type cannot do what was asked for.
    """
    token = os.urandom(8).hex()
    defaults = desk.config.defaults
    limits = default_policy(desk, offer.account, lease=lease, idle_timeout=idle_timeout, idle_action=idle_action)
    order = LaunchOrder(
        token=token,
        account=offer.account,
        region=offer.region,
        instance_type=offer.instance_type,
        name=name or f"{_plain(offer.gpu)}-{token[:4]}",
        spot=offer.spot,
        policy=limits,
        offer=offer,
        max_price=max_price,
        service_port=service_port or defaults.service_port,
        health_path=health_path or defaults.health_path,
        recipe=recipe,
        options={"owner": _owner()} | offer.options | (options or {}),
        alternatives=stand_ins(desk, offer, others, max_price, options or {}),
    )
    desk.accounts.check(order)
    return order


def intend(desk: Desk, order: LaunchOrder) -> Operation:
    """Check, then write the intent with the whole order.

    Raises:
        Refused: read-only, or above a price cap.
    """
    permissions.check(desk, Verb.LAUNCH, order.account)
    if order.offer is not None:
        permissions.check_price(desk, order.offer.total, order.max_price)
        bids.check_first_bid(desk, order, order.offer)
    text = f"asked for {order.instance_type} in {order.region}, named {order.name}"
    operation = desk.begin(
        Verb.LAUNCH,
        (order.account, desk.accounts.capabilities(order.account).lane_of(order.region)),
        text,
        name=order.name,
        token=order.token,
        steps=steps.begin(steps.LAUNCH),
        params={ORDER: _written(order)},
    )
    shown = without_secrets(order.options)
    desk.withheld[operation.id] = {name: value for name, value in order.options.items() if shown[name] != value}
    return operation


def order_of(operation: Operation) -> LaunchOrder:
    """The order that an intent carries; the values of its variables are not in it."""
    return codec.unpack(LaunchOrder, operation.params[ORDER])


def _written(order: LaunchOrder) -> Any:
    """As the ledger keeps it. Only the process that wrote an intent ever sends it, so what may be secret stays out."""
    return codec.pack(replace(order, options=without_secrets(order.options)))


def refusals_of(operation: Operation) -> list[str]:
    """What was said of the offers that had none free, in order."""
    told = operation.params.get(REFUSALS)
    return [str(text) for text in told] if isinstance(told, list) else []


def advance(desk: Desk, operation: Operation) -> Operation:
    """The next thing a launch waits for."""
    if operation.stage is Stage.INTENDED:
        if SENT_AT in operation.params:
            return desk.save(operation, stage=Stage.AMBIGUOUS, detail="interrupted; looking for it by its token")
        if operation.id not in desk.fresh:
            return _fail(desk, operation, "interrupted before anything was asked for; nothing was launched")
        return _send(desk, operation)
    if operation.stage is Stage.ACCEPTED and operation.key is not None:
        return _bring_up(desk, operation, operation.key)
    return operation


# -- asking -----------------------------------------------------------------------------------------------------------


def _send(desk: Desk, operation: Operation) -> Operation:
    order = order_of(operation)
    order = replace(order, options={**order.options, **desk.withheld.get(operation.id, {})})
    try:
        price = _check_price(desk, order)
    except GpudashError as exc:
        return _next_or_fail(desk, operation, order, exc)
    told = f"{price.usd_per_hour:f} $/h" if price is not None else "not known"
    progress = steps.done(operation.steps, "price", told, desk.clock.now())
    operation = desk.save(
        operation,
        steps=progress,
        attempts=operation.attempts + 1,
        params=with_params(operation, **{SENT_AT: desk.clock.now()}),
    )
    began = desk.clock.monotonic()
    try:
        key = desk.accounts[order.account].launch(order)
    except Ambiguous as exc:
        return desk.save(operation, stage=Stage.AMBIGUOUS, detail=str(exc))
    except (ProviderError, Refused, UsageError) as exc:  # the last: no key to log in with, before anything was sent
        return _next_or_fail(desk, operation, order, exc)
    except Exception as exc:  # whatever an SDK lets slip, the request may have gone out
        return desk.save(operation, stage=Stage.AMBIGUOUS, detail=f"no clear answer: {exc!r}")
    took = f"{desk.clock.monotonic() - began:.1f} s"
    told = "; ".join(filter(None, (took, desk.without(key, order.name))))
    progress = steps.done(operation.steps, "asked", told, desk.clock.now())
    changes = {"stage": Stage.ACCEPTED, "key": key, "region": key.region, "steps": progress, "detail": ""}
    operation = desk.save(operation, reopen=True, **changes)
    desk.withheld.pop(operation.id, None)
    _take_charge(desk, key, order)
    return operation


def _next_or_fail(desk: Desk, operation: Operation, order: LaunchOrder, error: GpudashError) -> Operation:
    """After a definite no: the next offer where there was no capacity, else the end of it.

    The next one is an intent of its own under a new token, on disk before anything is sent again.
    """
    refusals = [*refusals_of(operation), str(error)]
    if SENT_AT in operation.params:
        desk.on_refused_launch(order.account, order.region)
    no_capacity = isinstance(error, NoCapacity) or (isinstance(error, Refused) and len(refusals) > 1)
    if not no_capacity or not order.alternatives:
        return _fail(desk, operation, " ".join(refusals), type(error).__name__)
    offer, *rest = order.alternatives
    following = replace(
        order,
        token=os.urandom(8).hex(),
        region=offer.region,
        instance_type=offer.instance_type,
        offer=offer,
        options=_without(order.options, order.offer.options if order.offer else {}) | offer.options,
        alternatives=tuple(rest),
    )
    told = f"{order.instance_type} in {order.region}: none free; trying {offer.instance_type} in {offer.region}"
    desk.say("launch", f"{title(operation)}: {told}", operation)
    return desk.save(
        operation,
        region=desk.accounts.capabilities(order.account).lane_of(offer.region),
        token=following.token,
        steps=steps.at(operation.steps, "price", told),
        detail=told,
        params=with_params(operation, **{ORDER: _written(following), REFUSALS: refusals, SENT_AT: None}),
    )


def _without(options: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in options.items() if others.get(name) != value}


def _check_price(desk: Desk, order: LaunchOrder) -> Price | None:
    """The price as of now, looked up again where the one shown is old. Refused where it rose above what was agreed."""
    offer = order.offer
    if offer is not None and desk.clock.now() - offer.as_of <= desk.pace.span(PRICE_FRESH_S):
        return offer.total
    wanted = OfferFilter(
        instance_type=order.instance_type,
        region=order.region,
        account=order.account,
        spot=order.spot,
        disk_gb=_disk_gb(order),
        with_unverified=offer is not None and offer.verified is False,
    )
    listing = desk.accounts[order.account].list_offers(wanted)
    fitting = [item for item in listing.items if wanted.accepts(item)]
    same = next((item for item in fitting if offer is not None and item.id == offer.id), None)
    current = same or next(iter(fitting), None)
    if current is None:
        if listing.complete:
            raise NoCapacity(f"{order.instance_type} is not offered in {order.region} any more.")
        return offer.total if offer else None
    permissions.check_price(desk, current.total, order.max_price)
    shown = offer.total if offer else None
    if order.max_price is None and shown is not None and current.total is not None and _is_dearer(current.total, shown):
        text = f"Its price rose from {shown.usd_per_hour} to {current.total.usd_per_hour} $/h."
        raise Refused(text, hint="Confirm it anew.")
    return current.total


def _disk_gb(order: LaunchOrder) -> int | None:
    """The disk that its price was for, where the cloud prices the disk."""
    if order.offer is None or order.offer.storage_price is None:
        return None
    told = order.options.get("disk_gb", "")
    return int(told) if told.isdecimal() else None


def _is_dearer(price: Price, than: Price) -> bool:
    return price.usd_per_hour > than.usd_per_hour


def _take_charge(desk: Desk, key: InstanceKey, order: LaunchOrder) -> Policy:
    """The instance is ours as soon as its id is known. Its limits: those ordered, or what was decided since."""
    desk.ledger.adopt(key)
    return desk.ledger.set_policy(key, order.policy)


# -- bringing up ------------------------------------------------------------------------------------------------------


def _bring_up(desk: Desk, operation: Operation, key: InstanceKey) -> Operation:
    order = order_of(operation)
    limits = _take_charge(desk, key, order)
    record = desk.record(key)
    if record is None or not is_reachable(record):
        state = record.instance.provider_state if record else "not listed yet"
        return _wait(desk, operation, "booting", state, AGAIN_FIRST_S)
    if not steps.is_done(operation.steps, "booting"):
        operation = desk.save(operation, steps=steps.done(operation.steps, "booting", "", desk.clock.now()))
    try:
        return _arm(desk, operation, record, order, limits)
    except NeedsUser as exc:
        return _wait(desk, operation, "ssh", str(exc), WAIT_FOR_PERSON_S)
    except LinkDown as exc:
        return _wait(desk, operation, "ssh", exc.text, _next_wait(operation))
    except (HostError, ProviderError, Refused) as exc:
        return _wait(desk, operation, "statusd", str(exc), _next_wait(operation))


def _arm(desk: Desk, operation: Operation, record: Record, order: LaunchOrder, limits: Policy) -> Operation:
    link = desk.hosts().link(record.instance)
    link.wait_up(LINK_PATIENCE_S)
    operation = desk.save(operation, steps=steps.done(operation.steps, "ssh", "", desk.clock.now()))
    armed = arm(desk, record, limits, config_of(desk, record, service_port=order.service_port))
    told = "; ".join(filter(None, (armed.version, armed.lacking)))
    progress = steps.done(operation.steps, "statusd", told, desk.clock.now())
    operation = desk.save(operation, steps=progress)
    if armed.problem is not None:
        return _wait(desk, operation, "armed", armed.problem, _next_wait(operation))
    return desk.save(
        operation,
        stage=Stage.PROVED,
        steps=steps.all_done(operation.steps, desk.clock.now()),
        detail=armed.detail,
        next_try_at=None,
    )


def _wait(desk: Desk, operation: Operation, step: str, detail: str, seconds: float) -> Operation:
    """Try again a little later; how often that happened decides how much later."""
    return desk.save(
        operation,
        steps=steps.at(operation.steps, step, detail),
        detail=detail,
        next_try_at=desk.pace.after(seconds),
        params=with_params(operation, **{TRIES: count(operation, TRIES) + (step != "booting")}),
    )


def _next_wait(operation: Operation) -> float:
    return backoff_s(count(operation, TRIES) + 1, first_s=AGAIN_FIRST_S, most_s=AGAIN_MOST_S)


def _fail(desk: Desk, operation: Operation, detail: str, error: str | None = None) -> Operation:
    return desk.save(
        operation,
        stage=Stage.FAILED,
        detail=detail,
        steps=steps.failed(operation.steps, detail),
        next_try_at=None,
        params=with_params(operation, **{ERROR: error}),
    )


def reopened(operation: Operation, key: InstanceKey) -> Operation:
    """A launch that was given up appeared after all: it goes on, so that nothing runs unguarded."""
    params: dict[str, Any] = with_params(operation, **{ERROR: None, "absent_since": None})
    return replace(
        operation,
        stage=Stage.ACCEPTED,
        key=key,
        region=key.region,
        detail="it appeared after all",
        steps=steps.at(operation.steps, "booting", "it appeared after all"),
        params=params,
    )


def _plain(gpu: str) -> str:
    return "".join(letter for letter in gpu.lower().replace(" ", "-") if letter.isalnum() or letter == "-") or "gpu"


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
