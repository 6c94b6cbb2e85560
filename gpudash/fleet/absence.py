"""When is an instance that a listing does not name really gone? One rule, used by the rows and by the ends alike.

An incomplete listing proves nothing. A complete one proves nothing alone: absence counts when it lasted over two
complete listings at least one cycle apart. A sudden *empty* answer is the commonest lie of an ailing cloud, so it must
last longer: six cycles where the cloud would show an ended instance for a while and an end was asked for, or where
statusd was to end each by then and the cloud, asked for each by its id, says that it is gone; and thirty cycles, at
least five minutes, where nothing explains it. That a guard was to end them is no proof: it may have failed. Until then
rows stay, count as billing, and show their age. The first absence is kept in the ledger: a command sees one listing only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from gpudash.errors import GpudashError
from gpudash.fleet.record import Record
from gpudash.model.guard import powerless
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing

log = logging.getLogger(__name__)

ONE_CYCLE = 1
EMPTY_CYCLES = 6
"""An empty answer of a cloud that lists ended instances, after an end was asked for; or where each was looked for."""
SUDDEN_CYCLES = 30
"""An empty answer that nothing explains."""
SUDDEN_LEAST_S = 300.0
"""And never less than this many real seconds."""
LOOKED_FOR_AT_MOST = 8
"""Of more rows than that none is asked for by its id: that many calls would keep a lane busy for too long."""


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
    if all(_is_on_its_way_out(record) or record.key in listing.gone for record in known):
        return EMPTY_CYCLES
    return SUDDEN_CYCLES


def to_look_for(known: Iterable[Record], now: datetime) -> tuple[InstanceKey, ...]:
    """Rows to ask for by their ids should the next answer be empty: those that statusd was to end by now.

    None where they would not explain it, because another row had time left, or where they are too many.
    """
    overdue: list[InstanceKey] = []
    for record in known:
        if _is_on_its_way_out(record):
            continue
        if len(overdue) == LOOKED_FOR_AT_MOST or not _is_past_its_end(record, now):
            return ()
        overdue.append(record.key)
    return tuple(overdue)


def with_gone(
    listing: Listing[Instance], asked: Iterable[InstanceKey], is_gone: Callable[[InstanceKey], bool]
) -> Listing[Instance]:
    """The listing, and what the cloud said of each of `asked` where the listing is whole and empty. Blocking.

    The first that is there, or about which no answer comes, ends it: then the list is wrong or nothing is known.
    """
    if listing.items or not listing.complete:
        return listing
    gone = set[InstanceKey]()
    for key in asked:
        try:
            if not is_gone(key):
                return listing
        except GpudashError as exc:
            log.info("%s could not be looked for: %s", key, exc)
            return listing
        gone.add(key)
    return replace(listing, gone=frozenset(gone))


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
