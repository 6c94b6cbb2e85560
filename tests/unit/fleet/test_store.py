"""The store merges news and says which keys changed; what a call does not concern stays the same object."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.memory_cloud import status_body

from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.store import FleetStore
from gpudash.model.capability import Verb
from gpudash.model.host import parse_status
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import Policy
from gpudash.model.tunnel import Tunnel, TunnelState

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def instance(name: str, state: InstanceState = InstanceState.RUNNING) -> Instance:
    return Instance(InstanceKey("cloud", "here", f"i-{name}"), "fake", name, state, state.value)


def listing(at: datetime, *items: Instance, complete: bool = True) -> Listing[Instance]:
    return Listing("cloud", "here", items, complete, at, at)


A, B = instance("a"), instance("b")


@pytest.fixture
def store() -> FleetStore:
    store = FleetStore()
    store.expect("cloud", "here", cadence_s=10, lists_terminated=False)
    store.apply_listing(listing(NOON, A, B))
    return store


def operation(verb: Verb, stage: Stage, minute: int = 0) -> Operation:
    at = NOON + timedelta(minutes=minute)
    return Operation(f"{verb}-{minute}", verb, "cloud", "here", stage, at, at, A.key)


def test_the_first_listing_adds() -> None:
    store = FleetStore()
    assert store.apply_listing(listing(NOON, A)).added == {A.key}


def test_a_listing_that_only_confirms_changes_nothing_but_the_age(store: FleetStore) -> None:
    before = store.records[A.key]
    change = store.apply_listing(listing(NOON + SECOND, instance("a"), instance("b")))
    assert not change
    assert store.records[A.key].instance is before.instance
    assert store.records[A.key].listed_at == NOON + SECOND


def test_only_what_differs_is_named(store: FleetStore) -> None:
    change = store.apply_listing(listing(NOON + SECOND, replace(A, name="renamed"), B))
    assert change == ChangeSet(changed=frozenset({A.key}))


def test_news_of_one_leaves_the_record_of_another_alone(store: FleetStore) -> None:
    before = store.records[B.key]
    store.apply_status(A.key, parse_status(status_body(Policy(), NOON)), NOON)
    assert store.records[B.key] is before


def test_the_same_news_twice_is_no_news(store: FleetStore) -> None:
    op = operation(Verb.STOP, Stage.ACCEPTED)
    assert store.apply_operation(op)
    before = store.records[A.key]
    assert not store.apply_operation(op)
    assert store.records[A.key] is before


def test_an_answer_that_was_asked_earlier_comes_too_late(store: FleetStore) -> None:
    store.apply_listing(listing(NOON + 2 * SECOND, A, B))
    assert not store.apply_listing(listing(NOON + SECOND, replace(A, name="old"), B))
    assert store.records[A.key].instance.name == "a"


def test_a_terminated_instance_is_no_row(store: FleetStore) -> None:
    change = store.apply_listing(listing(NOON + SECOND, instance("a", InstanceState.TERMINATED), B))
    assert change.removed == {A.key}
    assert list(store.records) == [B.key]


def test_other_regions_are_not_touched(store: FleetStore) -> None:
    elsewhere = Listing("cloud", "there", (), True, NOON + SECOND, NOON + SECOND)
    assert store.apply_listing(elsewhere).removed == frozenset()


def test_an_open_end_outweighs_a_newer_extend_on_its_row(store: FleetStore) -> None:
    store.apply_operation(operation(Verb.TERMINATE, Stage.RETRYING))
    store.apply_operation(operation(Verb.EXTEND, Stage.ACCEPTED, 1))
    assert store.records[A.key].is_ending


def test_a_failure_stays_on_its_row_until_it_was_seen(store: FleetStore) -> None:
    failed = operation(Verb.PUSH, Stage.FAILED)
    store.apply_operation(failed)
    assert store.records[A.key].operation == failed
    store.dismiss(failed.id)
    assert store.records[A.key].operation is None


def test_a_proved_operation_leaves_the_row(store: FleetStore) -> None:
    store.apply_operation(operation(Verb.STOP, Stage.ACCEPTED))
    store.apply_operation(operation(Verb.STOP, Stage.PROVED))
    assert store.records[A.key].operation is None


def test_the_daemons_policy_is_in_force_and_the_ledgers_is_wanted(store: FleetStore) -> None:
    wanted, real = Policy(NOON + 2 * SECOND, revision=2), Policy(NOON + SECOND)
    store.apply_policies({A.key: wanted}, ())
    store.apply_status(A.key, parse_status(status_body(real, NOON)), NOON)
    assert (store.records[A.key].policy, store.records[A.key].wanted) == (real, wanted)


def test_a_failed_question_keeps_the_last_answer(store: FleetStore) -> None:
    status = parse_status(status_body(Policy(), NOON))
    store.apply_status(A.key, status, NOON)
    store.apply_status(A.key, None, NOON + SECOND, "the link is down")
    record = store.records[A.key]
    assert (record.status, record.status_at, record.status_problem) == (status, NOON, "the link is down")


def test_readings_are_kept_for_the_sparkline(store: FleetStore) -> None:
    for second in range(100):
        body = status_body(Policy(), NOON + second * SECOND) | {"gpus": [{"index": 0, "util_pct": second}]}
        store.apply_status(A.key, parse_status(body), NOON + second * SECOND)
    assert store.records[A.key].utilisation[-2:] == (98, 99)
    assert len(store.records[A.key].utilisation) == 60


def test_tunnels_are_a_complete_list(store: FleetStore) -> None:
    tunnel = Tunnel("cloud", "i-a", "a", 8000, 8000, TunnelState.UP, 1, "dashboard")
    assert store.apply_tunnels([tunnel]).changed == {A.key}
    assert store.totals(NOON).tunnels_up == 1
    assert not store.apply_tunnels([tunnel])
    assert store.apply_tunnels([]).changed == {A.key}


def test_adopting_makes_it_managed(store: FleetStore) -> None:
    assert store.apply_policies({}, {A.key}).changed == {A.key}
    assert store.records[A.key].instance.managed
    store.apply_listing(listing(NOON + SECOND, A, B))
    assert store.records[A.key].instance.managed


def test_many_rows_cost_one_change_set() -> None:
    store = FleetStore()
    rows = [instance(str(number)) for number in range(2000)]
    store.apply_listing(listing(NOON, *rows))
    rows[7] = replace(rows[7], name="other")
    assert store.apply_listing(listing(NOON + SECOND, *rows)) == ChangeSet(changed=frozenset({rows[7].key}))


def test_a_page_of_a_list_that_still_comes_shows_rows_and_says_nothing_else(store: FleetStore) -> None:
    health, third = store.health["cloud", "here"], instance("c")
    change = store.apply_page(listing(NOON + 9 * SECOND, B, third, complete=False))
    assert (change.added, change.changed, change.removed) == ({third.key}, frozenset(), frozenset())
    assert store.health["cloud", "here"] is health
    assert store.records[A.key].missing_since is None
