"""Promise 1: a row leaves only after a terminal state, or absence in two good lists at least one cycle apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support.memory_cloud import CADENCE_S, CAPABILITIES, Cloud, look, offer, open_session, status_body

from gpudash.clock import ManualClock
from gpudash.errors import Refused, Unreachable
from gpudash.fleet.session import Session
from gpudash.model.instance import Instance, InstanceState
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction, Policy


@pytest.fixture
def worker(cloud: Cloud, session: Session) -> Instance:
    """One running instance that the session knows, beside another."""
    cloud.add("other")
    worker = cloud.add("worker")
    look(session)
    return worker


def now_of(session: Session, operation: Operation) -> Operation:
    found = session.ledger.operation(operation.id)
    assert found is not None
    return found


def test_promise_01_one_list_without_it_proves_nothing(session: Session, worker: Instance) -> None:
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    look(session, 1)
    assert now_of(session, operation).stage is Stage.ACCEPTED
    assert session.store.records[worker.key].missing_since is not None


def test_promise_01_what_was_just_launched_and_is_not_listed_yet_is_not_gone(
    session: Session, cloud: Cloud, clock: ManualClock
) -> None:
    """An end that finds nothing is success to a cloud; so soon after the launch it is asked again once it is shown."""
    cloud.add("other")
    launch = session.actions.launch(session.actions.plan_launch(offer(clock)))
    assert launch.key is not None
    look(session, 1)
    cloud.hidden, cloud.no_effect = {launch.key.id}, True
    look(session, CADENCE_S)
    operation = session.actions.end(launch.key, EndAction.TERMINATE)
    look(session, CADENCE_S)
    look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.ACCEPTED
    cloud.hidden, cloud.no_effect = set(), False
    look(session, CADENCE_S)
    look(session, CADENCE_S)
    session.actions.advance(now_of(session, operation))
    assert launch.key.id not in cloud.instances


def test_promise_01_two_lists_within_one_cycle_prove_nothing(session: Session, worker: Instance) -> None:
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    look(session, 1)
    look(session, CADENCE_S - 0.5)
    assert now_of(session, operation).stage is Stage.ACCEPTED
    assert worker.key in session.store.records


def test_promise_01_two_lists_a_cycle_apart_prove_it(session: Session, worker: Instance) -> None:
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    look(session, 1)
    look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.PROVED
    assert worker.key not in session.store.records


def test_promise_01_commands_prove_it_together(cloud: Cloud, clock: ManualClock) -> None:
    """It ended by itself; each `ls` is a program of its own and sees one list. Until the proof the guard's word is kept."""
    cloud.add("other")
    worker = cloud.add("worker", managed=True)

    def ls(later_s: float) -> bool:
        with open_session(cloud, clock) as command:
            look(command, later_s)
            assert (worker.key in command.ledger.load_statuses()) == (worker.key in command.store.records)
            return worker.key in command.store.records

    with open_session(cloud, clock) as command:
        look(command)
        command.ledger.save_status(worker.key, status_body(Policy(), clock.now()), clock.now())
    del cloud.instances[worker.key.id]
    assert [ls(1), ls(1), ls(CADENCE_S), ls(1)] == [True, True, False, False]
    with open_session(cloud, clock) as command:
        assert [event.kind for event in command.ledger.events(key=worker.key)] == ["gone"]


def test_promise_01_commands_believe_an_empty_answer_that_lasts(cloud: Cloud, clock: ManualClock) -> None:
    """The only instance was ended elsewhere; after five minutes of empty answers no command shows it any more."""
    worker = cloud.add("worker")
    shown = []
    for wait_s in (0, 60, 60, 250, 1):
        with open_session(cloud, clock) as command:
            look(command, wait_s)
            shown.append(worker.key in command.store.records)
        cloud.instances.clear()
    assert shown == [True, True, True, False, False]


def test_promise_01_a_list_asked_before_the_request_does_not_count(
    session: Session, cloud: Cloud, worker: Instance
) -> None:
    """The answer to an older question may be older than the end."""
    cloud.hidden.add(worker.key.id)
    early = cloud.list_instances("here")
    session.clock.sleep(1)
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    session.actions.settle(early)
    assert "absent_since" not in now_of(session, operation).params


def test_promise_01_a_terminal_state_proves_it_at_once(session: Session, cloud: Cloud, worker: Instance) -> None:
    cloud.no_effect = True
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    cloud.turn("worker", InstanceState.TERMINATED)
    look(session, 1)
    assert now_of(session, operation).stage is Stage.PROVED
    assert worker.key not in session.store.records


def test_promise_01_a_stop_is_proved_by_the_stopped_state(session: Session, worker: Instance) -> None:
    operation = session.actions.end(worker.key, EndAction.STOP)
    assert operation.stage is Stage.ACCEPTED
    look(session, 1)
    assert now_of(session, operation).stage is Stage.PROVED
    assert session.store.records[worker.key].instance.state is InstanceState.STOPPED


def test_promise_01_an_end_without_effect_reads_still_billing(session: Session, cloud: Cloud, worker: Instance) -> None:
    cloud.no_effect = True
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    for _ in range(4):
        look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.RETRYING
    assert session.store.records[worker.key].still_billing_since() == operation.requested_at


def test_promise_01_a_failed_end_is_retried_for_ever_with_growing_waits(
    session: Session, cloud: Cloud, worker: Instance
) -> None:
    cloud.errors["terminate"] = Unreachable("connection refused")
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    waits = []
    for _ in range(40):
        operation = now_of(session, operation)
        assert operation.stage is Stage.RETRYING
        assert operation.next_try_at is not None
        waits.append((operation.next_try_at - session.clock.now()).total_seconds())
        session.clock.sleep(waits[-1])
        look(session)
        session.actions.advance(operation)
    assert waits[:4] == [5, 10, 20, 40]
    assert set(waits[8:]) == {300}
    assert cloud.asked("terminate") == 41


def test_promise_01_it_is_not_asked_again_before_its_time(session: Session, cloud: Cloud, worker: Instance) -> None:
    cloud.errors["terminate"] = Unreachable("connection refused")
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    session.clock.sleep(4)
    session.actions.advance(operation)
    assert cloud.asked("terminate") == 1


def test_promise_01_a_retry_goes_on_in_the_next_session_after_it_has_looked(
    session: Session, cloud: Cloud, clock: ManualClock, worker: Instance
) -> None:
    cloud.errors["terminate"] = Unreachable("connection refused")
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    session.close()
    cloud.errors.clear()
    clock.advance(3600)
    with open_session(cloud, clock) as later:
        later.drive(5)
        assert cloud.asked("terminate") == 1, "nothing is sent before a listing was seen"
        look(later)
        later.drive(5)
        assert cloud.asked("terminate") == 2
        look(later, CADENCE_S)
        look(later, CADENCE_S)
        assert now_of(later, operation).stage is Stage.PROVED


def test_promise_01_an_end_of_what_was_started_again_since_is_not_acted_on(
    session: Session, cloud: Cloud, clock: ManualClock, worker: Instance
) -> None:
    """A stop that failed last night must not stop what was started this morning."""
    cloud.errors["stop"] = Unreachable("connection refused")
    operation = session.actions.end(worker.key, EndAction.STOP)
    session.close()
    cloud.errors.clear()
    clock.advance(3600)
    cloud.turn("worker", InstanceState.RUNNING, started_at=clock.now() - timedelta(minutes=5))
    with open_session(cloud, clock) as later:
        look(later)
        later.drive(5)
        assert cloud.asked("stop") == 1
        assert now_of(later, operation).stage is Stage.CANCELLED
        assert "started again" in now_of(later, operation).detail


def test_promise_01_a_terminate_is_not_dropped_where_a_cloud_starts_containers_again_by_itself(
    session: Session, cloud: Cloud, clock: ManualClock, worker: Instance
) -> None:
    """A new start moment says nothing against a terminate: what was to be gone bills on, so it is asked again."""
    cloud.errors["terminate"] = Unreachable("connection refused")
    operation = session.actions.end(worker.key, EndAction.TERMINATE)
    cloud.errors.clear()
    clock.advance(3600)
    cloud.turn("worker", InstanceState.RUNNING, started_at=clock.now() - timedelta(minutes=5))
    look(session)
    session.actions.advance(now_of(session, operation))
    assert cloud.asked("terminate") == 2
    assert now_of(session, operation).stage is Stage.ACCEPTED


def test_promise_01_a_retry_that_fell_due_while_the_machine_slept_looks_first(
    session: Session, cloud: Cloud, clock: ManualClock, worker: Instance
) -> None:
    cloud.errors["stop"] = Unreachable("connection refused")
    operation = session.actions.end(worker.key, EndAction.STOP)
    cloud.errors.clear()
    clock.advance(8 * 3600)
    cloud.turn("worker", InstanceState.RUNNING, started_at=clock.now() - timedelta(minutes=5))
    session.actions.advance(operation)
    assert cloud.asked("stop") == 1
    look(session)
    session.actions.advance(operation)
    assert cloud.asked("stop") == 1
    assert now_of(session, operation).stage is Stage.CANCELLED


def test_promise_01_our_own_start_takes_back_an_open_stop(session: Session, cloud: Cloud, worker: Instance) -> None:
    cloud.errors["stop"] = Unreachable("connection refused")
    stop = session.actions.end(worker.key, EndAction.STOP)
    session.actions.start(worker.key)
    assert now_of(session, stop).stage is Stage.CANCELLED


def test_promise_01_what_is_being_terminated_cannot_be_started(session: Session, worker: Instance) -> None:
    session.actions.end(worker.key, EndAction.TERMINATE)
    with pytest.raises(Refused, match="being terminated"):
        session.actions.start(worker.key)


def test_promise_01_the_same_end_asked_twice_is_one_operation(session: Session, cloud: Cloud, worker: Instance) -> None:
    first = session.actions.end(worker.key, EndAction.TERMINATE)
    second = session.actions.end(worker.key, EndAction.TERMINATE)
    assert first.id == second.id
    assert cloud.asked("terminate") == 1


def test_promise_01_a_terminate_takes_the_place_of_a_stop(session: Session, cloud: Cloud, worker: Instance) -> None:
    cloud.errors["stop"] = Unreachable("connection refused")
    stop = session.actions.end(worker.key, EndAction.STOP)
    session.actions.end(worker.key, EndAction.TERMINATE)
    assert now_of(session, stop).stage is Stage.CANCELLED


def test_promise_01_the_only_instance_of_a_cloud_without_tombstones_goes_by_the_same_rule(
    session: Session, cloud: Cloud
) -> None:
    """An empty list is a good one where everything that is missing was asked to end."""
    only = cloud.add("only")
    look(session)
    operation = session.actions.end(only.key, EndAction.TERMINATE)
    look(session, 1)
    look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.PROVED
    assert not session.store.records


def test_promise_01_where_ended_ones_are_listed_an_empty_answer_must_last_longer(
    cloud: Cloud, clock: ManualClock
) -> None:
    cloud.capabilities = replace(CAPABILITIES, lists_terminated=True)
    cloud.no_effect = True
    only = cloud.add("only")
    with open_session(cloud, clock) as session:
        look(session)
        operation = session.actions.end(only.key, EndAction.TERMINATE)
        cloud.hidden.add(only.key.id)
        for _ in range(6):
            look(session, CADENCE_S)
        assert now_of(session, operation).stage.is_open
        look(session, CADENCE_S)
        assert now_of(session, operation).stage is Stage.PROVED


def test_promise_01_a_stop_held_back_can_be_taken_back(session: Session, cloud: Cloud, worker: Instance) -> None:
    held = session.actions.end(worker.key, EndAction.STOP, hold_s=5)
    assert held.stage is Stage.INTENDED
    session.actions.cancel(held.id)
    session.clock.sleep(6)
    session.actions.advance(held)
    assert cloud.asked("stop") == 0
    assert now_of(session, held).stage is Stage.CANCELLED


def test_promise_01_a_stop_held_back_goes_out_when_it_is_due(session: Session, cloud: Cloud, worker: Instance) -> None:
    held = session.actions.end(worker.key, EndAction.STOP, hold_s=5)
    session.clock.sleep(5)
    session.actions.advance(held)
    assert cloud.asked("stop") == 1
    with pytest.raises(Refused, match="sent already"):
        session.actions.cancel(held.id)


def test_promise_01_a_held_stop_left_behind_is_taken_back_when_it_is_old(
    session: Session, cloud: Cloud, clock: ManualClock, worker: Instance
) -> None:
    """The dashboard was killed within the hold; an hour later the person may want something else."""
    held = session.actions.end(worker.key, EndAction.STOP, hold_s=5)
    session.close()
    clock.advance(120)
    with open_session(cloud, clock) as later:
        assert now_of(later, held).stage is Stage.CANCELLED
        look(later)
        later.drive(5)
        assert cloud.asked("stop") == 0
