"""Promise 7: ARMED only after reading the policy back from a live daemon; else the reason and the $/h at risk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from support.memory_cloud import CADENCE_S, Cloud, Daemon, look, open_session

from gpudash.clock import ManualClock
from gpudash.errors import LinkDown, StatusdError
from gpudash.fleet.hostpoll import is_asked, read_host
from gpudash.fleet.session import Session
from gpudash.model.guard import GuardLevel
from gpudash.model.instance import Instance, InstanceState
from gpudash.model.operation import Stage
from gpudash.model.policy import Policy


@pytest.fixture
def daemon(clock: ManualClock) -> Daemon:
    return Daemon(Policy(clock.now() + timedelta(hours=4)), clock)


@pytest.fixture
def worker(cloud: Cloud, daemon: Daemon) -> Instance:
    return cloud.add("worker", tag_policy=daemon.policy, managed=True)


@pytest.fixture
def guarded(cloud: Cloud, clock: ManualClock, daemon: Daemon, worker: Instance) -> Iterator[Session]:
    with open_session(cloud, clock, daemon) as session:
        look(session)
        yield session


def level(session: Session, worker: Instance) -> GuardLevel:
    verdict = session.store.records[worker.key].guard(session.clock.now())
    assert verdict is not None
    return verdict.level


def read(session: Session, worker: Instance) -> None:
    session.take_reading(read_host(session.desk, session.record(worker.key)))


def test_promise_07_tags_alone_arm_nothing(guarded: Session, worker: Instance) -> None:
    assert level(guarded, worker) is GuardLevel.NONE
    assert guarded.store.totals(guarded.clock.now()).unguarded.usd == Decimal("2.49")


def test_promise_07_the_policy_read_back_arms(guarded: Session, worker: Instance) -> None:
    read(guarded, worker)
    assert level(guarded, worker) is GuardLevel.ARMED
    assert guarded.store.totals(guarded.clock.now()).unguarded.usd == 0


def test_promise_07_an_old_answer_proves_nothing(guarded: Session, worker: Instance) -> None:
    read(guarded, worker)
    guarded.clock.sleep(61)
    assert level(guarded, worker) is GuardLevel.DEGRADED


def test_promise_07_other_limits_than_asked_for_are_no_proof(
    guarded: Session, worker: Instance, daemon: Daemon
) -> None:
    daemon.policy = replace(daemon.policy, lease_deadline=guarded.clock.now() + timedelta(hours=1))
    read(guarded, worker)
    assert level(guarded, worker) is GuardLevel.DEGRADED


def test_promise_07_a_daemon_found_dead_guards_nothing_from_that_moment(
    guarded: Session, worker: Instance, daemon: Daemon
) -> None:
    read(guarded, worker)
    daemon.error = StatusdError("statusd does not run")
    read(guarded, worker)
    assert level(guarded, worker) is GuardLevel.NONE


def test_promise_07_a_short_outage_of_the_link_does_not_unprove_it(
    guarded: Session, worker: Instance, daemon: Daemon
) -> None:
    read(guarded, worker)
    daemon.error = LinkDown("the connection was lost")
    read(guarded, worker)
    assert level(guarded, worker) is GuardLevel.ARMED
    assert guarded.store.records[worker.key].status_problem is not None


def test_promise_07_an_answer_from_before_the_last_start_proves_nothing(
    guarded: Session, cloud: Cloud, worker: Instance
) -> None:
    read(guarded, worker)
    guarded.clock.sleep(5)
    cloud.turn("worker", InstanceState.RUNNING, started_at=guarded.clock.now())
    look(guarded, CADENCE_S)
    assert level(guarded, worker) is GuardLevel.DEGRADED


def test_promise_07_a_start_is_not_done_before_the_guard_is_back(
    guarded: Session, cloud: Cloud, worker: Instance, daemon: Daemon
) -> None:
    cloud.turn("worker", InstanceState.STOPPED)
    look(guarded, CADENCE_S)
    operation = guarded.actions.start(worker.key)
    look(guarded, CADENCE_S)
    operation = guarded.ledger.operation(operation.id)  # type: ignore[assignment]
    assert (operation.stage, [step.name for step in operation.steps if step.state == "now"]) == (
        Stage.ACCEPTED,
        ["armed"],
    )
    assert guarded.actions.advance(operation).stage is Stage.PROVED
    assert daemon.asked[-1] == "status"


def test_promise_07_strangers_are_not_asked(session: Session, cloud: Cloud) -> None:
    """Nobody agreed to an SSH connection to an instance that is not ours."""
    key = cloud.add("stranger").key
    look(session)
    assert not is_asked(session.store.records[key])
