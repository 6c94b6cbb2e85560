"""Promise 3: an error, a partial page, a sudden empty answer delete nothing; old values stay, with their age."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from support.memory_cloud import CADENCE_S, CLOUD, REGION, Cloud, look, open_session, status_body

from gpudash.clock import ManualClock
from gpudash.errors import AuthRefused, RateLimited, Unreachable
from gpudash.fleet.session import Session
from gpudash.model.host import parse_status
from gpudash.model.instance import InstanceState
from gpudash.model.policy import EndAction, Policy


@pytest.fixture(autouse=True)
def three(cloud: Cloud, session: Session) -> None:
    """Three running instances, seen once."""
    for name in ("a", "b", "c"):
        cloud.add(name)
    look(session)


def names(session: Session) -> list[str]:
    return sorted(record.instance.name for record in session.store.records.values())


@pytest.mark.parametrize(
    "error", [Unreachable("refused"), AuthRefused("no key"), RateLimited("slow down"), OSError("?")]
)
def test_promise_03_a_failed_listing_removes_nothing(session: Session, cloud: Cloud, error: Exception) -> None:
    cloud.errors["list"] = error
    for _ in range(5):
        look(session, CADENCE_S)
    assert names(session) == ["a", "b", "c"]
    assert str(error) in (session.store.health[CLOUD, REGION].error or "")


def test_promise_03_a_partial_answer_removes_nothing(session: Session, cloud: Cloud) -> None:
    cloud.complete = False
    for _ in range(50):
        look(session, CADENCE_S)
    assert names(session) == ["a", "b", "c"]
    assert all(record.missing_since is None for record in session.store.records.values())


def test_promise_03_a_partial_answer_still_adds_and_changes(session: Session, cloud: Cloud) -> None:
    cloud.turn("a", InstanceState.STOPPED)
    cloud.complete = False
    look(session, CADENCE_S)
    assert session.store.records[cloud.instances["i-a"].key].instance.state is InstanceState.STOPPED


def test_promise_03_a_sudden_empty_answer_removes_nothing_and_says_so(session: Session, cloud: Cloud) -> None:
    cloud.hidden = {"i-a", "i-b", "i-c"}
    for _ in range(20):
        look(session, CADENCE_S)
    assert names(session) == ["a", "b", "c"]
    health = session.store.health[CLOUD, REGION]
    assert health.state == "error"
    assert "empty" in (health.error or "")


def test_promise_03_a_sudden_empty_answer_stops_no_meter(session: Session, cloud: Cloud) -> None:
    key = cloud.instances["i-a"].key
    cloud.hidden = {"i-a", "i-b", "i-c"}
    for _ in range(5):
        look(session, CADENCE_S)
    assert all(interval.end is None for interval in session.ledger.intervals(key))


def test_promise_03_a_sudden_empty_answer_proves_no_end(session: Session, cloud: Cloud) -> None:
    """One was asked to end; that all are missing at once says nothing about it."""
    cloud.no_effect = True
    operation = session.actions.end(cloud.instances["i-a"].key, EndAction.TERMINATE)
    cloud.hidden = {"i-a", "i-b", "i-c"}
    for _ in range(5):
        look(session, CADENCE_S)
    moved = session.ledger.operation(operation.id)
    assert moved is not None
    assert moved.stage.is_open


def test_promise_03_an_empty_answer_that_lasts_is_believed_in_the_end(session: Session, cloud: Cloud) -> None:
    """Ended by hand in the cloud's own console: after thirty cycles, at least five minutes, the rows go."""
    cloud.instances.clear()
    for _ in range(32):
        look(session, CADENCE_S)
    assert names(session) == []


def leases_run_out(session: Session) -> None:
    """The daemon of each was armed when last heard, and was to end it one cycle from now."""
    now = session.clock.now()
    said = parse_status(status_body(Policy(now + timedelta(seconds=CADENCE_S)), now))
    for key in list(session.store.records):
        session.store.apply_status(key, said, now)


@pytest.mark.parametrize("error", [None, Unreachable("refused")])
def test_promise_03_a_lease_that_is_over_proves_no_end(session: Session, cloud: Cloud, error: Exception | None) -> None:
    """That a guard was to end them is no proof: asked for by its id the cloud has them, or gives no answer."""
    leases_run_out(session)
    cloud.hidden = {"i-a", "i-b", "i-c"}
    if error is not None:
        cloud.errors["look"] = error
    for _ in range(20):
        look(session, CADENCE_S)
    assert names(session) == ["a", "b", "c"]
    assert "empty" in (session.store.health[CLOUD, REGION].error or "")
    assert session.store.totals(session.clock.now()).burn.usd == 3 * Decimal("2.49")
    assert all(interval.end is None for key in session.store.records for interval in session.ledger.intervals(key))


def test_promise_03_too_many_to_ask_for_are_not_asked_for(session: Session, cloud: Cloud) -> None:
    for number in range(6):
        cloud.add(f"more-{number}")
    look(session)
    leases_run_out(session)
    cloud.instances.clear()
    for _ in range(8):
        look(session, CADENCE_S)
    assert (len(names(session)), cloud.asked("look")) == (9, 0)


def test_promise_03_an_empty_answer_after_the_leases_were_over_is_believed_sooner(
    session: Session, cloud: Cloud
) -> None:
    """Where the cloud, asked for each by its id, has none of them: six cycles."""
    leases_run_out(session)
    cloud.instances.clear()
    for _ in range(6):
        look(session, CADENCE_S)
        assert names(session) == ["a", "b", "c"]
    look(session, CADENCE_S)
    assert names(session) == []


def test_promise_03_an_empty_answer_is_no_end_while_one_lease_runs(session: Session, cloud: Cloud) -> None:
    now = session.clock.now()
    for number, key in enumerate(list(session.store.records)):
        said = parse_status(status_body(Policy(now + timedelta(hours=number)), now))
        session.store.apply_status(key, said, now)
    cloud.instances.clear()
    for _ in range(10):
        look(session, CADENCE_S)
    assert names(session) == ["a", "b", "c"]


def test_promise_03_one_missing_among_others_goes_by_two_lists(session: Session, cloud: Cloud) -> None:
    del cloud.instances["i-b"]
    look(session, CADENCE_S)
    assert names(session) == ["a", "b", "c"]
    look(session, CADENCE_S)
    assert names(session) == ["a", "c"]


def test_promise_03_coming_back_forgets_the_absence(session: Session, cloud: Cloud) -> None:
    cloud.hidden = {"i-b"}
    look(session, CADENCE_S)
    cloud.hidden = set()
    look(session, CADENCE_S)
    cloud.hidden = {"i-b"}
    look(session, CADENCE_S)
    assert names(session) == ["a", "b", "c"]


def test_promise_03_silence_turns_amber_at_two_cadences_and_red_at_five(session: Session, clock: ManualClock) -> None:
    seen = []
    for _ in range(6):
        session.store.tick(clock.now())
        seen.append(session.store.health[CLOUD, REGION].state)
        clock.advance(CADENCE_S + 0.01)
    assert seen == ["ok", "ok", "stale", "stale", "stale", "error"]


def test_promise_03_rows_keep_the_time_they_were_confirmed(session: Session, cloud: Cloud, clock: ManualClock) -> None:
    confirmed = clock.now()
    cloud.errors["list"] = Unreachable("refused")
    look(session, 3 * CADENCE_S)
    record = session.store.records[cloud.instances["i-a"].key]
    assert record.listed_at == confirmed
    assert record.is_stale(clock.now(), session.store.cadence(CLOUD))


def test_promise_03_a_restart_while_the_cloud_is_down_keeps_the_rows(
    session: Session, cloud: Cloud, clock: ManualClock
) -> None:
    session.close()
    cloud.errors["list"] = Unreachable("refused")
    clock.advance(600)
    with open_session(cloud, clock) as later:
        look(later)
        assert names(later) == ["a", "b", "c"]
        assert later.store.health[CLOUD, REGION].state == "error"
