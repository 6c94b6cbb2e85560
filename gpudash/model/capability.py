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
    RESTART = "restart"
    BID = "bid"
    RENAME = "rename"
    INCREASE = "increase"
    """Accept or reject the higher price that a host asks for."""
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
class LaunchOption:
    """Something that a launch at one cloud can be told, by that cloud's own name (`LaunchOrder.options`)."""

    name: str
    """With a dot at its end where any name may follow: ``tag.``."""
    text: str
    """What it means, and what holds without it."""
    choices: tuple[str, ...] = ()
    """Values worth offering."""
    is_open: bool = False
    """Other values than `choices` are fine."""
    local_prefix: str | None = None
    """Values that begin so mean something in one region only, so that no other can stand in; "" for every value."""

    def names(self, option: str) -> bool:
        """Whether it is the one that `option` sets."""
        return option == self.name or (self.name.endswith(".") and option.startswith(self.name) and option != self.name)

    def is_local(self, value: str) -> bool:
        """Whether that value means something in one region only."""
        return self.local_prefix is not None and value.startswith(self.local_prefix)

    def reason_against(self, value: str) -> str | None:
        """Why it cannot have that value, or None."""
        if self.choices and not self.is_open and value not in self.choices:
            return f"{self.name}: {value!r} is not known. Use {' or '.join(self.choices)}."
        return None


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
    has_balance: bool = False
    """It is paid in advance: the adapter is `HasBalance`."""
    has_endpoints: bool = False
    """There are serverless endpoints: the adapter is `HasEndpoints`."""
    lists_everywhere: bool = False
    """One answer covers all regions: there is one lane, `EVERYWHERE`, whatever regions offers and orders name."""
    offer_facts: frozenset[OfferFact] = frozenset()
    """What its offers tell beyond the usual; a filter on another fact leaves all of them out, and says so."""

    launch_options: tuple[LaunchOption, ...] = ()
    """What a launch can be told beside type, region and limits."""
    can_restart: bool = False
    """A running instance can be restarted in place."""
    takes_bids: bool = False
    """The price offered for a spot instance can be changed while it lives."""
    can_rename: bool = False
    """A living instance can be given another name."""
    has_increases: bool = False
    """Hosts may ask for a higher price, which a person accepts or rejects."""

    def lane_of(self, region: str) -> str:
        """The region of the lane in which an instance launched there is listed."""
        return EVERYWHERE if self.lists_everywhere else region

    def reason_against(self, verb: Verb) -> str | None:
        """Why this cloud cannot do that, or None where it can."""
        if verb is Verb.RESTART and not self.can_restart:
            other = "stop and start it" if self.can_stop else "reboot it from inside"
            return f"There is no restart at {self.provider}; {other}."
        if verb is Verb.BID and not self.takes_bids:
            return f"{self.provider} takes no bids."
        if verb is Verb.RENAME and not self.can_rename:
            return f"{self.provider} renames nothing."
        if verb is Verb.INCREASE and not self.has_increases:
            return f"{self.provider} raises no price of an instance that lives."
        return self.why_not.get(verb)

    def launch_option(self, name: str) -> LaunchOption | None:
        """The option that `name` sets; None where this cloud has none of that name."""
        return next((option for option in self.launch_options if option.names(name)), None)
