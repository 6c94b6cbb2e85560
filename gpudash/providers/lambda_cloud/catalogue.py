"""Types and where there is stock, and what comes closest where there is none."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from gpudash.clock import Clock
from gpudash.providers.http import Api
from gpudash.providers.lambda_cloud.parse import TypeFacts, parse_types

GOOD_FOR_S = 10.0
"""A launch comes right after a look at the offers; one question serves both."""
ALTERNATIVES = 3


class Catalogue:
    """What Lambda rents out. Safe from any thread."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._lock = threading.Lock()
        self._asked_at: datetime | None = None
        self._at = 0.0
        self._types: dict[str, TypeFacts] = {}

    def types(self) -> tuple[dict[str, TypeFacts], datetime]:
        """Every type by name, and when that was asked; at most `GOOD_FOR_S` old."""
        with self._lock:
            if self._asked_at is None or self._clock.monotonic() - self._at > GOOD_FOR_S:
                asked_at, at = self._clock.now(), self._clock.monotonic()
                body = self._api.read("GET", "/instance-types", "list instance types")
                data = body.get("data")
                if not isinstance(data, dict):
                    raise self._api.lost("list instance types", "no types in the answer")
                self._types, self._asked_at, self._at = parse_types(data), asked_at, at
            return self._types, self._asked_at

    def forget(self) -> None:
        """Ask anew next time: a launch was just refused for lack of stock."""
        with self._lock:
            self._asked_at = None


def alternatives(wanted: TypeFacts, region: str, types: Mapping[str, TypeFacts], *, fixed_region: bool) -> list[str]:
    """Up to three launches that come closest, best first.

    First the same type in another region. Then types with the same GPU, or at least as much VRAM in all, cheapest
    first; the region asked for before others. A type without a price comes last.

    Args:
        fixed_region: only that region will do, because a filesystem stands there.
    """
    need = wanted.gpu_count * wanted.vram_gb
    ranked: list[tuple[tuple[bool, Decimal, bool, str], str]] = []
    for facts in types.values():
        is_same = facts.name == wanted.name
        fits = facts.gpu_count * facts.vram_gb >= need or (facts.gpu == wanted.gpu and facts.gpu_count > 0)
        if not (is_same or (fits and facts.gpu_count)):
            continue
        for place in facts.regions:
            if (is_same and place == region) or (fixed_region and place != region):
                continue
            price = facts.price.usd_per_hour if facts.price else Decimal("Infinity")
            told = f"${facts.price.usd_per_hour:.2f}/h" if facts.price else "price unknown"
            ranked.append(((not is_same, price, place != region, place), f"{facts.name} in {place} ({told})"))
    return [text for _, text in sorted(ranked)[:ALTERNATIVES]]
