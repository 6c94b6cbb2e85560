"""Vast.ai. `create` makes the adapter of one account; nothing here opens a connection before it is asked.

| file | subject |
|---|---|
| api | the origin, the pace each endpoint allows, and what Vast's answers mean |
| label | name, token and limits in the one label that an instance has |
| states | three words of Vast become one of ours: outbid, scheduling, frozen, offline |
| prices | compute, disk and traffic, from the instance's own record |
| parse | pure: one record becomes an `Instance` |
| offers | what is searched for, what comes back, and how it is ranked |
| increases | higher prices that hosts have asked for |
| keys | the person's SSH key at the account |
| options, request, launch | from an order to one contract |
| provider | the provider contract |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpudash.model.capability import Capabilities, Verb
from gpudash.model.offer import OfferFact
from gpudash.providers.vast.options import LAUNCH_OPTIONS

if TYPE_CHECKING:
    from gpudash.clock import Clock
    from gpudash.config import Account
    from gpudash.providers.vast.provider import VastProvider

CAPABILITIES = Capabilities(
    provider="vast",
    can_stop=True,
    can_restart=True,
    takes_bids=True,
    has_increases=True,
    can_rename=True,
    can_hibernate=False,
    has_spot=True,
    has_tags=True,
    has_idempotent_launch=False,
    lists_terminated=False,
    bills_stopped=True,
    cadence_s=15.0,
    tells_host_key=False,
    why_not={
        Verb.HIBERNATE: "Vast cannot hibernate: what it calls frozen goes on billing the GPU. Stop it (its disk bills on), "
        "or terminate it.",
    },
    lists_everywhere=True,
    offer_facts=frozenset(OfferFact),
    launch_options=LAUNCH_OPTIONS,
)
"""Its tags are one label of at most 1,024 characters, which holds the name, our token and the limits."""


def create(account: Account, clock: Clock) -> VastProvider:
    """The adapter of one account. The key is looked for when the first question is asked."""
    from gpudash.providers.vast.provider import VastProvider

    return VastProvider(account, clock)
