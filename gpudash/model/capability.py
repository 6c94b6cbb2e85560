"""What a cloud can do, as data: read by dialogs, keys, README and tests, without importing any SDK."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gpudash.model.instance import EVERYWHERE
from gpudash.model.offer import OfferFact


class Verb(StrEnum):
    """Everything that changes the world. One of these stands in every intent."""

    LAUNCH = "launch"
    START = "start"
    STOP = "stop"
    HIBERNATE = "hibernate"
    TERMINATE = "terminate"
    EXTEND = "extend"
    KEEPALIVE = "keepalive"
    PUSH = "push"
    ADOPT = "adopt"
    SCALE = "scale"
    """Worker bounds or idle timeout of a serverless endpoint."""
    PURGE = "purge"
    """Take back all jobs that wait in an endpoint's queue."""
    SUBMIT = "submit"
    """Queue one job."""
    CANCEL = "cancel"
    """Take one job back."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One cloud's abilities. `why_not` answers a key that cannot act."""

    provider: str
    can_stop: bool
    can_hibernate: bool
    has_spot: bool
    has_tags: bool
    """Lease and idle limits can be written to the instance itself at the cloud."""
    has_idempotent_launch: bool
    """The cloud itself refuses a second launch with the same token."""
    lists_terminated: bool
    """An ended instance stays in listings for a while; else absence is the only proof."""
    bills_stopped: bool
    """A stopped instance's disk costs money."""
    cadence_s: float
    """Seconds between two listings that the cloud tolerates and a person expects."""
    tells_host_key: bool
    """The host key's fingerprint comes from the cloud, so that first contact can be checked."""
    why_not: dict[Verb, str]
    """For each verb that is missing: why, and what to do instead."""
    has_endpoints: bool = False
    """There are serverless endpoints: the adapter is `HasEndpoints`."""
    lists_everywhere: bool = False
    """One answer covers all regions: there is one lane, `EVERYWHERE`, whatever regions offers and orders name."""
    offer_facts: frozenset[OfferFact] = frozenset()
    """What its offers tell beyond the usual; a filter on another fact leaves all of them out, and says so."""

    def lane_of(self, region: str) -> str:
        """The region of the lane in which an instance launched there is listed."""
        return EVERYWHERE if self.lists_everywhere else region

    def reason_against(self, verb: Verb) -> str | None:
        """Why this cloud cannot do that, or None where it can."""
        return self.why_not.get(verb)
