"""The contract every cloud adapter keeps, and the only thing `fleet` knows about clouds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, runtime_checkable

from gpudash.model.balance import Balance
from gpudash.model.capability import Capabilities
from gpudash.model.endpoint import Bounds, Endpoint, Job
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.money import Price
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that bills without a running instance."""

    account: str
    provider: str
    region: str
    id: str
    kind: str
    """``disk``, ``volume``, ``address``, ``filesystem``, ``warm worker`` …"""
    name: str
    size_gb: int | None
    price: Price | None
    instance_id: str | None = None
    """The instance it belongs to, where there is one."""


class Endpoints(Protocol):
    """The serverless side of an account, where `capabilities.has_endpoints`. Blocking; errors as for `Provider`.

    Keys have the region `SERVERLESS`.
    """

    def listing(self) -> Listing[Endpoint]:
        """All endpoints, with counts of workers and jobs."""
        ...

    def one(self, key: InstanceKey) -> Endpoint:
        """One endpoint with each of its workers."""
        ...

    def set_bounds(self, key: InstanceKey, bounds: Bounds) -> None:
        """Change worker bounds or idle timeout. The same again changes nothing."""
        ...

    def purge(self, key: InstanceKey) -> int:
        """Take back all jobs that wait; how many."""
        ...

    def submit(self, key: InstanceKey, given: object) -> Job:
        """Queue one job, once: a lost answer is `Ambiguous`."""
        ...

    def job(self, key: InstanceKey, job_id: str) -> Job:
        """One job now."""
        ...

    def cancel(self, key: InstanceKey, job_id: str) -> Job:
        """Take a job back; one that is over stays as it is."""
        ...


@runtime_checkable
class HasBalance(Protocol):
    """An adapter of a cloud that is paid in advance."""

    def balance(self) -> Balance:
        """What is left in the account, and what it lasts for."""
        ...


@runtime_checkable
class HasEndpoints(Protocol):
    """An adapter with a serverless side."""

    endpoints: Endpoints


class Provider(Protocol):
    """One account at one cloud. Blocking; each call has its own time-out; nothing sleeps or waits for a state.

    Called from lanes only (one thread at a time for reads of one region, one for writes of the account). Errors are
    those of `gpudash.errors`: a write that may have happened raises `Ambiguous`, a definite no is a `ProviderError`,
    a read that failed is `Unreachable`, `AuthRefused` or `RateLimited`.
    """

    account: str
    provider: str
    capabilities: Capabilities

    def regions(self) -> tuple[str, ...]:
        """Regions that are polled, one lane each. Known from settings or cheaply; asks no region twice.

        A cloud with one list for all regions (`capabilities.lists_everywhere`) answers ``(EVERYWHERE,)``; its keys and
        listings have that region, its instances say in `place` where they stand, its offers and orders name regions.
        """
        ...

    def list_instances(self, region: str) -> Listing[Instance]:
        """All instances of one region in as few calls as the cloud allows; never one call an instance."""
        ...

    def list_offers(self, wanted: OfferFilter) -> Listing[Offer]:
        """What can be launched, filtered where the cloud can and again by `wanted.accepts`."""
        ...

    def list_leftovers(self) -> Listing[Leftover]:
        """What bills without a running instance."""
        ...

    def launch(self, order: LaunchOrder) -> InstanceKey:
        """Ask for one instance and return at once. Never retried inside: a lost answer is `Ambiguous`."""
        ...

    def start(self, key: InstanceKey) -> None:
        """Ask a stopped or hibernated instance to come back. Already running is success."""
        ...

    def stop(self, key: InstanceKey) -> None:
        """Ask for a stop. Already stopped is success."""
        ...

    def hibernate(self, key: InstanceKey) -> None:
        """Ask for a stop with memory kept."""
        ...

    def terminate(self, key: InstanceKey) -> None:
        """Ask for the end. An unknown id is success: it is gone. Billing stops when a listing proves it."""
        ...

    def set_tags(self, key: InstanceKey, tags: Mapping[str, str]) -> None:
        """Write tags or labels, where `capabilities.has_tags`; else raises `Unsupported`."""
        ...

    def end_spec(self, key: InstanceKey) -> Mapping[str, object]:
        """The ``end`` part of statusd's ``config.json``: how a host of this cloud ends itself."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True)
class CleanUp:
    """What one round of taking away did."""

    deleted: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    """Id and reason of what stands in the way; tried again at the next round."""
    waiting: tuple[str, ...] = ()
    """What has to stay for now because something uses it, which is nobody's fault; looked at again."""


@runtime_checkable
class CleansUp(Protocol):
    """A cloud at which an ended instance leaves things of ours behind: addresses, interfaces, groups, networks."""

    def clean_up(self, region: str) -> CleanUp:
        """Take away what ended instances left in a region, as far as we made it. Gone already is success."""
        ...


@runtime_checkable
class Restarts(Protocol):
    """A cloud that restarts a running instance in place (`capabilities.can_restart`)."""

    def restart(self, key: InstanceKey) -> None:
        """Ask for it and return. Asked twice it is two restarts, so never repeated inside."""
        ...


@runtime_checkable
class TakesBids(Protocol):
    """A cloud where the price offered for a spot instance can be changed (`capabilities.takes_bids`)."""

    def set_bid(self, key: InstanceKey, usd_per_hour: Decimal) -> None:
        """Offer that much for the whole machine from now on. The same again changes nothing."""
        ...


@runtime_checkable
class Renames(Protocol):
    """A cloud where a living instance can be given another name (`capabilities.can_rename`)."""

    def rename(self, instance: Instance, name: str) -> None:
        """Call it that. Token and marks that stand in the name or label stay. The same again changes nothing.

        Raises:
            Refused: the cloud takes no name that long.
        """
        ...


@dataclass(frozen=True, slots=True)
class PriceIncrease:
    """A higher price that a host asks for."""

    text: str
    """Old and new price and from when, in words."""
    growth: Decimal | None
    """The new compute price as a multiple of the present one; None where that is not told."""


@runtime_checkable
class AnswersIncreases(Protocol):
    """A cloud whose hosts may ask for a higher price (`capabilities.has_increases`)."""

    def asked_increase(self, key: InstanceKey) -> PriceIncrease | None:
        """What is asked for now, looked up afresh; None for nothing."""
        ...

    def answer_increase(self, key: InstanceKey, *, accept: bool) -> None:
        """Answer what `asked_increase` told last; what was asked for anew since is refused."""
        ...


@runtime_checkable
class DoesWithout(Protocol):
    """A cloud that launches and guards an instance also where it may not be given everything it should have."""

    def done_without(self, key: InstanceKey) -> str | None:
        """What it lacks and why, with the way out, as far as this process was told; None for nothing."""
        ...


@runtime_checkable
class ListsInPages(Protocol):
    """A cloud whose list comes in pages that are worth showing before the last one is there."""

    def list_in_pages(self, region: str, on_page: Callable[[Listing[Instance]], None]) -> Listing[Instance]:
        """As `list_instances`; `on_page` gets each page as it comes, as an incomplete listing of that page alone."""
        ...


@runtime_checkable
class LooksForOne(Protocol):
    """A cloud that can be asked for one instance by its id."""

    def is_gone(self, key: InstanceKey) -> bool:
        """Whether the cloud says that there is no such instance, or that it ended. Errors as for a list: no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """Whether an account may make one call."""

    action: str
    """As a policy of that cloud names it: ``ec2:RunInstances``."""
    allowed: bool | None
    """None where nothing could tell."""
    how: str
    """``dry run``, ``asked``, ``simulated`` or ``not checked``."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """What an account may do at its cloud, found out without changing anything."""

    account: str
    region: str
    identity: str | None
    """Who is asking, as the cloud names it; None where the credentials do not work."""
    problem: str | None
    """Why they do not."""
    checks: tuple[Check, ...]
    quotas: Mapping[str, float | None]
    """By description; None where it cannot be read."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Actions that are denied."""
        return tuple(check.action for check in self.checks if check.allowed is False)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Actions of which nothing could tell."""
        return tuple(check.action for check in self.checks if check.allowed is None)
