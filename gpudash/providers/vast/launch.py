"""One launch: one machine is asked for, once.

A refused create may still have made a contract that is stopped and bills its disk: it is destroyed at once, or, where
that fails, the launch counts as one that may have happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpudash.clock import Clock
from gpudash.errors import Ambiguous, GpudashError, NoCapacity, ProviderError
from gpudash.model.instance import EVERYWHERE
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.providers.http import Api
from gpudash.providers.recent import Recent
from gpudash.providers.vast import request
from gpudash.providers.vast.api import GONE, Pace
from gpudash.providers.vast.keys import Keys
from gpudash.providers.vast.offers import DISK_GB, parse_offer, query, rank
from gpudash.providers.vast.parse import read_type, whole


def search(api: Api, pace: Pace, clock: Clock, account: str, wanted: OfferFilter) -> list[Offer]:
    """Offers on demand, interruptible ones, or both, best first; one question a kind."""
    disk = DISK_GB if wanted.disk_gb is None else wanted.disk_gb
    found = []
    for spot in (False, True) if wanted.spot is None else (wanted.spot,):
        as_of = clock.now()
        doing = "search spot offers" if spot else "search offers"
        body = api.read("POST", "/api/v0/bundles/", doing, json=query(wanted, spot=spot), throttle=pace.search)
        records = body.get("offers")
        if not isinstance(records, list):
            raise api.lost(doing, "no offers in the answer")
        parsed = (
            parse_offer(record, account, disk, as_of, spot=spot) for record in records if isinstance(record, dict)
        )
        found += [offer for offer in parsed if offer is not None]
    return rank(found, wanted)


class Launches:
    """Launches of one account."""

    def __init__(self, api: Api, pace: Pace, clock: Clock, account: str, keys: Keys, recent: Recent) -> None:
        self._api, self._pace, self._clock, self._account = api, pace, clock, account
        self._keys, self._recent = keys, recent

    def launch(self, order: LaunchOrder) -> str:
        """Ask for one instance and return its id: the machine of the order's offer, else the best of that type there.

        Raises:
            Ambiguous: the create got no answer, or left a contract that could not be destroyed.
            NoCapacity: the machine is not free any more, or there is none.
            ProviderError: no such type, or any other definite no.
        """
        request.check(order)
        offer = order.offer if order.offer is not None and order.offer.id else self._best(order)
        key = self._keys.ensure(order.options.get("public_key"))
        bid = request.bid_of(order.options.get("bid") or offer.options.get("bid", "")) if order.spot else None
        body = request.build(order, key.name, bid)
        made = self._create(order, offer, body)
        self._recent.accepted(EVERYWHERE, made, _as_listed(made, offer, body))
        return made

    def destroy(self, contract: str, doing: str) -> None:
        """Ask for the end of a contract; an unknown one is success."""
        try:
            self._api.write("DELETE", f"/api/v0/instances/{contract}/", doing, json={}, throttle=self._pace.destroy)
        except ProviderError as exc:
            if exc.code not in GONE:
                raise

    def _best(self, order: LaunchOrder) -> Offer:
        if read_type(order.instance_type) is None:
            raise ProviderError(
                f"Vast has no type {order.instance_type}.", hint="A type reads like 1x_RTX_4090; see `gpudash offers`."
            )
        wanted = OfferFilter(
            instance_type=order.instance_type,
            region=order.region,
            spot=order.spot,
            max_price=order.max_price,
            disk_gb=request.disk_gb(order),
        )
        found = search(self._api, self._pace, self._clock, self._account, wanted)
        if not found:
            raise NoCapacity(
                f"Vast has no {order.instance_type} in {order.region} now.",
                hint="Look with `gpudash offers` at other countries and types.",
            )
        return found[0]

    def _create(self, order: LaunchOrder, offer: Offer, body: Mapping[str, Any]) -> str:
        doing = f"launch {order.instance_type} in {order.region}"
        try:
            answer = self._api.write("PUT", f"/api/v0/asks/{offer.id}/", doing, json=body, throttle=self._pace.create)
        except Ambiguous:
            self._recent.unanswered(EVERYWHERE, order.token)
            raise
        except ProviderError as exc:
            contract = whole(exc.facts.get("new_contract"))
            if contract is not None:
                self._undo(order, str(contract), exc)
            raise
        made = whole(answer.get("new_contract"))
        if made is None:
            self._recent.unanswered(EVERYWHERE, order.token)
            raise self._api.lost(doing, "no id in the answer", write=True)
        return str(made)

    def _undo(self, order: LaunchOrder, contract: str, refusal: ProviderError) -> None:
        """Take away what a refused create has made all the same."""
        try:
            self.destroy(contract, f"take away contract {contract}, which a refused launch has made")
        except GpudashError as exc:
            self._recent.unanswered(EVERYWHERE, order.token)
            raise Ambiguous(
                f"{refusal.text} Yet contract {contract} was made, and it could not be taken away: {exc.text}",
                hint="Its disk bills; it is looked for by its token.",
            ) from exc


def _as_listed(made: str, offer: Offer, body: Mapping[str, Any]) -> dict[str, Any]:
    """The record that stands for it until Vast lists it."""
    return {
        "id": int(made),
        "actual_status": None,
        "intended_status": "running",
        "cur_state": "running",
        "label": body["label"],
        "num_gpus": offer.gpu_count,
        "gpu_name": offer.gpu,
        "gpu_ram": offer.vram_gb * 1024,
        "country_code": offer.region,
        "is_bid": offer.spot,
        "dph_base": body.get("price", offer.price.usd_per_hour if offer.price else None),
        "disk_space": body["disk"],
        "storage_total_cost": offer.storage_price.usd_per_hour if offer.storage_price else None,
    }
