"""What a person wants launched: read from ``--option NAME=VALUE`` and from one JSON offer on stdin. Nothing is guessed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from gpudash.errors import UsageError

MUCH_JSON = 1_000_000
"""Characters of stdin that are read; an offer has a few hundred."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to launch, from flags and from an offer on stdin; flags win."""

    instance_type: str
    account: str | None
    region: str | None
    spot: bool
    offer_id: str | None = None
    """Exactly that offer, else the cheapest that fits."""
    price: Decimal | None = None
    """USD an hour, as the offer on stdin had it."""
    options: dict[str, str] = field(default_factory=dict)
    """What only one cloud knows, by its own names."""
    unverified: bool = False
    """The offer on stdin is of a host that its cloud has not looked at."""


def from_stdin(account: str | None, region: str | None, spot: bool) -> Wanted:
    """One offer from stdin; what was said on the command line wins.

    Raises:
        UsageError: stdin is a terminal or empty, or holds no offer.
    """
    missing = UsageError("launch needs --type, or one JSON offer on stdin.", hint="`gpudash offers` lists types.")
    if sys.stdin.isatty():
        raise missing
    text = sys.stdin.read(MUCH_JSON)
    if not text.strip():
        raise missing
    found = read_offer(text)
    return replace(found, account=account or found.account, region=region or found.region, spot=spot or found.spot)


def read_offer(text: str) -> Wanted:
    """One offer out of JSON: an object, a list of one, or the document of `offers --json` with one.

    truffle's own form has no account; it names EC2 types, and a spot price where it looked for spot.

    Raises:
        UsageError: not JSON, not an offer, or several.
    """
    try:
        body = json.loads(text)
    except ValueError as exc:
        raise UsageError(f"stdin holds no JSON offer: {exc}.") from None
    if isinstance(body, dict) and isinstance(body.get("offers"), list):
        body = body["offers"]
    if isinstance(body, list):
        if len(body) != 1:
            raise UsageError(f"stdin holds {len(body)} offers.", hint="Pick one, for example with `jq '.[0]'`.")
        body = body[0]
    kind = body.get("instance_type") if isinstance(body, dict) else None
    if not isinstance(kind, str) or not kind:
        raise UsageError("The JSON on stdin is no offer: it has no instance_type.")
    spot = bool(body.get("spot") or body.get("spot_price"))
    prices = ("spot_price",) if spot and body.get("spot_price") else ("price_usd_per_hour", "on_demand_price")
    told = {name: value for name in ("availability_zone", "architecture") if (value := _text(body, name)) is not None}
    given = body.get("options")
    told |= {name: value for name, value in given.items() if isinstance(value, str)} if isinstance(given, dict) else {}
    price = next((found for name in prices if (found := _price(body, name)) is not None), None)
    unverified = body.get("verified") is False
    return Wanted(
        kind, _text(body, "account"), _text(body, "region"), spot, _text(body, "offer_id"), price, told, unverified
    )


def read_options(pairs: Sequence[str]) -> dict[str, str]:
    """``disk_gb=200`` and ``disk-gb=200`` alike.

    Raises:
        UsageError: no ``=``, or one name twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        head, dot, tail = name.partition(".")
        name = head.replace("-", "_") + dot + tail
        if not equals or not head:
            raise UsageError(f"--option {pair!r} is not NAME=VALUE.", hint="Write it like -o disk_gb=200.")
        if name in found:
            raise UsageError(f"--option {name} stands there twice.")
        found[name] = value
    return found


def _price(body: dict[str, Any], field: str) -> Decimal | None:
    value = body.get(field)
    if value is None:
        return None
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        price = Decimal(0)
    if isinstance(value, bool) or not price.is_finite() or price <= 0:
        raise UsageError(f"The JSON offer's {field} is no price.")
    return price


def _text(body: dict[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"The JSON offer's {field} is not a text.")
    return value or None
