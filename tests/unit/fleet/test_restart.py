"""A restart is asked for once, and proved by having been down and running again, with its guard."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.memory_cloud import CADENCE_S, Cloud, Daemon, look, open_session

from gpudash.clock import ManualClock
from gpudash.errors import Ambiguous, ProviderError, Refused, Unsupported
from gpudash.fleet.session import Session
from gpudash.model.instance import Instance, InstanceState
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction, Policy


@pytest.fixture
def worker(cloud: Cloud, session: Session) -> Instance:
    """A running instance of somebody else's."""
    found = cloud.add("worker")
    look(session)
    return found


def now_of(session: Session, operation: Operation) -> Operation:
    found = session.ledger.operation(operation.id)
    assert found is not None
    return found


def test_it_is_proved_by_going_down_and_running_again(session: Session, cloud: Cloud, worker: Instance) -> None:
    """A listing that still shows it running, asked a moment later, proves nothing."""
    operation = session.actions.restart(worker.key)
    assert operation.stage is Stage.ACCEPTED
    look(session, CADENCE_S)
    cloud.turn("worker", InstanceState.RUNNING)
    look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.PROVED
    assert cloud.asked("restart") == 1


def test_where_nothing_shows_it_takes_a_minute(session: Session, cloud: Cloud, worker: Instance) -> None:
    """Some clouds say running all the while; then the yes and some time have to do."""
    cloud.no_effect = True
    operation = session.actions.restart(worker.key)
    look(session, CADENCE_S)
    assert now_of(session, operation).stage is Stage.ACCEPTED
    look(session, 60)
    assert now_of(session, operation).stage is Stage.PROVED


@pytest.mark.parametrize(("went_down", "end"), [(True, Stage.PROVED), (False, Stage.FAILED)])
def test_a_lost_answer_is_never_asked_again(
    session: Session, cloud: Cloud, worker: Instance, went_down: bool, end: Stage
) -> None:
    """Asked twice it would be two restarts; whether it went down tells."""
    cloud.lost, cloud.lost_error, cloud.no_effect = {"restart"}, Ambiguous("no answer"), not went_down
    operation = session.actions.restart(worker.key)
    assert operation.stage is Stage.AMBIGUOUS
    look(session, CADENCE_S)
    cloud.turn("worker", InstanceState.RUNNING)
    for _ in range(10):
        look(session, CADENCE_S)
        session.actions.advance(now_of(session, operation))
    assert now_of(session, operation).stage is end
    assert cloud.asked("restart") == 1


def test_a_definite_no_is_a_failure(session: Session, cloud: Cloud, worker: Instance) -> None:
    """In the cloud's words."""
    cloud.errors["restart"] = ProviderError("Could not restart (Cloud: an action is in progress).")
    operation = session.actions.restart(worker.key)
    assert (operation.stage, "in progress" in operation.detail) == (Stage.FAILED, True)


def test_one_of_ours_is_not_done_before_its_guard_is_back(cloud: Cloud, clock: ManualClock) -> None:
    """The daemon answers with its policy, or it is not proved."""
    daemon = Daemon(Policy(clock.now() + timedelta(hours=4)), clock)
    worker = cloud.add("worker", tag_policy=daemon.policy, managed=True)
    with open_session(cloud, clock, daemon) as session:
        look(session)
        operation = session.actions.restart(worker.key)
        look(session, CADENCE_S)
        cloud.turn("worker", InstanceState.RUNNING)
        look(session, CADENCE_S)
        waiting = now_of(session, operation)
        assert (waiting.stage, session.actions.needs_host(waiting)) == (Stage.ACCEPTED, True)
        assert session.actions.advance(waiting).stage is Stage.PROVED


def test_what_does_not_run_or_is_ending_is_refused(session: Session, cloud: Cloud, worker: Instance) -> None:
    """And an end takes the place of a restart that is under way."""
    operation = session.actions.restart(worker.key)
    assert session.actions.restart(worker.key).id == operation.id
    session.actions.end(worker.key, EndAction.STOP)
    assert now_of(session, operation).stage is Stage.CANCELLED
    with pytest.raises(Refused, match="A stop of worker is under way"):
        session.actions.restart(worker.key)
    off = cloud.add("off", InstanceState.STOPPED)
    look(session)
    with pytest.raises(Refused, match="off is stopped; only what runs can be restarted"):
        session.actions.restart(off.key)


def test_a_cloud_without_it_says_what_to_do(cloud: Cloud, clock: ManualClock) -> None:
    """Nothing is written."""
    from dataclasses import replace

    cloud.capabilities = replace(cloud.capabilities, can_restart=False)
    worker = cloud.add("worker")
    with open_session(cloud, clock) as session:
        look(session)
        with pytest.raises(Unsupported, match="There is no restart at fake; stop and start it"):
            session.actions.restart(worker.key)
        assert session.ledger.open_operations() == []


def test_it_goes_on_after_the_program_was_killed(cloud: Cloud, clock: ManualClock) -> None:
    """What was sent is looked for and not sent again."""
    worker = cloud.add("worker")

    def die() -> None:
        raise KeyboardInterrupt

    cloud.before["restart"] = die
    with open_session(cloud, clock) as session:
        look(session)
        with pytest.raises(KeyboardInterrupt):
            session.actions.restart(worker.key)
    del cloud.before["restart"]
    with open_session(cloud, clock) as later:
        look(later, CADENCE_S)
        (operation,) = later.ledger.open_operations()
        later.actions.advance(operation)
        for _ in range(8):
            look(later, CADENCE_S)
        assert now_of(later, operation).stage is Stage.FAILED
        assert cloud.asked("restart") == 1
