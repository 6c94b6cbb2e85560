"""GPU types: RunPod's records, the names people type, and offers. Pure but for `Catalogue`.

A type is named ``COUNTx-GPU``, for community cloud with ``-community`` behind it: ``2x-rtx-4090``,
``1x-a100-80gb-pcie-community``. The GPU's part is made from RunPod's id by `slug`, so that a pod's record leads to the
same name without asking the catalogue; ``2x-NVIDIA GeForce RTX 4090`` is understood as well.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from gpudash.clock import Clock
from gpudash.errors import GpudashError, ProviderError
from gpudash.model.money import Price
from gpudash.model.offer import Offer
from gpudash.providers.http import Api
from gpudash.providers.runpod.storage import NEW_DISK
from gpudash.providers.runpod.surfaces import every_page

SECURE, COMMUNITY = "SECURE", "COMMUNITY"
ANYWHERE = "any"
"""Region of an offer that leaves the data centre to RunPod."""
COUNTS = (1, 2, 4, 8)
FRESH_FOR = timedelta(hours=1)
"""How long names and sizes of GPUs are taken as known; stock is asked each time."""
RETRY_AFTER = timedelta(minutes=1)
PATIENCE_S = 12.0
"""Longer than one question may take."""
log = logging.getLogger(__name__)
_NAME = re.compile(r"(?P<count>\d+)x-(?P<gpu>.+?)(?P<community>-community)?", re.IGNORECASE)
_LEVELS = {"NONE": False, "LOW": True, "MEDIUM": True, "HIGH": True}


@dataclass(frozen=True, slots=True)
class GpuType:
    """One GPU as the catalogue has it."""

    id: str
    name: str
    vram_gb: int
    pool: str | None
    prices: Mapping[str, Decimal]
    """USD an hour and GPU, by cloud; what is not sold there is absent. ``serverless`` is the pool's."""
    max_counts: Mapping[str, int]
    availability: str | None = None
    """Stock over all data centres; None where it was not asked, or the word is unknown."""
    data_centres: Mapping[str, str] = field(default_factory=dict)
    """Stock by data centre."""


@dataclass(frozen=True, slots=True)
class TypeName:
    """An instance type, taken apart."""

    count: int
    gpu: str
    """RunPod's id, or the slug of one."""
    cloud: str

    def __str__(self) -> str:
        return f"{self.count}x-{slug(self.gpu)}{'-community' if self.cloud == COMMUNITY else ''}"


def slug(gpu_id: str) -> str:
    """A GPU's id as one word: ``NVIDIA GeForce RTX 4090`` becomes ``rtx-4090``."""
    word = re.sub(r"[^a-z0-9]+", "-", gpu_id.casefold()).strip("-")
    return re.sub(r"^(nvidia-|amd-)?(geforce-)?", "", word) or word


def type_name(text: str) -> TypeName | None:
    """Take a type's name apart; None where it has another form."""
    match = _NAME.fullmatch(text.strip())
    if match is None or not int(match["count"]):
        return None
    return TypeName(int(match["count"]), match["gpu"], COMMUNITY if match["community"] else SECURE)


def parse_gpu(record: Mapping[str, Any]) -> GpuType | None:
    """One entry of ``GET /catalog/gpus``; None where it cannot be used."""
    memory = record.get("memory")
    if not isinstance(memory, int) or not isinstance(record.get("id"), str):
        return None
    price, counts = _mapping(record.get("price")), _mapping(record.get("maxCount"))
    sold = {
        cloud: Decimal(price[cloud.lower()])
        for cloud in (SECURE, COMMUNITY)
        if record.get(cloud.lower()) is not False and _is_price(price.get(cloud.lower()))
    }
    if _is_price(price.get("serverless")):
        sold["serverless"] = Decimal(price["serverless"])
    return GpuType(
        id=record["id"],
        name=str(record.get("name") or record["id"]),
        vram_gb=memory,
        pool=record.get("pool") if isinstance(record.get("pool"), str) else None,
        prices=sold,
        max_counts={cloud: n for cloud in (SECURE, COMMUNITY) if isinstance(n := counts.get(cloud.lower()), int)},
        availability=record.get("availability") if isinstance(record.get("availability"), str) else None,
        data_centres={
            str(place["id"]): str(place.get("availability"))
            for place in record.get("dataCenters") or ()
            if isinstance(place, dict) and place.get("id")
        },
    )


def offers_of(
    gpu: GpuType, cloud: str, asked_count: int, only: int | None, place: str, account: str, as_of: datetime
) -> Iterator[Offer]:
    """What can be rented of one GPU in one cloud and place, where stock was asked for `asked_count` GPUs on a machine.

    More GPUs than were asked for are unknown, unless there is not even one.
    """
    each = gpu.prices.get(cloud)
    if each is None:
        return
    level = gpu.availability if place == ANYWHERE else gpu.data_centres.get(place, "NONE")
    has_stock = _LEVELS.get(level or "")
    counts = (only,) if only else COUNTS
    for count in counts:
        if count > gpu.max_counts.get(cloud, 1):
            continue
        yield Offer(
            account=account,
            provider="runpod",
            instance_type=str(TypeName(count, gpu.id, cloud)),
            gpu=gpu.name,
            gpu_count=count,
            vram_gb=gpu.vram_gb,
            region=place,
            price=Price(each * count, "catalogue"),
            spot=False,
            available=has_stock if count == asked_count or has_stock is False else None,
            as_of=as_of,
            new_disk=NEW_DISK,
        )


class Catalogue:
    """GPU types of one account, remembered for an hour. Safe from any thread."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._lock = threading.Lock()
        self._types: dict[str, GpuType] = {}
        self._next_at: datetime | None = None
        self._under_way = threading.Event()
        self._under_way.set()

    def refresh(self) -> threading.Event:
        """Ask in a thread of its own where nothing is known or it is old; set once that is over."""
        now = self._clock.now()
        with self._lock:
            if not self._under_way.is_set() or (self._next_at is not None and now < self._next_at):
                return self._under_way
            self._next_at = now + RETRY_AFTER
            done = self._under_way = threading.Event()
        threading.Thread(target=self._fetch, args=(done, now), name="runpod-catalogue", daemon=True).start()
        return done

    def known(self, patience_s: float = PATIENCE_S) -> Mapping[str, GpuType]:
        """Types by id, fresh where they come in time; a failure leaves what was known, perhaps nothing."""
        self.refresh().wait(patience_s)
        return self._types

    def _fetch(self, done: threading.Event, now: datetime) -> None:
        try:
            self._types = {gpu.id: gpu for gpu in self._ask({})}
            self._next_at = now + FRESH_FOR
        except GpudashError as exc:
            log.info("the catalogue of GPUs did not come: %s", exc)
        finally:
            done.set()

    def with_stock(self, cloud: str, count: int) -> list[GpuType]:
        """All types with their stock for pods of so many GPUs, asked now.

        Raises:
            Unreachable, AuthRefused, RateLimited, ProviderError: as `Api.read`.
        """
        return self._ask({"include": "AVAILABILITY", "product": "POD", "count": count, "cloud": cloud})

    def resolve(self, instance_type: str) -> tuple[TypeName, GpuType]:
        """The GPU that a type's name means.

        Raises:
            ProviderError: there is none.
            Unreachable, AuthRefused, RateLimited: the catalogue could not be asked.
        """
        name = type_name(instance_type)
        types = self.known()
        if name is not None and not types:
            types = {gpu.id: gpu for gpu in self._ask({})}
        for gpu in types.values():
            if name is not None and (gpu.id == name.gpu or slug(gpu.id) == slug(name.gpu)):
                return TypeName(name.count, gpu.id, name.cloud), gpu
        raise ProviderError(
            f"RunPod has no type {instance_type!r}.", hint="Types look like 1x-rtx-4090; `gpudash offers` names them."
        )

    def serverless_price(self, pools: Iterable[str], gpu_id: str | None = None) -> Price | None:
        """USD an hour and GPU of a worker: exact for a known GPU or one pool, else the dearest of its pools."""
        types = self.known()
        placed = types.get(gpu_id) if gpu_id else None
        if placed is not None and "serverless" in placed.prices:
            return Price(placed.prices["serverless"], "catalogue")
        chosen = set(pools)
        rates = {g.prices["serverless"] for g in types.values() if g.pool in chosen and "serverless" in g.prices}
        return Price(max(rates), "catalogue", estimated=len(rates) > 1) if rates else None

    def _ask(self, params: Mapping[str, Any]) -> list[GpuType]:
        records, _ = every_page(self._api, "/catalog/gpus", "gpus", "list GPU types", params)
        return [gpu for record in records if (gpu := parse_gpu(record)) is not None]


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _is_price(found: Any) -> bool:
    return isinstance(found, int | Decimal) and not isinstance(found, bool) and found > 0
