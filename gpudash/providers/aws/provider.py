"""The adapter of one AWS account: the provider contract on one side, the subjects of this folder on the other."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from gpudash import paths
from gpudash.clock import Clock
from gpudash.errors import AuthRefused, GpudashError
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.providers.aws import CAPABILITIES, cleanup, leftovers, network
from gpudash.providers.aws.clients import Clients
from gpudash.providers.aws.errors import translated
from gpudash.providers.aws.launch import launch
from gpudash.providers.aws.offers import region_offers
from gpudash.providers.aws.parse import parse_instance
from gpudash.providers.aws.regions import Regions
from gpudash.providers.aws.surroundings import Surroundings
from gpudash.providers.aws.verbs import Verbs
from gpudash.providers.base import CleanUp, Leftover
from gpudash.providers.parallel import side_by_side
from gpudash.providers.recent import Recent

if TYPE_CHECKING:
    from gpudash.config import Account

T = TypeVar("T")
PAGE_SIZE = 100
"""Reading a page of XML holds the interpreter: a hundred instances are some milliseconds, of which a key takes no notice."""
VISIBLE_AFTER_S = 60.0
"""EC2 shows a new instance everywhere within that time."""
FORGET_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """One instance as it was parsed last, and from what."""

    record: Mapping[str, Any]
    generation: int
    instance: Instance


class AwsProvider:
    """One account at AWS. One Session, a client a region, all of it made when a lane first asks."""

    provider = "aws"
    capabilities = CAPABILITIES

    def __init__(
        self,
        account: Account,
        clock: Clock,
        *,
        address_source: Callable[[], str] = network.my_address,
        visible_after_s: float = VISIBLE_AFTER_S,
        session_factory: Callable[[str | None], Any] | None = None,
        patience: float = 1.0,
    ) -> None:
        self.account: str = account.name
        self.clock = clock
        self.clients = Clients(account, session_factory, patience)
        where = account.base_url or os.environ.get("AWS_ENDPOINT_URL") or ""
        folder = f"{account.name}-{hashlib.sha256(where.encode()).hexdigest()[:8]}" if where else account.name
        self._around = Surroundings(self.clients, clock, paths.state_dir() / "aws" / folder)
        self._regions = Regions(self.clients, clock, tuple(account.regions or ()), paths.state_dir() / "aws" / folder)
        self._recent = Recent(clock, visible_after_s)
        self._verbs = Verbs(self.clients, self._recent)
        self._address_source = address_source
        self._parsed: dict[str, dict[str, _Parsed]] = {}
        self._forgot_at: datetime | None = None
        self._forget_lock = threading.Lock()

    def regions(self) -> tuple[str, ...]:
        """Regions from settings, else those the account has enabled: one question a day, remembered on disk."""
        return self._guarded(self._regions.known)

    def list_instances(self, region: str) -> Listing[Instance]:
        """Every instance of a region: one describe stream, and bulk questions only for what was never seen before."""
        return self.list_in_pages(region, lambda page: None)

    def list_in_pages(self, region: str, on_page: Callable[[Listing[Instance]], None]) -> Listing[Instance]:
        """The same, and `on_page` gets each page as it comes, as an incomplete listing of that page alone.

        Raises:
            GpudashError: the first page did not come. Where a later one fails, the listing is incomplete.
        """
        asked_at = self.clock.now()
        collected: list[Instance] = []
        problem: str | None = None
        pages = self._pages(region)
        while True:
            try:
                records = self._guarded(lambda: next(pages, None))
            except GpudashError as exc:
                if not collected:
                    raise
                problem = str(exc)
                break
            if records is None:
                break
            page = self._parse(region, records)
            if collected or len(records) >= PAGE_SIZE:
                on_page(Listing(self.account, region, tuple(page), False, asked_at, self.clock.now()))
            collected += page
        return self._whole(region, collected, asked_at, problem)

    def list_offers(self, wanted: OfferFilter) -> Listing[Offer]:
        """Types with a GPU in each region, side by side. With a type named, that one, GPU or not."""
        asked_at = self.clock.now()
        if wanted.account not in (None, self.account):
            return Listing(self.account, "", (), True, asked_at, asked_at)
        regions = wanted.places or self.regions()
        answers = side_by_side(
            regions,
            lambda region: region_offers(self.clients, self._around, self.account, region, wanted, asked_at),
        )
        lacks = [text for region in regions for text in self._around.prices.lacks(region, spot=wanted.spot)]
        return self._joined(wanted.region or "", answers, asked_at, lacks)

    def list_leftovers(self) -> Listing[Leftover]:
        """What bills without a running instance, over all regions side by side."""
        asked_at = self.clock.now()

        def ask(region: str) -> list[Leftover]:
            return leftovers.find(self.clients.read("ec2", region), self.account, region, self._around.prices)

        answers = side_by_side(self.regions(), ask)
        return self._joined("", answers, asked_at, self._regions.lacks)

    def launch(self, order: LaunchOrder) -> InstanceKey:
        """Ask for one instance; see `request` for the options. The same token again gives the same instance."""
        made = self._guarded(lambda: launch(self.clients, self._recent, order, self._address_source, self.clock.now()))
        if made.no_role is not None:
            self._verbs.no_role[made.id] = made.no_role
        return InstanceKey(self.account, order.region, made.id)

    def done_without(self, key: InstanceKey) -> str | None:
        """The role by which it ends itself through the API, where that could not be made or handed over."""
        told = self._verbs.no_role.get(key.id)
        return None if told is None else f"It can end itself by power-off alone. {told}"

    def start(self, key: InstanceKey) -> None:
        """Start a stopped or hibernated instance. No capacity is `NoCapacity`; it stays stopped."""
        self._guarded(lambda: self._verbs.start(key))

    def stop(self, key: InstanceKey) -> None:
        """Stop; the disks stay and bill. A one-time spot instance cannot."""
        self._guarded(lambda: self._verbs.stop(key))

    def hibernate(self, key: InstanceKey) -> None:
        """Stop with memory kept, where the instance was launched for it."""
        self._guarded(lambda: self._verbs.stop(key, hibernate=True))

    def terminate(self, key: InstanceKey) -> None:
        """Cancel its spot request, then terminate. An unknown id is success."""
        self._guarded(lambda: self._verbs.terminate(key))

    def is_gone(self, key: InstanceKey) -> bool:
        """Whether EC2, asked for it by its id, shows it as terminated or, an hour later, knows no such id."""
        return self._guarded(lambda: self._verbs.is_gone(key))

    def rename(self, instance: Instance, name: str) -> None:
        """Write its ``Name`` tag."""
        self.set_tags(instance.key, {"Name": name})

    def set_tags(self, key: InstanceKey, tags: Mapping[str, str]) -> None:
        """Write tags (``lease-deadline`` or ``gpudash:lease-deadline``); spawn's are brought into line."""
        parsed = self._parsed.get(key.region, {}).get(key.id)
        price = parsed.instance.price if parsed else None
        self._guarded(lambda: self._verbs.set_tags(key, tags, price))

    def end_spec(self, key: InstanceKey) -> Mapping[str, object]:
        """Power-off for what a power-off means on that instance, the scoped API call for the rest."""
        return self._guarded(lambda: self._verbs.end_spec(key))

    def clean_up(self, region: str) -> CleanUp:
        """Take away what ended instances left in a region, as far as it is ours; call again while something failed."""
        reader, writer = self.clients.read("ec2", region), self.clients.write("ec2", region)
        return self._guarded(lambda: cleanup.clean_up(reader, writer, region, self._recent.is_fresh, self.clock.now()))

    def close(self) -> None:
        """Let go of connections."""
        self.clients.forget_session()

    def _pages(self, region: str) -> Iterator[list[Mapping[str, Any]]]:
        with translated(f"list instances of {region}"):
            pages = self.clients.read("ec2", region).get_paginator("describe_instances")
            for page in pages.paginate(PaginationConfig={"PageSize": PAGE_SIZE}):
                yield [record for reservation in page["Reservations"] for record in reservation["Instances"]]

    def _parse(self, region: str, records: list[Mapping[str, Any]]) -> list[Instance]:
        """Parse what changed; an unchanged record gives the very same object, so that nobody compares it twice."""
        earlier = self._parsed.setdefault(region, {})
        self._around.learn(region, records)
        generation, known = self._around.generation, self._around.known(region)
        found: list[Instance] = []
        for record in records:
            before = earlier.get(record["InstanceId"])
            if before is not None and before.generation == generation and before.record == record:
                found.append(before.instance)
                continue
            instance = parse_instance(record, self.account, region, known)
            if before is not None and before.instance == instance and before.instance.raw == instance.raw:
                instance = before.instance
            earlier[record["InstanceId"]] = _Parsed(record, generation, instance)
            found.append(instance)
        return found

    def _whole(
        self, region: str, collected: list[Instance], asked_at: datetime, problem: str | None
    ) -> Listing[Instance]:
        if problem is None:
            late = self._recent.missing(region, (instance.key.id for instance in collected))
            collected = [*collected, *self._parse(region, late)]
            if self._recent.still_unproved(region, (instance.launch_token for instance in collected)):
                problem = "a launch got no answer a moment ago; EC2 may show it late, so nothing counts as absent yet"
        if problem is None:
            listed = {instance.key.id for instance in collected}
            for gone in [i for i in self._parsed.get(region, {}) if i not in listed]:
                del self._parsed[region][gone]
        lacks = self._regions.lacks + (self._around.lacks(region) if collected else ())
        fetched_at = self.clock.now()
        return Listing(self.account, region, tuple(collected), problem is None, asked_at, fetched_at, problem, lacks)

    def _joined(
        self, region: str, answers: Mapping[str, list[Any] | GpudashError], asked_at: datetime, lacks: Iterable[str]
    ) -> Listing[Any]:
        errors = {name: answer for name, answer in answers.items() if isinstance(answer, GpudashError)}
        for error in errors.values():
            self._note_refusal(error)
        if errors and len(errors) == len(answers):
            raise next(iter(errors.values()))
        items = [item for answer in answers.values() if not isinstance(answer, GpudashError) for item in answer]
        problem = " ".join(f"{name}: {error}" for name, error in errors.items()) or None
        told, now = tuple(dict.fromkeys(lacks)), self.clock.now()
        return Listing(self.account, region, tuple(items), not errors, asked_at, now, problem, told)

    def _guarded(self, call: Callable[[], T]) -> T:
        """Run a call; where credentials are refused, forget the Session so that a new log-in is seen."""
        try:
            with translated("make a client"):
                return call()
        except AuthRefused as exc:
            self._refused(exc)

    def _refused(self, exc: AuthRefused) -> NoReturn:
        self._note_refusal(exc)
        raise exc

    def _note_refusal(self, error: GpudashError) -> None:
        if not isinstance(error, AuthRefused):
            return
        with self._forget_lock:
            now = self.clock.now()
            if self._forgot_at is None or now - self._forgot_at > FORGET_AFTER:
                self._forgot_at = now
                self.clients.forget_session()
