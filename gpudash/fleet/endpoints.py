"""Serverless endpoints of all accounts as the newest good listings describe them, and what they burn.

Failure is not emptiness here either: an endpoint goes after two complete listings without it, and an account that does
not answer keeps what it had.
"""

from __future__ import annotations

from datetime import datetime

from gpudash.model.endpoint import Endpoint
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.money import Amount

CADENCE_S = 30.0
"""Real seconds between two looks at an account's endpoints."""


class EndpointBook:
    """One thread at a time: that of the store."""

    def __init__(self) -> None:
        self.by_key: dict[InstanceKey, Endpoint] = {}
        self.as_of: dict[str, datetime] = {}
        """By account, when the last good listing came."""
        self.problems: dict[str, str] = {}
        """By account, why the newest look failed or was incomplete."""
        self._missing: set[InstanceKey] = set()

    def apply(self, listing: Listing[Endpoint]) -> bool:
        """Merge one answer; whether anything but its time changed."""
        before = (dict(self.by_key), self.problems.get(listing.account))
        listed = {endpoint.key: endpoint for endpoint in listing.items}
        for key, endpoint in listed.items():
            self.by_key[key] = _kept(self.by_key.get(key), endpoint)
        self._missing -= listed.keys()
        if listing.complete:
            absent = {key for key in self.by_key if key.account == listing.account} - listed.keys()
            for key in absent & self._missing:
                del self.by_key[key]
            self._missing = (self._missing | absent) & self.by_key.keys()
            self.as_of[listing.account] = listing.fetched_at
        if listing.problem is None:
            self.problems.pop(listing.account, None)
        else:
            self.problems[listing.account] = listing.problem
        return before != (self.by_key, self.problems.get(listing.account))

    def fail(self, account: str, problem: str) -> bool:
        """A look failed; old values stay. Whether that is news."""
        was, self.problems[account] = self.problems.get(account), problem
        return was != problem

    @property
    def burn(self) -> Amount:
        """USD an hour of all of them now."""
        return sum((endpoint.burn for endpoint in self.by_key.values()), Amount())


def _kept(old: Endpoint | None, new: Endpoint) -> Endpoint:
    """The new one; an equal old one stays the same object."""
    return old if old is not None and old == new else new


def billed(listing: Listing[Endpoint]) -> Listing[Instance]:
    """The listing as the ledger's meters see it; an endpoint whose workers could not be counted shows nothing new."""
    counted = [endpoint for endpoint in listing.items if endpoint.counts is not None]
    whole = listing.complete and len(counted) == len(listing.items)
    return Listing(
        listing.account,
        listing.region,
        tuple(endpoint.as_billed() for endpoint in counted),
        whole,
        listing.asked_at,
        listing.fetched_at,
        listing.problem,
    )
