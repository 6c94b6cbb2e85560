"""Priced intervals: never rewritten, never under-reported in silence."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_builders import (
    DISK,
    HOUR,
    KEY,
    MINUTE,
    NOON,
    RUNNING,
    SECOND,
    STOPPED,
    THREE,
    TWO,
    instance,
    listing,
    operation,
)

from gpudash.clock import ManualClock
from gpudash.errors import LedgerError
from gpudash.ledger import CostBy, Ledger
from gpudash.model.capability import Verb
from gpudash.model.instance import Instance, InstanceState
from gpudash.model.money import Accrual, Amount, Interval, Price
from gpudash.model.policy import Policy

Look = Callable[..., None]
FREE = Price(Decimal(0), "included")


@pytest.fixture
def look(ledger: Ledger, clock: ManualClock) -> Look:
    """Move the clock to a moment, and observe what a listing shows then."""

    def observe(after: timedelta, *items: Instance, complete: bool = True) -> None:
        clock.advance((NOON + after - clock.now()).total_seconds())
        ledger.observe(listing(clock.now(), items, complete=complete), clock.now())

    return observe


def lines(ledger: Ledger, kind: str = "compute") -> list[tuple[str, str, float, float | None]]:
    """The intervals of the one instance: state, price (``?``, or with ``~``), minutes after noon from and to."""

    def minutes(moment: datetime | None) -> float | None:
        return None if moment is None else (moment - NOON) / MINUTE

    def price(known: Price | None) -> str:
        return "?" if known is None else f"{'~' * known.estimated}{known.usd_per_hour:.2f}"

    return [
        (part.state, price(part.price), minutes(part.start), minutes(part.end))
        for part in ledger.intervals(KEY)
        if part.kind == kind
    ]


# While we watch


def test_a_running_instance_has_one_open_interval(ledger: Ledger, look: Look) -> None:
    """From its start, however often it is seen."""
    for minute in range(5):
        look(minute * MINUTE, instance())
    assert lines(ledger) == [("running", "2.00", 0, None)]


def test_a_stop_ends_compute_where_it_is_first_seen(ledger: Ledger, look: Look) -> None:
    """The error is one poll, and never to the person's favour."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE, instance(state=STOPPED, storage_price=FREE))
    assert lines(ledger) == [("running", "2.00", 0, 1)]


def test_every_state_is_a_stretch_of_its_own(ledger: Ledger, look: Look) -> None:
    """What billed while it was on its way down can be told apart."""
    for minute, state in enumerate((RUNNING, InstanceState.STOPPING, STOPPED)):
        look(minute * MINUTE, instance(state=state))
    assert lines(ledger) == [("running", "2.00", 0, 1), ("stopping", "2.00", 1, 2)]


def test_a_spot_price_changes(ledger: Ledger, look: Look) -> None:
    """Each price from the listing that shows it."""
    for minute, price in enumerate((TWO, THREE, THREE, TWO)):
        look(minute * MINUTE, instance(price=price, spot=True))
    assert lines(ledger) == [("running", "2.00", 0, 1), ("running", "3.00", 1, 3), ("running", "2.00", 3, None)]


def test_a_price_from_another_source_is_another_interval(ledger: Ledger, look: Look) -> None:
    """The source belongs to the figure."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE, instance(price=replace(TWO, source="table")))
    assert [part.price and part.price.source for part in ledger.intervals(KEY)] == ["api", "table"]


def test_a_lost_price_is_unknown(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """Promise 4: the known part stays, and the sum says that something is missing."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE, instance(price=None))
    clock.advance(60)
    assert ledger.accruals()[KEY].at(clock.now()) == Amount(TWO.usd_per_hour / 60, unknown=True)


def test_a_restart_bills_again_from_its_own_start(ledger: Ledger, look: Look) -> None:
    """The cloud says when."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE, instance(state=STOPPED))
    look(2 * MINUTE, instance(started_at=NOON + 90 * SECOND))
    assert lines(ledger) == [("running", "2.00", 0, 1), ("running", "2.00", 1.5, None)]


def test_a_restart_without_a_time_bills_from_the_last_sight(ledger: Ledger, look: Look) -> None:
    """It cannot have begun earlier."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE, instance(state=STOPPED))
    look(2 * MINUTE, instance(state=STOPPED))
    look(3 * MINUTE, instance(started_at=None))
    assert lines(ledger)[-1] == ("running", "2.00", 2, None)


def test_a_start_told_with_a_wrong_clock_overlaps_nothing(ledger: Ledger, look: Look) -> None:
    """A start before the stop, or after now, is moved between them."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE, instance(state=STOPPED))
    look(2 * MINUTE, instance(started_at=NOON - HOUR))
    assert lines(ledger)[-1] == ("running", "2.00", 1, None)


# Storage


def test_storage_runs_on_while_compute_stops(ledger: Ledger, look: Look) -> None:
    """The disk is there in both states; the state of each stretch is kept."""
    look(0 * MINUTE, instance(storage_price=DISK))
    look(1 * MINUTE, instance(storage_price=DISK, state=STOPPED))
    look(2 * MINUTE, instance(storage_price=DISK, state=STOPPED))
    assert lines(ledger, "storage") == [("running", "0.10", 0, 1), ("stopped", "0.10", 1, None)]


def test_a_stopped_disk_without_a_price_is_unknown(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """What is kept may bill, and nobody said that it does not."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE, instance(state=STOPPED))
    clock.advance(60)
    assert ledger.accruals()[KEY].at(clock.now()).unknown


def test_an_included_disk_costs_nothing(ledger: Ledger, look: Look) -> None:
    """A price of zero is a price."""
    look(0 * MINUTE, instance(storage_price=FREE, disk_gb=500))
    look(1 * MINUTE, instance(storage_price=FREE, disk_gb=500, state=STOPPED))
    assert lines(ledger, "storage") == []


def test_a_disk_without_a_price_is_unknown_while_running_too(ledger: Ledger, look: Look) -> None:
    """The instance says that it has one."""
    look(0 * MINUTE, instance(disk_gb=500))
    assert lines(ledger, "storage") == [("running", "?", 0, None)]


def test_a_disk_bills_from_creation(ledger: Ledger, look: Look) -> None:
    """Not from the last start."""
    look(3 * HOUR, instance(storage_price=DISK, started_at=NOON + 3 * HOUR))
    assert lines(ledger, "storage") == [("running", "0.10", 0, None)]


def test_a_terminated_disk_is_gone(ledger: Ledger, look: Look) -> None:
    """What stays after it is a leftover, and no part of the instance."""
    look(0 * MINUTE, instance(storage_price=DISK))
    look(1 * MINUTE, instance(storage_price=DISK, state=InstanceState.TERMINATED))
    assert lines(ledger, "storage") == [("running", "0.10", 0, 1)]


# Absence


def test_an_incomplete_listing_closes_nothing(ledger: Ledger, look: Look) -> None:
    """Promise 3: absence from it means nothing, however often."""
    look(0 * MINUTE, instance())
    for minute in range(1, 9):
        look(minute * MINUTE, complete=False)
    assert lines(ledger) == [("running", "2.00", 0, None)]


def test_one_empty_answer_closes_nothing(ledger: Ledger, look: Look) -> None:
    """A sudden emptiness is no proof."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE)
    look(2 * MINUTE, instance())
    assert lines(ledger) == [("running", "2.00", 0, None)]


def test_absence_from_two_complete_listings_is_an_end(ledger: Ledger, look: Look) -> None:
    """At the first of them: it had ended by then."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE)
    look(2 * MINUTE)
    look(3 * MINUTE)
    assert lines(ledger) == [("running", "2.00", 0, 1)]


def test_incomplete_listings_are_no_second_proof(ledger: Ledger, look: Look) -> None:
    """Only complete ones count, and one sight between them begins again."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE)
    look(2 * MINUTE, complete=False)
    look(3 * MINUTE, instance(), complete=False)
    look(4 * MINUTE)
    assert lines(ledger) == [("running", "2.00", 0, None)]


def test_two_questions_at_once_are_one_proof(ledger: Ledger) -> None:
    """The second must have been asked after the first was answered."""
    ledger.observe(listing(NOON, [instance()]), NOON)
    for seconds in (60, 61):
        answered = NOON + seconds * SECOND
        ledger.observe(replace(listing(answered), asked_at=NOON + 59 * SECOND), answered)
    assert lines(ledger) == [("running", "2.00", 0, None)]


def test_a_cloud_that_forgot_and_remembers(ledger: Ledger, look: Look) -> None:
    """An instance back from the dead with its old start ran all the time."""
    look(0 * MINUTE, instance())
    for minute in (1, 2, 3):
        look(minute * MINUTE)
    look(4 * MINUTE, instance())
    assert lines(ledger) == [("running", "2.00", 0, 1), ("running", "2.00", 1, None)]


def test_other_regions_are_left_alone(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """A listing speaks for its own region."""
    look(0 * MINUTE, instance())
    for minute in (1, 2, 3):
        at = NOON + minute * MINUTE
        ledger.observe(listing(at, region="west"), at)
    assert lines(ledger) == [("running", "2.00", 0, None)]


# While nobody looked


def test_what_still_runs_has_run(ledger: Ledger, look: Look) -> None:
    """The dashboard was closed for eight hours; the interval goes on."""
    look(0 * HOUR, instance())
    look(8 * HOUR, instance())
    assert lines(ledger) == [("running", "2.00", 0, None)]


def test_what_is_found_stopped_billed_until_nobody_knows_when(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """Known until its last sight; after that the sum says it is not all."""
    look(0 * HOUR, instance())
    look(1 * MINUTE, instance())
    look(8 * HOUR, instance(state=STOPPED, storage_price=FREE))
    assert lines(ledger) == [("running", "2.00", 0, 1), ("unseen", "?", 1, 480)]
    assert ledger.accruals()[KEY].at(clock.now()) == Amount(TWO.usd_per_hour / 60, unknown=True)


def test_what_is_found_gone_likewise(ledger: Ledger, look: Look) -> None:
    """Absence from two listings, the first of them eight hours late."""
    look(0 * HOUR, instance())
    look(8 * HOUR)
    look(8 * HOUR + MINUTE)
    assert lines(ledger) == [("running", "2.00", 0, 0), ("unseen", "?", 0, 480)]


def test_a_deadline_that_passed_is_the_best_guess(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """The host ended itself at its lease: an estimate, and marked as one."""
    ledger.set_policy(KEY, Policy(NOON + 4 * HOUR, NOON + 24 * HOUR))
    look(0 * HOUR, instance())
    look(8 * HOUR, instance(state=STOPPED, storage_price=FREE))
    assert lines(ledger) == [("running", "2.00", 0, 0), ("unseen", "~2.00", 0, 240)]
    assert ledger.accruals()[KEY].at(clock.now()) == Amount(Decimal(8), estimated=True)


def test_a_deadline_that_was_over_already_is_no_guess(ledger: Ledger, look: Look) -> None:
    """It was seen alive after it, so something else ended it."""
    ledger.set_policy(KEY, Policy(NOON - HOUR))
    look(0 * HOUR, instance())
    look(8 * HOUR, instance(state=STOPPED))
    assert lines(ledger)[-1] == ("unseen", "?", 0, 480)


def test_a_restart_nobody_saw(ledger: Ledger, look: Look) -> None:
    """Its start lies in the gap, so it did not run all the time; how long, nobody knows."""
    look(0 * HOUR, instance())
    look(8 * HOUR, instance(started_at=NOON + 7 * HOUR))
    assert lines(ledger) == [("running", "2.00", 0, 0), ("unseen", "?", 0, 420), ("running", "2.00", 420, None)]


def test_a_boot_nobody_saw_is_no_restart(ledger: Ledger, look: Look) -> None:
    """It was coming up when last seen."""
    look(0 * HOUR, instance(state=InstanceState.PENDING))
    look(8 * HOUR, instance(started_at=NOON + MINUTE))
    assert lines(ledger) == [("pending", "2.00", 0, 480), ("running", "2.00", 480, None)]


def test_a_price_that_changed_unseen_is_the_higher_one(ledger: Ledger, look: Look) -> None:
    """An estimate that errs on the dear side."""
    look(0 * HOUR, instance(price=THREE))
    look(8 * HOUR, instance(price=TWO))
    assert lines(ledger) == [("running", "3.00", 0, 0), ("unseen", "~3.00", 0, 480), ("running", "2.00", 480, None)]


def test_a_start_nobody_saw_and_nobody_tells(ledger: Ledger, look: Look) -> None:
    """Stopped then, running now, without a time."""
    look(0 * HOUR, instance(state=STOPPED))
    look(8 * HOUR, instance(started_at=None))
    assert lines(ledger)[-2:] == [("unseen", "?", 0, 480), ("running", "2.00", 480, None)]


def test_a_fleet_nobody_looked_at_counts_on_as_an_estimate(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """The first frame after a night: exact until the last sight, assumed since."""
    look(1 * MINUTE, instance())
    clock.advance(59 * 60)
    amount = ledger.accruals()[KEY].at(clock.now())
    assert amount == Amount(Decimal(2), estimated=True)
    assert ledger.spent(NOON, clock.now()) == amount
    look(1 * HOUR, instance())
    assert not ledger.accruals()[KEY].at(clock.now()).estimated


# First sight


def test_first_sight_takes_over_the_past(ledger: Ledger, look: Look) -> None:
    """An on-demand price holds since the start the cloud tells."""
    look(8 * HOUR, instance())
    assert lines(ledger) == [("running", "2.00", 0, None)]


def test_a_spot_price_of_the_past_is_an_estimate(ledger: Ledger, look: Look) -> None:
    """Today's price says little of last night's."""
    look(8 * HOUR, instance(spot=True))
    assert lines(ledger) == [("unseen", "~2.00", 0, 480), ("running", "2.00", 480, None)]


def test_earlier_runs_are_unknown(ledger: Ledger, look: Look) -> None:
    """Created long before its last start: it may have run before."""
    look(8 * HOUR, instance(started_at=NOON + 7 * HOUR))
    assert lines(ledger) == [("unseen", "?", 0, 420), ("running", "2.00", 420, None)]


def test_what_comes_up_and_bills_no_gpu_yet_has_cost_nothing(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """A launch that loads its image: known from the start, so the sum of it all is no unknown one."""
    look(SECOND, instance(state=InstanceState.STARTING, compute_billed=False, started_at=None))
    look(MINUTE, instance(started_at=None))
    assert [(state, price) for state, price, *_ in lines(ledger)] == [("running", "2.00")]
    assert not ledger.accruals()[KEY].at(clock.now()).unknown


def test_what_is_first_seen_coming_up_long_after_its_birth_may_have_run(ledger: Ledger, look: Look) -> None:
    """Nobody looked for an hour."""
    look(HOUR, instance(state=InstanceState.PENDING, compute_billed=False, started_at=None))
    assert lines(ledger) == [("unseen", "?", 0, 60)]


def test_what_is_first_seen_stopped_ran_once(ledger: Ledger, look: Look) -> None:
    """For how long, nobody knows."""
    look(8 * HOUR, instance(state=STOPPED, storage_price=DISK))
    assert lines(ledger) == [("unseen", "?", 0, 480)]
    assert lines(ledger, "storage") == [("stopped", "0.10", 0, None)]


def test_without_any_time_it_counts_from_first_sight(ledger: Ledger, look: Look) -> None:
    """Nothing else is known."""
    look(5 * MINUTE, instance(created_at=None, started_at=None))
    assert lines(ledger) == [("running", "2.00", 5, None)]


def test_our_own_launch_counts_from_the_intent(ledger: Ledger, look: Look) -> None:
    """Where the cloud tells no time, its token does."""
    ledger.add_operation(operation(verb=Verb.LAUNCH, token="gd-1", key=None))
    look(1 * MINUTE, instance(created_at=None, started_at=None, launch_token="gd-1"))
    assert lines(ledger) == [("running", "2.00", 0, None)]


def test_a_time_in_the_future_is_now(ledger: Ledger, look: Look) -> None:
    """The cloud's clock is ahead of ours."""
    look(0 * HOUR, instance(started_at=NOON + HOUR, created_at=NOON + HOUR))
    assert lines(ledger) == [("running", "2.00", 0, None)]


def test_a_tombstone_costs_nothing(ledger: Ledger, look: Look) -> None:
    """Somebody's instance that ended before we ever looked."""
    look(1 * HOUR, instance(state=InstanceState.TERMINATED))
    assert lines(ledger) == []


def test_our_own_tombstone_cost_something(ledger: Ledger, look: Look) -> None:
    """It came and went between two polls."""
    ledger.add_operation(operation(verb=Verb.LAUNCH, token="gd-1", key=None))
    look(1 * MINUTE, instance(state=InstanceState.TERMINATED, launch_token="gd-1"))
    assert lines(ledger) == [("unseen", "?", 0, 1)]


# Clocks and rewriting


def test_a_late_listing_changes_nothing(ledger: Ledger, look: Look) -> None:
    """Two programs poll; the slower one's answer is older than what is known."""
    look(0 * MINUTE, instance())
    look(2 * MINUTE, instance(state=STOPPED, storage_price=FREE))
    ledger.observe(listing(NOON + MINUTE, [instance()]), NOON + 2 * MINUTE)
    assert lines(ledger) == [("running", "2.00", 0, 2)]


def test_a_clock_put_back_stops_no_meter(ledger: Ledger) -> None:
    """Listings count again at once; no interval has a negative length."""
    ledger.observe(listing(NOON + 24 * HOUR, [instance(started_at=NOON + 24 * HOUR)]), NOON + 24 * HOUR)
    ledger.observe(listing(NOON, [instance(state=STOPPED), instance("i-2")]), NOON)
    assert all(part.end is None or part.end >= part.start for part in ledger.intervals(KEY))
    assert len(ledger.intervals(instance("i-2").key)) == 1


def test_a_fast_sandbox_is_watched(path: Path) -> None:
    """At 3600× a poll every two seconds is a poll every two hours of its time."""

    class Fast(ManualClock):
        speed = 3600.0

    ledger = Ledger.open(path, Fast(NOON))
    ledger.observe(listing(NOON, [instance()]), NOON)
    ledger.observe(listing(NOON + 2 * HOUR, [instance(state=STOPPED, storage_price=FREE)]), NOON + 2 * HOUR)
    assert lines(ledger) == [("running", "2.00", 0, 120)]
    ledger.close()


@pytest.mark.parametrize(
    "change", ["end_at = '2030-01-01T00:00:00.000000Z'", "usd_per_hour = '0'", "start_at = end_at", "end_at = NULL"]
)
def test_the_file_itself_refuses_to_rewrite(ledger: Ledger, look: Look, change: str) -> None:
    """Whoever tries."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE, instance(state=STOPPED))
    with pytest.raises(LedgerError, match="never rewritten"), ledger._db.write() as connection:
        connection.execute(f"UPDATE intervals SET {change} WHERE kind = 'compute'")


def test_an_open_interval_can_only_be_closed(ledger: Ledger, look: Look, path: Path) -> None:
    """Its price and start are as fixed as those of a closed one."""
    look(0 * MINUTE, instance())
    raw = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="never rewritten"):
        raw.execute("UPDATE intervals SET usd_per_hour = '1', end_at = '2030-01-01T00:00:00.000000Z'")
    raw.close()


SIGHTS = st.lists(
    st.tuples(
        st.integers(1, 40_000),
        st.none()
        | st.builds(
            instance,
            state=st.sampled_from(InstanceState),
            price=st.sampled_from([None, TWO, THREE]),
            storage_price=st.sampled_from([None, DISK, FREE]),
            disk_gb=st.sampled_from([None, 100]),
            spot=st.booleans(),
            started_at=st.sampled_from([None, NOON, NOON + HOUR, NOON + 6 * HOUR]),
            created_at=st.sampled_from([None, NOON]),
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
FRESH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)


@FRESH
@given(sights=SIGHTS)
def test_whatever_happens(tmp_path: Path, sights: list[tuple[int, Instance | None, bool]]) -> None:
    """Over any history: closed rows stay as they are; seeing again changes nothing; each meter's intervals follow each
    other; the accrual is the sum over the intervals; what is seen running is accruing."""
    clock = ManualClock(NOON)
    path = tmp_path / "ledger.db"
    path.unlink(missing_ok=True)
    ledger = Ledger.open(path, clock)
    before: list[Interval] = []
    for seconds, seen, complete in sights:
        clock.advance(seconds)
        answer = listing(clock.now(), [seen] if seen else [], complete=complete)
        ledger.observe(answer, clock.now())
        after = ledger.intervals(KEY)
        assert [part for part in before if part.end] == [part for part in after if part in before and part.end]
        ledger.observe(answer, clock.now() + SECOND)
        assert ledger.intervals(KEY) == after
        for kind in ("compute", "storage"):
            parts = [part for part in after if part.kind == kind]
            assert all(one.end is not None and one.end <= other.start for one, other in pairwise(parts))
        if seen is not None and seen.state.bills_compute:
            assert any(part.kind == "compute" and part.end is None and part.price == seen.price for part in after)
        for later in (timedelta(0), HOUR, 100 * HOUR):
            amount = ledger.accruals().get(KEY, Accrual()).at(clock.now() + later)
            total = Accrual.of(after).at(clock.now() + later)
            assert abs(amount.usd - total.usd) < Decimal("1e-15")
            assert amount.unknown == total.unknown
        whole = ledger.spent(NOON - 999 * HOUR, clock.now())
        assert abs(whole.usd - Accrual.of(after).at(clock.now()).usd) < Decimal("1e-15")
        before = after
    ledger.close()


# Reports


@pytest.fixture
def spending(ledger: Ledger, look: Look) -> Ledger:
    """One instance at 2 $/h with a disk, and one at 3 $/h, from noon until 14:00 on the next day."""
    both = (instance(storage_price=DISK), instance("i-2", price=THREE))
    look(0 * HOUR, *both)
    look(26 * HOUR, *both)
    return ledger


def test_spent_cuts_at_both_ends(spending: Ledger) -> None:
    """Two hours in the middle of intervals that are longer."""
    assert spending.spent(NOON + HOUR, NOON + 3 * HOUR) == Amount(Decimal("10.20"))


def test_the_future_costs_nothing_yet(spending: Ledger, clock: ManualClock) -> None:
    """However far the span reaches."""
    assert spending.spent(clock.now() - HOUR, clock.now() + 99 * HOUR) == Amount(Decimal("5.10"))


def test_costs_by_day(spending: Ledger, clock: ManualClock) -> None:
    """Oldest first, in UTC; the days add up to the whole."""
    days = spending.costs(NOON, clock.now() + HOUR)
    assert [(line.label, line.compute.usd, line.storage.usd) for line in days] == [
        ("2026-03-01", Decimal(60), Decimal("1.2")),
        ("2026-03-02", Decimal(70), Decimal("1.4")),
    ]
    assert sum((line.total for line in days), Amount()) == spending.spent(NOON, clock.now())


def test_a_day_of_23_hours(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """Clocks go forward in Berlin on 29 March 2026; the day costs an hour less."""
    start = datetime(2026, 3, 28, 23, tzinfo=UTC)
    look(start - NOON, instance(created_at=start, started_at=start))
    look(start - NOON + 47 * HOUR, instance(created_at=start, started_at=start))
    days = ledger.costs(start, clock.now(), CostBy.DAY, ZoneInfo("Europe/Berlin"))
    assert [(line.label, line.total.usd) for line in days] == [("2026-03-29", 46), ("2026-03-30", 48)]


def test_costs_by_instance(spending: Ledger) -> None:
    """The dearest first, with its name."""
    found = spending.costs(NOON, NOON + HOUR, CostBy.INSTANCE)
    assert [(line.label, line.key and line.key.id, line.total.usd) for line in found] == [
        ("name-i-2", "i-2", Decimal(3)),
        ("name-i-1", "i-1", Decimal("2.10")),
    ]


def test_costs_by_account(spending: Ledger) -> None:
    """All of it on one line."""
    (line,) = spending.costs(NOON, NOON + HOUR, CostBy.ACCOUNT)
    assert (line.label, line.account, line.key, line.total.usd) == ("lab", "lab", None, Decimal("5.10"))


def test_kept_sums_are_the_sums(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """A ledger of before there were any gives the same figures, at once and after it began to keep them."""
    for minute in range(6):
        look(minute * MINUTE, instance(price=None if minute == 3 else replace(TWO, usd_per_hour=Decimal(minute + 1))))
    kept = ledger.accruals()[KEY].at(clock.now())
    with ledger._db.write() as connection:
        connection.execute("DELETE FROM settled")
    assert ledger.accruals()[KEY].at(clock.now()) == kept
    look(6 * MINUTE, instance())
    assert ledger.accruals()[KEY].fixed == Accrual.of(ledger.intervals(KEY)).fixed


def test_a_row_is_drawn_from_kept_sums(ledger: Ledger, look: Look) -> None:
    """However many prices there were, few rows are read."""
    for minute in range(50):
        look(minute * MINUTE, instance(price=(TWO, THREE)[minute % 2]))
    read: list[object] = []
    ledger._db.rows = lambda *asked: read.extend(found := type(ledger._db).rows(ledger._db, *asked)) or found  # type: ignore[method-assign]
    assert ledger.accruals()[KEY].fixed.usd > 0
    assert len(read) == 2


def test_accruals_of_long_gone_instances_are_left_out(ledger: Ledger, look: Look, clock: ManualClock) -> None:
    """Their money is in the reports for ever."""
    look(0 * MINUTE, instance())
    look(1 * MINUTE)
    look(2 * MINUTE)
    assert KEY in ledger.accruals()
    clock.advance(8 * 86_400)
    assert KEY not in ledger.accruals()
    assert ledger.spent(NOON, clock.now()).usd > 0
