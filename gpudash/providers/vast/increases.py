"""Higher prices that hosts have asked for: shown on the row until they are answered at Vast.

Vast keeps them out of the list of instances, so they are asked for beside it, seldom and impatiently; a failure costs
nothing but the news. Amounts are USD a second.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gpudash.clock import Clock
from gpudash.errors import GpudashError
from gpudash.providers.http import Api
from gpudash.providers.vast import prices
from gpudash.providers.vast.parse import moment, whole

EVERY_S = 900.0
PATH = "/api/v0/instances/pending-price-increases/"
_PARTS = (("gpu_costpersec", "GPU"), ("disk_ram_costpersec", "disk"))
log = logging.getLogger(__name__)


class Increases:
    """What hosts of one account have asked for, at most a quarter of an hour old."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._asked_at: float | None = None
        self._known: dict[str, str] = {}

    def by_instance(self) -> Mapping[str, str]:
        """Words by instance id."""
        now = self._clock.monotonic()
        if self._asked_at is None or now - self._asked_at >= EVERY_S:
            self._asked_at = now
            try:
                body = self._api.read("GET", PATH, "look for price increases")
            except GpudashError as exc:
                log.info("%s", exc.text)
            else:
                self._known = parse_increases(body)
        return self._known


def parse_increases(body: Mapping[str, Any]) -> dict[str, str]:
    """The answer in words, by instance id; a row that cannot be read is left out."""
    rows = body.get("pending_price_increases")
    found = {}
    for row in rows if isinstance(rows, list) else ():
        contract = whole(row.get("contract_id")) if isinstance(row, dict) else None
        if contract is not None:
            found[str(contract)] = _words(row)
    return found


def _words(row: Mapping[str, Any]) -> str:
    changes = []
    for part, name in _PARTS:
        old, new = _per_hour(row.get(f"old_{part}")), _per_hour(row.get(f"new_{part}"))
        if new is not None and new != old:
            changes.append(f"{name} ${old:.4f} → ${new:.4f}/h" if old is not None else f"{name} ${new:.4f}/h")
    until = moment(row.get("contract_end_date"))
    when = f" from {until:%Y-%m-%d %H:%M} UTC" if until else ""
    return f"its host asks for more: {', '.join(changes) or 'a higher price'}{when}; answer at console.vast.ai"


def _per_hour(value: Any) -> Decimal | None:
    told = prices.number(value)
    return None if told is None else told * 3600
