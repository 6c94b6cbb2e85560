"""Higher prices that hosts have asked for: shown on the row until they are answered, here or at Vast.

Vast keeps them out of the list of instances, so they are asked for beside it, seldom and impatiently; a failure costs
nothing but the news. GPU and disk are USD a second, traffic USD a GB. The new price holds from the end of the present
contract; until then the old one does. Source: Vast's own client (``vastai/api/price_increase.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gpudash.clock import Clock
from gpudash.errors import GpudashError, ProviderError
from gpudash.model.instance import InstanceKey
from gpudash.providers.base import PriceIncrease
from gpudash.providers.http import Api, Throttle
from gpudash.providers.vast import prices
from gpudash.providers.vast.parse import moment, whole

EVERY_S = 900.0
PATH = "/api/v0/instances/pending-price-increases/"
_BY_TIME = (("gpu_costpersec", "GPU"), ("disk_ram_costpersec", "disk"))
_BY_GB = (("bwu_cost", "traffic out"), ("bwd_cost", "traffic in"))
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Pending:
    number: int | None
    """What an answer names; it changes when the host asks anew."""
    asked: PriceIncrease


class Increases:
    """What hosts of one account have asked for, on rows at most a quarter of an hour old."""

    def __init__(self, api: Api, aside: Api, throttle: Throttle, clock: Clock) -> None:
        self._api, self._aside, self._throttle, self._clock = api, aside, throttle, clock
        self._asked_at: float | None = None
        self._known: dict[str, _Pending] = {}
        self._told: dict[str, int] = {}
        """By instance, the number of what `asked` told last: what was weighed is what is answered."""

    def by_instance(self) -> Mapping[str, str]:
        """Words by instance id."""
        now = self._clock.monotonic()
        if self._asked_at is None or now - self._asked_at >= EVERY_S:
            self._asked_at = now
            try:
                body = self._aside.read("GET", PATH, "look for price increases")
            except GpudashError as exc:
                log.info("%s", exc.text)
            else:
                self._known = _parse(body)
        return {identity: _notice(identity, pending.asked) for identity, pending in self._known.items()}

    def asked(self, key: InstanceKey) -> PriceIncrease | None:
        """What its host asks for now."""
        self._known = _parse(self._api.read("GET", PATH, "look for price increases"))
        self._asked_at = self._clock.monotonic()
        pending = self._known.get(key.id)
        if pending is None or pending.number is None:
            self._told.pop(key.id, None)
            return None
        self._told[key.id] = pending.number
        return pending.asked

    def answer(self, key: InstanceKey, *, accept: bool) -> None:
        """Answer what `asked` told last.

        Raises:
            ProviderError: the host has asked anew, or taken it back; or nobody asked what it wants.
        """
        word, number = "accept" if accept else "reject", self._told.pop(key.id, None)
        if number is None:
            raise ProviderError(f"{key.id}: what its host asks for was not looked at before the answer.")
        path, doing = f"/api/v0/instances/{word}-price-increase/", f"{word} the higher price of {key.id}"
        body = {"pending_price_increase_id": number}
        self._api.write("PUT", path, doing, json=body, throttle=self._throttle)
        self._known = {identity: other for identity, other in self._known.items() if identity != key.id}


def parse_increases(body: Mapping[str, Any]) -> dict[str, str]:
    """The answer in words, by instance id; a row that cannot be read is left out."""
    return {identity: _notice(identity, pending.asked) for identity, pending in _parse(body).items()}


def _parse(body: Mapping[str, Any]) -> dict[str, _Pending]:
    rows = body.get("pending_price_increases")
    found = {}
    for row in rows if isinstance(rows, list) else ():
        contract = whole(row.get("contract_id")) if isinstance(row, dict) else None
        if contract is not None:
            found[str(contract)] = _Pending(whole(row.get("pending_price_increase_id")), _increase(row))
    return found


def _notice(identity: str, asked: PriceIncrease) -> str:
    return f"its host asks for more: {asked.text}; answer: gpudash increase {identity} accept|reject"


def _increase(row: Mapping[str, Any]) -> PriceIncrease:
    changes = [
        f"{name} {_usd(old)} → {_usd(new)}/h"
        for part, name in _BY_TIME
        for old, new in [_change(row, part, Decimal(3600))]
        if new is not None and new != old
    ]
    changes += [
        f"{name} {_usd(old)} → {_usd(new)}/GB"
        for part, name in _BY_GB
        for old, new in [_change(row, part, Decimal(1))]
        if new is not None and new != old
    ]
    until = moment(row.get("contract_end_date"))
    when = f" from {until:%Y-%m-%d %H:%M} UTC, the old price until then" if until else ""
    old, new = _change(row, "gpu_costpersec", Decimal(1))
    growth = Decimal(1) if new is None else new / old if old else None
    return PriceIncrease(f"{', '.join(changes) or 'a higher price'}{when}", growth)


def _change(row: Mapping[str, Any], part: str, scale: Decimal) -> tuple[Decimal | None, Decimal | None]:
    old, new = prices.number(row.get(f"old_{part}")), prices.number(row.get(f"new_{part}"))
    return None if old is None else old * scale, None if new is None else new * scale


def _usd(amount: Decimal | None) -> str:
    return "?" if amount is None else f"${amount:.4f}"
