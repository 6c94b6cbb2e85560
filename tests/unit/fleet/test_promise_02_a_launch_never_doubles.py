"""Promise 2: the intent is on disk before the call; the outcome is exactly one adopted instance, or none."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from support.memory_cloud import CADENCE_S, Cloud, look, offer, open_session, settings

from gpudash.clock import ManualClock
from gpudash.errors import Ambiguous, ExitCode, NoCapacity, Refused, UsageError
from gpudash.fleet.outcome import exit_code
from gpudash.fleet.session import Session
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceState
from gpudash.model.offer import LaunchOrder
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction


class Killed(BaseException):
    """Stands for the process dying inside a call."""


@pytest.fixture
def order(session: Session, clock: ManualClock) -> LaunchOrder:
    return session.actions.plan_launch(offer(clock), name="train")


def now_of(session: Session, operation: Operation) -> Operation:
    found = session.ledger.operation(operation.id)
    assert found is not None
    return found


def only_launch(session: Session) -> Operation:
    (operation,) = [op for op in session.ledger.recent_operations() if op.verb is Verb.LAUNCH]
    return operation


def test_promise_02_the_intent_is_on_disk_before_the_call(session: Session, cloud: Cloud, order: LaunchOrder) -> None:
    seen: list[Operation] = []
    cloud.before["launch"] = lambda: seen.append(only_launch(session))
    session.actions.launch(order)
    assert [(op.stage, op.token, "sent_at" in op.params) for op in seen] == [(Stage.INTENDED, order.token, True)]


def test_promise_02_a_launch_with_an_answer_is_adopted_with_its_policy(session: Session, order: LaunchOrder) -> None:
    operation = session.actions.launch(order)
    assert operation.stage is Stage.ACCEPTED
    assert operation.key in session.ledger.adopted()
    assert session.ledger.policies()[operation.key] == order.policy


def test_promise_02_a_lost_answer_is_found_by_its_token(session: Session, cloud: Cloud, order: LaunchOrder) -> None:
    cloud.lost, cloud.lost_error = {"launch"}, Ambiguous("timed out")
    operation = session.actions.launch(order)
    assert operation.stage is Stage.AMBIGUOUS
    look(session, 1)
    operation = now_of(session, operation)
    assert operation.stage is Stage.ACCEPTED
    assert operation.key is not None
    assert operation.key.id == f"i-{order.token}"
    assert cloud.asked("launch") == 1


def test_promise_02_what_an_sdk_lets_slip_counts_as_no_answer(
    session: Session, cloud: Cloud, order: LaunchOrder
) -> None:
    cloud.lost, cloud.lost_error = {"launch"}, RuntimeError("connection reset")
    assert session.actions.launch(order).stage is Stage.AMBIGUOUS


def test_promise_02_what_is_missing_here_is_said_at_once(session: Session, cloud: Cloud, order: LaunchOrder) -> None:
    """Without a key to log in with nothing is sent, so nothing is looked for either."""
    cloud.errors["launch"] = UsageError("No SSH public key was found.")
    operation = session.actions.launch(order)
    assert (operation.stage, operation.detail) == (Stage.FAILED, "No SSH public key was found.")
    assert exit_code(operation) is ExitCode.USAGE


def test_promise_02_shown_to_one_program_and_not_yet_to_another(
    session: Session, cloud: Cloud, order: LaunchOrder
) -> None:
    """A cloud may show a new instance late: while it may, absence loses no launch, though somebody saw it before."""
    cloud.add("other")
    operation = session.actions.launch(order)
    assert operation.key is not None
    look(session, 1)
    cloud.hidden = {operation.key.id}
    look(session, CADENCE_S)
    look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.ACCEPTED
    for _ in range(6):
        look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.FAILED


def test_promise_02_a_call_that_never_arrived_is_proved_not_to_have_happened(
    session: Session, cloud: Cloud, order: LaunchOrder
) -> None:
    cloud.errors["launch"] = Ambiguous("timed out")
    operation = session.actions.launch(order)
    for _ in range(5):
        look(session, CADENCE_S)
        assert now_of(session, operation).stage is Stage.AMBIGUOUS
    look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.FAILED
    assert "nothing was launched" in now_of(session, operation).detail
    assert cloud.asked("launch") == 1


def test_promise_02_incomplete_lists_prove_no_absence(session: Session, cloud: Cloud, order: LaunchOrder) -> None:
    cloud.errors["launch"], cloud.complete = Ambiguous("timed out"), False
    operation = session.actions.launch(order)
    for _ in range(20):
        look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.AMBIGUOUS


def test_promise_02_one_given_up_that_appears_after_all_is_taken_up_again(
    session: Session, cloud: Cloud, order: LaunchOrder
) -> None:
    cloud.errors["launch"] = Ambiguous("timed out")
    operation = session.actions.launch(order)
    for _ in range(8):
        look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.FAILED
    late = cloud.add("late", launch_token=order.token)
    look(session, CADENCE_S)
    assert (now_of(session, operation).stage, now_of(session, operation).key) == (Stage.ACCEPTED, late.key)


def test_promise_02_killed_before_the_call_means_none(
    session: Session, cloud: Cloud, clock: ManualClock, order: LaunchOrder
) -> None:
    operation = session.actions.intend_launch(order)
    session.close()
    with open_session(cloud, clock) as later:
        assert now_of(later, operation).stage is Stage.FAILED
        later.drive(5)
        assert cloud.asked("launch") == 0


@pytest.mark.parametrize("arrived", [True, False])
def test_promise_02_killed_inside_the_call_means_one_or_none(
    session: Session, cloud: Cloud, clock: ManualClock, order: LaunchOrder, arrived: bool
) -> None:
    cloud.no_effect = not arrived
    cloud.lost, cloud.lost_error = {"launch"}, Killed()  # type: ignore[assignment]
    with pytest.raises(Killed):
        session.actions.launch(order)
    session.close()
    with open_session(cloud, clock) as later:
        for _ in range(9):
            look(later, CADENCE_S)
            later.drive(5)
        operation = only_launch(later)
        assert operation.stage is (Stage.ACCEPTED if arrived else Stage.FAILED)
        assert len(later.ledger.adopted()) == int(arrived)
        assert cloud.asked("launch") == 1


def test_promise_02_two_threads_drive_one_launch_once(session: Session, cloud: Cloud, order: LaunchOrder) -> None:
    operation = session.actions.intend_launch(order)
    threads = [threading.Thread(target=session.actions.advance, args=[operation]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cloud.asked("launch") == 1


def test_promise_02_another_living_session_leaves_an_unsent_launch_alone(
    session: Session, cloud: Cloud, clock: ManualClock, order: LaunchOrder
) -> None:
    operation = session.actions.intend_launch(order)
    with open_session(cloud, clock) as other:
        look(other)
        other.drive(5)
        assert now_of(other, operation).stage is Stage.INTENDED
    assert session.actions.advance(operation).stage is Stage.ACCEPTED
    assert cloud.asked("launch") == 1


def test_promise_02_no_capacity_is_a_definite_no(session: Session, cloud: Cloud, order: LaunchOrder) -> None:
    cloud.errors["launch"] = NoCapacity("none left")
    operation = session.actions.launch(order)
    assert operation.stage is Stage.FAILED
    assert exit_code(operation) is ExitCode.FAILED
    assert session.ledger.open_operations() == []


def test_promise_02_an_instance_that_is_never_listed_fails_the_launch(
    session: Session, cloud: Cloud, order: LaunchOrder
) -> None:
    cloud.no_effect = True
    operation = session.actions.launch(order)
    for _ in range(8):
        look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.FAILED


def test_promise_02_an_end_asked_for_meanwhile_closes_the_launch(
    session: Session, cloud: Cloud, order: LaunchOrder
) -> None:
    operation = session.actions.launch(order)
    look(session, 1)
    assert operation.key is not None
    session.actions.end(operation.key, EndAction.TERMINATE)
    assert now_of(session, operation).stage is Stage.CANCELLED
    look(session, 1)
    look(session, CADENCE_S)
    assert not session.store.records
    assert session.ledger.open_operations() == []


def test_promise_02_a_launch_waits_for_its_boot_and_its_ssh(session: Session, cloud: Cloud, order: LaunchOrder) -> None:
    operation = session.actions.launch(order)
    look(session, 1)
    operation = session.actions.advance(now_of(session, operation))
    assert {step.name: step.state for step in operation.steps}["booting"] == "now"
    cloud.turn(order.token, InstanceState.RUNNING)
    look(session, CADENCE_S)
    operation = session.actions.advance(now_of(session, operation))
    assert {step.name: step.state for step in operation.steps}["ssh"] == "now"
    assert operation.stage is Stage.ACCEPTED
    assert "refused" in operation.detail


def test_promise_02_the_price_is_looked_up_again_when_it_is_old(
    session: Session, clock: ManualClock, cloud: Cloud
) -> None:
    order = session.actions.plan_launch(offer(clock))
    clock.advance(300)
    session.actions.launch(order)
    assert cloud.calls.index("offers") < cloud.calls.index("launch")


def test_promise_02_the_price_cap_refuses_before_anything_is_written(cloud: Cloud, clock: ManualClock) -> None:
    with open_session(cloud, clock, config=settings(max_price_usd_per_hour=Decimal("1.00"))) as session:
        for price in (offer(clock), offer(clock, price=None)):
            with pytest.raises(Refused, match="cap"):
                session.actions.launch(session.actions.plan_launch(price))
        assert session.ledger.recent_operations() == []
        assert cloud.asked("launch") == 0


def test_promise_02_a_cloud_that_doubled_a_launch_raises_an_alarm_once(
    session: Session, cloud: Cloud, order: LaunchOrder
) -> None:
    session.actions.launch(order)
    cloud.add("twin", launch_token=order.token)
    look(session, 1)
    look(session, CADENCE_S)
    alarms = [event.text for event in session.ledger.events() if event.kind == "alarm"]
    assert len(alarms) == 1
    assert "i-twin" in alarms[0]
