"""When a daemon that is gone is put back without being asked: late enough, rarely enough, and only on hosts of ours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from support.memory_cloud import Cloud, Daemon, look, open_session

from gpudash.clock import ManualClock
from gpudash.fleet.hostpoll import HostReading, read_host
from gpudash.fleet.restoring import AFTER_S, FIRST_S, Restorer
from gpudash.fleet.session import Session
from gpudash.model.instance import Instance
from gpudash.model.policy import Policy


@pytest.fixture
def daemon(clock: ManualClock) -> Daemon:
    return Daemon(Policy(clock.now() + timedelta(hours=4)), clock)


@pytest.fixture
def worker(cloud: Cloud, daemon: Daemon) -> Instance:
    return cloud.add("worker", tag_policy=daemon.policy, managed=True)


@pytest.fixture
def session(cloud: Cloud, clock: ManualClock, daemon: Daemon, worker: Instance) -> Iterator[Session]:
    with open_session(cloud, clock, daemon) as opened:
        look(opened)
        opened.take_reading(read_host(opened.desk, opened.record(worker.key)))
        yield opened


def gone(session: Session, worker: Instance) -> HostReading:
    return HostReading(worker.key, session.clock.now(), problem="statusd does not run", is_gone=True)


def due_at(session: Session, worker: Instance, restorer: Restorer, seconds: int) -> list[int]:
    """The seconds at which it was due, asked every five."""
    found = []
    for second in range(0, seconds, 5):
        if restorer.is_due(session.record(worker.key), gone(session, worker)):
            found.append(second)
        session.clock.sleep(5)
    return found


def test_it_is_waited_for_and_then_put_back_ever_less_often(session: Session, worker: Instance) -> None:
    """A daemon that is being replaced is left alone; pushes that fail grow rarer."""
    found = due_at(session, worker, Restorer(session.clock), 600)
    assert found == [AFTER_S, AFTER_S + FIRST_S, AFTER_S + 3 * FIRST_S, AFTER_S + 7 * FIRST_S]


def test_an_answer_starts_the_count_anew(session: Session, worker: Instance) -> None:
    """It came back by itself: the next absence is a new one."""
    restorer = Restorer(session.clock)
    assert due_at(session, worker, restorer, 60) == [AFTER_S]
    record = session.record(worker.key)
    assert not restorer.is_due(record, HostReading(worker.key, session.clock.now(), status=record.status))
    assert due_at(session, worker, restorer, 60) == [AFTER_S]


def test_a_link_that_is_down_says_nothing_of_the_daemon(session: Session, worker: Instance) -> None:
    """Only a host that was reached can have lost it."""
    restorer = Restorer(session.clock)
    silent = HostReading(worker.key, session.clock.now(), problem="no connection")
    session.clock.sleep(AFTER_S)
    assert not restorer.is_due(session.record(worker.key), silent)
    session.clock.sleep(AFTER_S)
    assert not restorer.is_due(session.record(worker.key), silent)


def test_strangers_are_left_alone(cloud: Cloud, clock: ManualClock, daemon: Daemon) -> None:
    """A daemon that somebody else runs on a machine that is not ours is theirs."""
    stranger = cloud.add("stranger", managed=False)
    with open_session(cloud, clock, daemon) as session:
        look(session)
        session.take_reading(read_host(session.desk, session.record(stranger.key)))
        assert due_at(session, stranger, Restorer(session.clock), 120) == []
