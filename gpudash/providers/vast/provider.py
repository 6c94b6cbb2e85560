"""The adapter of one Vast account: the provider contract on one side, the subjects of this folder on the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpudash.clock import Clock
from gpudash.errors import GpudashError, ProviderError, Refused, Unreachable, Unsupported
from gpudash.model.capability import Verb
from gpudash.model.instance import EVERYWHERE, Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.model.tags import LAUNCH_TOKEN, MANAGED, PREFIX
from gpudash.providers.base import Leftover, PriceIncrease
from gpudash.providers.http import Timeouts, segment
from gpudash.providers.recent import Recent
from gpudash.providers.vast import CAPABILITIES, label, leftovers, request
from gpudash.providers.vast.api import GONE, ORIGIN, Pace, make_api
from gpudash.providers.vast.increases import Increases
from gpudash.providers.vast.keys import Keys
from gpudash.providers.vast.launch import Launches, search
from gpudash.providers.vast.parse import parse_instance, whole

if TYPE_CHECKING:
    from gpudash.config import Account

log = logging.getLogger(__name__)
VISIBLE_AFTER_S = 60.0
"""Vast shows a new instance within that time."""
PAGE_SIZE = 25
"""The most that Vast puts on a page."""
MOST_PAGES = 400
ASIDE = Timeouts(connect=2.0, read=3.0, write=3.0, pool=1.0, total=4.0)
"""For what a listing can do without."""
_LIST = "/api/v1/instances/"
_ORDER = '[{"col": "id", "dir": "asc"}]'


class VastProvider:
    """One account at Vast. One list covers all hosts, so there is one lane."""

    provider = "vast"
    capabilities = CAPABILITIES

    def __init__(
        self,
        account: Account,
        clock: Clock,
        *,
        timeouts: Timeouts | None = None,
        visible_after_s: float = VISIBLE_AFTER_S,
    ) -> None:
        self.account: str = account.name
        self._clock, self._origin = clock, account.base_url or ORIGIN
        self._regions = tuple(account.regions or ())
        self.api = make_api(account, clock, timeouts)
        self._aside = self.api.hurried(ASIDE)
        self._pace = Pace.of(clock)
        self._increases = Increases(self.api, self._aside, self._pace.manage, clock)
        self._keys = Keys(self.api, self._pace.keys)
        self._recent = Recent(clock, visible_after_s)
        self._launches = Launches(self.api, self._pace, clock, self.account, self._keys, self._recent)
        self._lock = threading.Lock()
        self._labels: dict[str, str] = {}
        self._bids: set[str] = set()
        self._stopped: set[str] = set()

    def regions(self) -> tuple[str, ...]:
        """One lane for all."""
        return (EVERYWHERE,)

    def list_instances(self, region: str) -> Listing[Instance]:
        """Every instance of the account, 25 to a page; a page that fails or a record that cannot be read makes it
        incomplete."""
        return self.list_in_pages(region, lambda page: None)

    def list_in_pages(self, region: str, on_page: Callable[[Listing[Instance]], None]) -> Listing[Instance]:
        """The same; where there are several pages, each goes to `on_page` as it comes.

        Raises:
            GpudashError: the first page did not come.
        """
        asked_at = self._clock.now()
        records: list[Any] = []
        problem: str | None = None
        total: int | None = None
        pages = self._pages()
        while True:
            try:
                page = next(pages, None)
            except GpudashError as exc:
                if not records:
                    raise
                problem = exc.text
                break
            if page is None:
                break
            found, total, more = page
            records += found
            if more:
                items = tuple(self._parse(found)[0])
                on_page(
                    Listing(self.account, EVERYWHERE, items, False, asked_at, self._clock.now(), "more pages follow")
                )
        if problem is None and total is not None and total > len(records):
            problem = f"Vast counts {total} instances and lists {len(records)}"
        return self._whole(records, problem, asked_at)

    def list_offers(self, wanted: OfferFilter) -> Listing[Offer]:
        """Machines that can be rented, on demand and for a bid, best first; see `offers` for the rank."""
        asked_at = self._clock.now()
        found: list[Offer] = []
        if wanted.account in (None, self.account):
            found = search(self.api, self._pace, self._clock, self.account, wanted)
        items = tuple(offer for offer in found if not self._regions or offer.region in self._regions)
        return Listing(self.account, EVERYWHERE, items, True, asked_at, self._clock.now())

    def list_leftovers(self) -> Listing[Leftover]:
        """Disks of instances that do not run, and volumes."""
        asked_at = self._clock.now()
        listing = self.list_instances(EVERYWHERE)
        items, problem = leftovers.disks(listing.items), listing.problem
        try:
            items += leftovers.volumes(self.api, self._pace, self.account)
        except GpudashError as exc:
            problem = problem or exc.text
        return Listing(self.account, EVERYWHERE, tuple(items), problem is None, asked_at, self._clock.now(), problem)

    def launch(self, order: LaunchOrder) -> InstanceKey:
        """Have the key there, then ask for one machine; see `request` for the options and `launch` for what follows a no."""
        return InstanceKey(self.account, EVERYWHERE, self._launches.launch(order))

    def start(self, key: InstanceKey) -> None:
        """Ask for the GPU back. Where it is let to another, the instance waits, and its row says so."""
        self._manage(key, "start", {"state": "running"})
        with self._lock:
            self._stopped.discard(key.id)
        self._mark(key, {label.ASKED: ""})

    def stop(self, key: InstanceKey) -> None:
        """Stop; the disk stays and bills. An interruptible one is marked first, so that it is not taken for outbid."""
        self._mark(key, {label.ASKED: "stop"})
        self._manage(key, "stop", {"state": "stopped"})
        with self._lock:
            self._stopped.add(key.id)

    def restart(self, key: InstanceKey) -> None:
        """Reboot the container in place; it keeps its GPU and its disk."""
        self._put(key, f"reboot/{key.id}", f"restart {key.id}", {})

    def hibernate(self, key: InstanceKey) -> None:
        """Vast has no such thing."""
        raise Unsupported(CAPABILITIES.why_not[Verb.HIBERNATE])

    def terminate(self, key: InstanceKey) -> None:
        """Destroy it with its disk. An unknown id is success, unless it was made a moment ago."""
        if not key.id.isdecimal():
            return
        doing = f"terminate {key.id}"
        try:
            self.api.write("DELETE", f"/api/v0/instances/{key.id}/", doing, json={}, throttle=self._pace.destroy)
        except ProviderError as exc:
            if exc.code not in GONE:
                raise
            if self._recent.is_fresh(key.id):
                raise Unreachable(f"{key.id} was launched a moment ago; Vast does not show it yet.") from exc

    def is_gone(self, key: InstanceKey) -> bool:
        """Whether Vast, asked for it by its id, does not know it. It answers null, or a 404 in its own words."""
        path, doing = f"/api/v0/instances/{segment(key.id)}/", f"look at {key.id}"
        try:
            body: dict[str, Any] = self.api.read("GET", path, doing, params={"owner": "me"}, throttle=self._pace.manage)
        except ProviderError as exc:
            if exc.code not in GONE:
                raise
            return not self._recent.is_fresh(key.id)
        return "instances" in body and body["instances"] is None and not self._recent.is_fresh(key.id)

    def rename(self, instance: Instance, name: str) -> None:
        """Change the name in its label; our marks beside it stay."""
        self.set_tags(instance.key, {"Name": name})

    def asked_increase(self, key: InstanceKey) -> PriceIncrease | None:
        """The higher price that its host asks for."""
        return self._increases.asked(key)

    def answer_increase(self, key: InstanceKey, *, accept: bool) -> None:
        """Accept or reject it. One that is rejected ends with its contract."""
        self._increases.answer(key, accept=accept)

    def set_tags(self, key: InstanceKey, tags: Mapping[str, str]) -> None:
        """Write marks (``lease-deadline`` or ``gpudash:lease-deadline``) and ``Name`` into the label; an empty text
        clears one.

        Raises:
            Refused: the label is too long for them.
            ProviderError: no such instance.
        """
        self._must_exist(key, "label")
        name, marks = label.read(self._labels.get(key.id))
        wanted = {(mark if ":" in mark else PREFIX + mark): value for mark, value in tags.items() if mark != "Name"}
        text = label.write(tags.get("Name", name), {**marks, **wanted})
        if len(text) > label.LIMIT:
            raise Refused(f"{key.id}: its label takes {label.LIMIT} characters, and this needs {len(text)}.")
        if "Name" in tags and label.read(text)[0] != tags["Name"]:
            raise Refused(f"{key.id}: that name and its limits are more than the {label.LIMIT} characters of a label.")
        self._write_label(key, text)

    def set_bid(self, key: InstanceKey, usd_per_hour: Decimal) -> None:
        """Bid anew for an interruptible instance, in USD an hour for the whole machine.

        Raises:
            Unsupported: it is on demand.
            UsageError: not a price that Vast takes.
        """
        self._must_exist(key, "bid for")
        if key.id not in self._bids:
            raise Unsupported(f"{key.id} is on demand; Vast cannot make it interruptible.", hint="Launch another one.")
        body = {"client_id": "me", "price": float(request.bid_of(str(usd_per_hour)))}
        path = f"/api/v0/instances/bid_price/{key.id}/"
        self.api.write("PUT", path, f"bid for {key.id}", json=body, throttle=self._pace.bid)

    def end_spec(self, key: InstanceKey) -> Mapping[str, object]:
        """Calls with the key that Vast puts into each container and that can end this instance alone."""
        url = f"{self._origin}/api/v0/instances/{key.id}/"
        call = {
            "method": "http",
            "url": url,
            "token_env": "CONTAINER_API_KEY",
            "only_if_env": {"CONTAINER_ID": key.id},
            "ok_status": [200],
            "ok_json": {"success": True},
        }
        return {
            "method": "chain",
            "stop": [{**call, "verb": "PUT", "body": {"state": "stopped"}}],
            "terminate": [{**call, "verb": "DELETE", "body": {}}],
        }

    def close(self) -> None:
        """Let go of connections."""
        self.api.close()
        self._aside.close()

    # -- the list -------------------------------------------------------------------------------------------------

    def _pages(self) -> Iterator[tuple[list[Any], int | None, bool]]:
        """Records, how many there are in all, and whether more follow; one call in the second that Vast allows."""
        token: str | None = None
        for _ in range(MOST_PAGES):
            params = {"limit": PAGE_SIZE, "order_by": _ORDER, "after_token": token}
            body = self.api.read("GET", _LIST, "list instances", params=params, throttle=self._pace.list)
            found, following = body.get("instances"), body.get("next_token")
            if not isinstance(found, list):
                raise self.api.lost("list instances", "no instances in the answer")
            if following is not None and (not isinstance(following, str) or following == token):
                raise self.api.lost("list instances", "a page that leads to itself")
            yield found, whole(body.get("total_instances")), bool(following)
            if not following:
                return
            token = following
        raise self.api.lost("list instances", f"more than {MOST_PAGES} pages")

    def _whole(self, records: list[Any], problem: str | None, asked_at: Any) -> Listing[Instance]:
        items, unread = self._parse(records)
        problem = problem or unread
        if problem is None:
            late = self._recent.missing(EVERYWHERE, (item.key.id for item in items))
            items += self._parse(list(late))[0]
            if self._recent.still_unproved(EVERYWHERE, (item.launch_token for item in items)):
                problem = "a launch got no answer a moment ago; Vast may show it late, so nothing counts as absent yet"
        readable = [record for record in records if _has_id(record)]
        with self._lock:
            self._labels.update({str(record["id"]): str(record.get("label") or "") for record in readable})
            self._bids |= {item.key.id for item in items if item.spot}
        wanted = tuple(item for item in items if self._is_watched(item))
        return Listing(self.account, EVERYWHERE, wanted, problem is None, asked_at, self._clock.now(), problem)

    def _parse(self, records: list[Any]) -> tuple[list[Instance], str | None]:
        files = self._keys.identity_files()
        announced = self._increases.by_instance() if records else {}
        items = [
            parse_instance(
                record,
                self.account,
                files,
                stopped_by_us=str(record["id"]) in self._stopped,
                announced=announced.get(str(record["id"])),
            )
            for record in records
            if _has_id(record)
        ]
        lost = len(records) - len(items)
        return items, f"{lost} of {len(records)} instances could not be read" if lost else None

    def _is_watched(self, instance: Instance) -> bool:
        """What the settings name, and whatever is ours or has no country."""
        return not self._regions or instance.managed or instance.place in (None, *self._regions)

    # -- changing -------------------------------------------------------------------------------------------------

    def _manage(self, key: InstanceKey, doing: str, body: Mapping[str, str]) -> None:
        self._put(key, key.id, f"{doing} {key.id}", body)

    def _put(self, key: InstanceKey, place: str, words: str, body: Mapping[str, str]) -> None:
        if not key.id.isdecimal():
            raise ProviderError(f"Could not {words}: Vast's ids are numbers.")
        try:
            self.api.write("PUT", f"/api/v0/instances/{place}/", words, json=body, throttle=self._pace.manage)
        except ProviderError as exc:
            if exc.code in GONE:
                raise ProviderError(f"{exc.text} It was terminated, or never was.", hint="Launch another one.") from exc
            raise

    def _must_exist(self, key: InstanceKey, doing: str) -> None:
        """Have its label; where no listing showed it yet, one is asked for."""
        if key.id not in self._labels:
            self.list_instances(EVERYWHERE)
        if key.id not in self._labels:
            raise ProviderError(f"Could not {doing} {key.id}: Vast knows no such instance.")

    def _mark(self, key: InstanceKey, marks: Mapping[str, str]) -> None:
        """A mark on an interruptible instance of ours; it can do without, so a failure is only logged."""
        if key.id not in self._bids:
            return
        name, present = label.read(self._labels.get(key.id))
        if not (present.get(MANAGED) or present.get(LAUNCH_TOKEN)):
            return
        text = label.write(name, {**present, **marks})
        if text != self._labels.get(key.id) and len(text) <= label.LIMIT:
            try:
                self._write_label(key, text)
            except GpudashError as exc:
                log.info("%s", exc.text)

    def _write_label(self, key: InstanceKey, text: str) -> None:
        self._manage(key, "label", {"label": text})
        with self._lock:
            self._labels[key.id] = text


def _has_id(record: Any) -> bool:
    return isinstance(record, dict) and whole(record.get("id")) is not None
