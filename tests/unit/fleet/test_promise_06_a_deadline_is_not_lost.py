"""Promise 6: deadlines are absolute, kept in three places, extended idempotently, and never past the hard one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memory_cloud import Cloud, Daemon, look, open_session

from gpudash.clock import ManualClock
from gpudash.errors import Refused, StatusdError, Unreachable
from gpudash.fleet.guarding import next_policy
from gpudash.fleet.hostpoll import read_host
from gpudash.fleet.policytags import merged
from gpudash.fleet.session import Session
from gpudash.model.guard import same_limits
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import Policy
from gpudash.model.tags import tagged_policy

HOUR = timedelta(hours=1)


@pytest.fixture
def policy(clock: ManualClock) -> Policy:
    return Policy(clock.now() + 4 * HOUR, clock.now() + 24 * HOUR, timedelta(minutes=30))


@pytest.fixture
def daemon(policy: Policy, clock: ManualClock) -> Daemon:
    return Daemon(policy, clock)


@pytest.fixture
def worker(cloud: Cloud, policy: Policy) -> Instance:
    return cloud.add("worker", tag_policy=policy, managed=True)


@pytest.fixture
def guarded(cloud: Cloud, clock: ManualClock, daemon: Daemon, worker: Instance) -> Iterator[Session]:
    """A session that has read the worker's daemon."""
    with open_session(cloud, clock, daemon) as session:
        look(session)
        read(session, worker.key)
        yield session


def read(session: Session, key: InstanceKey) -> None:
    session.take_reading(read_host(session.desk, session.record(key)))


def now_of(session: Session, operation: Operation) -> Operation:
    found = session.ledger.operation(operation.id)
    assert found is not None
    return found


def test_promise_06_proved_is_the_hosts_own_answer(
    guarded: Session, worker: Instance, policy: Policy, daemon: Daemon
) -> None:
    until = policy.lease_deadline + HOUR  # type: ignore[operator]
    operation = guarded.actions.extend(worker.key, until)
    assert operation.stage is Stage.PROVED
    assert daemon.policy.lease_deadline == until


def test_promise_06_ledger_tags_and_host_all_have_it(
    guarded: Session, cloud: Cloud, worker: Instance, policy: Policy, daemon: Daemon
) -> None:
    until = policy.lease_deadline + HOUR  # type: ignore[operator]
    guarded.actions.extend(worker.key, until)
    tagged = tagged_policy(cloud.tags[worker.key.id])
    assert tagged is not None
    assert guarded.ledger.policies()[worker.key].lease_deadline == until
    assert tagged.lease_deadline == until
    assert daemon.policy.lease_deadline == until


def test_promise_06_the_same_deadline_twice_changes_nothing(guarded: Session, worker: Instance, policy: Policy) -> None:
    until = policy.lease_deadline + HOUR  # type: ignore[operator]
    guarded.actions.extend(worker.key, until)
    kept = guarded.ledger.policies()[worker.key]
    guarded.actions.extend(worker.key, until)
    assert guarded.ledger.policies()[worker.key] == kept


def test_promise_06_nothing_passes_the_hard_deadline(
    guarded: Session, worker: Instance, policy: Policy, daemon: Daemon
) -> None:
    with pytest.raises(Refused, match="hard deadline"):
        guarded.actions.extend(worker.key, policy.hard_deadline + timedelta(seconds=1))  # type: ignore[operator]
    assert guarded.ledger.recent_operations() == []
    assert "extend" not in daemon.asked


def test_promise_06_an_extend_never_shortens(guarded: Session, worker: Instance, policy: Policy) -> None:
    with pytest.raises(Refused, match="never shortens"):
        guarded.actions.extend(worker.key, policy.lease_deadline - HOUR)  # type: ignore[operator]


def test_promise_06_a_silent_host_keeps_the_extend_open_until_it_answers(
    guarded: Session, worker: Instance, policy: Policy, daemon: Daemon
) -> None:
    until = policy.lease_deadline + HOUR  # type: ignore[operator]
    daemon.error = StatusdError("statusd does not run")
    operation = guarded.actions.extend(worker.key, until)
    assert operation.stage is Stage.ACCEPTED
    assert "does not know yet" in operation.detail
    daemon.error = None
    guarded.clock.sleep(60)
    assert guarded.actions.advance(operation).stage is Stage.PROVED
    assert daemon.policy.lease_deadline == until


def test_promise_06_tags_that_cannot_be_written_keep_the_extend_open(
    guarded: Session, cloud: Cloud, worker: Instance, policy: Policy
) -> None:
    """A watchdog elsewhere reads the tags; an old deadline there would end the instance early."""
    cloud.errors["tags"] = Unreachable("refused")
    operation = guarded.actions.extend(worker.key, policy.lease_deadline + HOUR)  # type: ignore[operator]
    assert operation.stage is Stage.ACCEPTED
    cloud.errors.clear()
    guarded.clock.sleep(60)
    assert guarded.actions.advance(operation).stage is Stage.PROVED


def test_promise_06_an_open_extend_goes_on_in_the_next_session(
    guarded: Session, cloud: Cloud, clock: ManualClock, worker: Instance, policy: Policy, daemon: Daemon
) -> None:
    until = policy.lease_deadline + HOUR  # type: ignore[operator]
    daemon.error = StatusdError("statusd does not run")
    operation = guarded.actions.extend(worker.key, until)
    guarded.close()
    daemon.error = None
    clock.advance(600)
    with open_session(cloud, clock, daemon) as later:
        look(later)
        later.drive(5)
        assert now_of(later, operation).stage is Stage.PROVED
        assert daemon.policy.lease_deadline == until


def test_promise_06_without_a_daemon_the_outcome_says_that_nothing_enforces_it(
    session: Session, cloud: Cloud, clock: ManualClock
) -> None:
    stranger = cloud.add("stranger")
    look(session)
    operation = session.actions.extend(stranger.key, clock.now() + HOUR)
    assert "nothing on the host enforces it" in operation.detail
    assert session.ledger.policies()[stranger.key].hard_deadline == clock.now() + 24 * HOUR
    assert "gpudash:managed" not in cloud.tags[stranger.key.id]


def test_promise_06_a_lease_extended_on_the_host_is_learnt(
    guarded: Session, worker: Instance, policy: Policy, daemon: Daemon
) -> None:
    later = policy.lease_deadline + 2 * HOUR  # type: ignore[operator]
    daemon.policy = replace(policy, lease_deadline=later)
    read(guarded, worker.key)
    assert guarded.ledger.policies()[worker.key].lease_deadline == later
    verdict = guarded.store.records[worker.key].guard(guarded.clock.now())
    assert verdict is not None
    assert verdict.level == "armed"


def test_promise_06_a_host_that_dropped_its_hard_deadline_is_not_believed(
    guarded: Session, worker: Instance, policy: Policy, daemon: Daemon
) -> None:
    daemon.policy = replace(policy, lease_deadline=policy.lease_deadline + 90 * HOUR, hard_deadline=None)  # type: ignore[operator]
    read(guarded, worker.key)
    assert guarded.store.records[worker.key].wanted == policy
    verdict = guarded.store.records[worker.key].guard(guarded.clock.now())
    assert verdict is not None
    assert verdict.level == "degraded"


moments = st.none() | st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))
policies = st.builds(Policy, moments, moments, st.none(), revision=st.integers(1, 9))


@given(policies, policies)
def test_promise_06_a_push_never_takes_time_away_and_never_passes_a_hard_deadline(
    wanted: Policy, in_force: Policy
) -> None:
    pushed = next_policy(wanted, in_force)
    hard = min((p.hard_deadline for p in (wanted, in_force) if p.hard_deadline), default=None)
    leases = [p.lease_deadline.replace(microsecond=0) for p in (wanted, in_force) if p.lease_deadline]
    assert pushed.hard_deadline == (hard.replace(microsecond=0) if hard else None)
    if pushed.lease_deadline is not None:
        assert pushed.hard_deadline is None or pushed.lease_deadline <= pushed.hard_deadline
        assert pushed.lease_deadline == max(leases) or pushed.lease_deadline == pushed.hard_deadline
    assert pushed.revision >= max(wanted.revision, in_force.revision)
    assert same_limits(pushed, in_force) or pushed.revision > in_force.revision


@given(policies, policies)
def test_promise_06_memories_merge_the_same_way_in_any_order(one: Policy, other: Policy) -> None:
    first, second = merged(one, other), merged(other, one)
    assert first is not None
    assert second is not None
    assert (first.lease_deadline, first.hard_deadline) == (second.lease_deadline, second.hard_deadline)
