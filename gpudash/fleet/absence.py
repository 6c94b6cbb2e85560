"""When is an instance that a listing does not name really gone? One rule, used by the rows and by the ends alike.

An incomplete listing proves nothing. A complete one proves nothing alone: absence counts when it lasted over two
complete listings at least one cycle apart. A sudden *empty* answer is the commonest lie of an ailing cloud, so it must
last longer: six cycles where the cloud would show an ended instance for a while and an end was asked for, or where
statusd was to end them all by then, and thirty cycles, at least five minutes, where nothing explains it. Until then
rows stay, with their age. The first absence is kept in the ledger: a command sees one listing only.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from gpudash.fleet.record import Record
from gpudash.model.guard import powerless
from gpudash.model.instance import Instance, InstanceState
from gpudash.model.listing import Listing

ONE_CYCLE = 1
EMPTY_CYCLES = 6
"""An empty answer of a cloud that lists ended instances, after an end was asked for; or after leases were over."""
SUDDEN_CYCLES = 30
"""An empty answer that nothing explains."""
SUDDEN_LEAST_S = 300.0
"""And never less than this many real seconds."""


def cycles_needed(listing: Listing[Instance], known: Collection[Record], *, lists_terminated: bool) -> int:
    """How many cycles an absence from answers like this one must last before it proves anything.

    Args:
        listing: a complete one.
        known: the rows of the same account and region as they were before it.
        lists_terminated: an ended instance stays in this cloud's listings for a while.
    """
    if listing.items or not known:
        return ONE_CYCLE
    if all(_is_on_its_way_out(record) for record in known):
        return EMPTY_CYCLES if lists_terminated else ONE_CYCLE
    if all(_is_on_its_way_out(record) or _is_past_its_end(record, listing.asked_at) for record in known):
        return EMPTY_CYCLES
    return SUDDEN_CYCLES


def seconds_needed(cycles: int, cadence_s: float) -> float:
    """So many cycles in real seconds."""
    return max(cycles * cadence_s, SUDDEN_LEAST_S if cycles >= SUDDEN_CYCLES else 0.0)


def is_sudden(listing: Listing[Instance], known: Collection[Record]) -> bool:
    """An empty answer where instances were that nobody asked to end."""
    return listing.complete and cycles_needed(listing, known, lists_terminated=False) == SUDDEN_CYCLES


def is_proved(since: datetime | None, asked_at: datetime, needed: timedelta) -> bool:
    """Whether an absence first seen in a listing asked `since` is proved by another asked at `asked_at`."""
    return since is not None and asked_at > since and asked_at - since >= needed


def _is_on_its_way_out(record: Record) -> bool:
    return record.is_ending or record.instance.state is InstanceState.TERMINATING


def _is_past_its_end(record: Record, now: datetime) -> bool:
    """Its own statusd, which could and would end it when it was last heard, was to do so by now."""
    end = record.ends()
    return record.status is not None and powerless(record.status) is None and end is not None and end[0] <= now
