"""The promises on real parts: real hosts, real SSH, the real daemon, processes that are killed, and every fault."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.killed_driver import CONFIG
from support.waiting import PATIENCE_S, eventually

from gpudash.clock import iso
from gpudash.errors import ExitCode
from gpudash.fleet import tunnels
from gpudash.fleet.daemons import client
from gpudash.fleet.outcome import exit_code
from gpudash.fleet.readiness import ready
from gpudash.fleet.record import Record
from gpudash.fleet.session import Session
from gpudash.hosts.supervisor import spawn
from gpudash.model.guard import GuardLevel
from gpudash.model.host import parse_status
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.offer import OfferFilter
from gpudash.model.operation import Stage
from gpudash.model.policy import EndAction
from gpudash.model.tunnel import TunnelState
from gpudash.providers.sandbox import control
from gpudash.providers.sandbox import record as records
from gpudash.providers.sandbox.record import Power

TESTS = Path(__file__).parent.parent
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    control.reset()


def open_session() -> Session:
    return Session.open(CONFIG, actor="test")


@pytest.fixture
def session(nothing_is_left: None) -> Iterator[Session]:
    with open_session() as opened:
        opened.poll(PATIENCE_S)
        yield opened


def drive(point: str, *what: str) -> subprocess.Popen[bytes]:
    """A process that does it and dies at that point."""
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    return subprocess.Popen([sys.executable, "-m", "support.killed_driver", point, *what], env=environment)


def all_dead(drivers: Iterable[subprocess.Popen[bytes]]) -> None:
    assert {driver.wait(2 * PATIENCE_S) for driver in drivers} == {-signal.SIGKILL}


def settle_all(session: Session, seconds: float = 2 * PATIENCE_S) -> None:
    """What the next session does: look, settle, drive, until nothing is open."""

    def quiet() -> bool:
        session.poll(PATIENCE_S)
        session.drive(PATIENCE_S)
        return not session.ledger.open_operations()

    eventually(quiet, "no operation is open any more", timeout_s=seconds, every_s=0.1)
    session.poll(PATIENCE_S)


def live_hosts() -> dict[str, str]:
    """What really exists, by the cloud's own records: name → id."""
    found = [records.read(host) for host in control.sandbox().hosts()]
    return {record.name: record.id for record in found if record.power is not Power.GONE}


def launch(session: Session, *names: str) -> list[InstanceKey]:
    """Guarded instances, brought up side by side."""
    (listing,) = session.offers(OfferFilter(instance_type="1x-t4", region="sandbox-east", spot=False), PATIENCE_S)
    for name in names:
        session.actions.launch(session.actions.plan_launch(listing.items[0], name=name))
    settle_all(session)
    session.read_hosts(PATIENCE_S)
    return [session.resolve(name).key for name in names]


def level(session: Session, key: InstanceKey) -> GuardLevel | None:
    session.read_hosts(PATIENCE_S, keys=[key])
    verdict = session.record(key).guard(session.clock.now())
    return verdict.level if verdict is not None else None


def lease(session: Session, key: InstanceKey) -> Callable[[], object]:
    """The deadline that the daemon itself answers, asked again at each call."""

    def ask() -> object:
        session.read_hosts(PATIENCE_S, keys=[key])
        record = session.record(key)
        assert record.status is not None
        return record.status.policy.lease_deadline

    return ask


# -- killed at every step ---------------------------------------------------------------------------------------------

LAUNCH_POINTS = {
    "intended": 0,
    "sent": 0,
    "called": 1,
    "accepted": 1,
    "step:booting": 1,
    "step:ssh": 1,
    "step:statusd": 1,
    "proved": 1,
}


def test_promise_02_a_launch_killed_at_any_step_is_one_guarded_instance_or_none() -> None:
    names = {point: point.replace(":", "-") for point in LAUNCH_POINTS}
    all_dead([drive(point, "launch", name) for point, name in names.items()])
    with open_session() as session:
        settle_all(session)
        rows = {record.instance.name: record.key.id for record in session.store.records.values()}
        assert rows == live_hosts(), "no orphan, and nothing that is not there"
        assert {point: int(name in rows) for point, name in names.items()} == LAUNCH_POINTS
        for record in list(session.store.records.values()):
            assert record.key in session.ledger.adopted()
            assert level(session, record.key) is GuardLevel.ARMED, record.instance.name


def test_promise_02_two_sessions_at_once_bring_up_one_instance_once() -> None:
    all_dead([drive("accepted", "launch", "shared")])
    others = [drive("never", "push", "shared") for _ in range(2)]
    with open_session() as session:
        settle_all(session)
        assert [other.wait(2 * PATIENCE_S) for other in others] == [0, 0]
        settle_all(session)
        assert len(live_hosts()) == 1
        assert level(session, session.resolve("shared").key) is GuardLevel.ARMED


@pytest.mark.parametrize("verb", ["terminate", "stop"])
def test_promise_01_an_end_killed_at_any_step_is_carried_through(session: Session, verb: str) -> None:
    points = ("intended", "sent", "called", "accepted")
    keys = launch(session, *points)
    all_dead([drive(point, verb, point) for point in points])
    with open_session() as later:
        settle_all(later)
        states = [later.store.records[key].instance.state for key in keys if key in later.store.records]
        assert states == ([] if verb == "terminate" else [InstanceState.STOPPED] * 4)
        assert live_hosts().keys() == (set() if verb == "terminate" else set(points))


def test_promise_06_an_extend_killed_at_any_step_arrives_and_the_guard_stays(session: Session) -> None:
    points = ("intended", "sent", "called", "proved")
    keys = launch(session, *points)
    until = session.record(keys[0]).wanted.lease_deadline + HOUR  # type: ignore[operator, union-attr]
    until = until.replace(microsecond=0)
    all_dead([drive(point, "extend", point, iso(until) or "") for point in points])
    with open_session() as later:
        settle_all(later)
        for key in keys:
            assert level(later, key) is GuardLevel.ARMED
            assert lease(later, key)() == until
            assert later.record(key).instance.tag_policy.lease_deadline == until  # type: ignore[union-attr]


def test_promise_07_a_push_killed_at_any_step_leaves_no_host_unguarded(session: Session) -> None:
    points = ("intended", "sent", "called", "proved")
    keys = launch(session, *points)
    until = session.record(keys[0]).wanted.lease_deadline + HOUR  # type: ignore[operator, union-attr]
    for key in keys:
        session.actions.extend(key, until.replace(microsecond=0))
    all_dead([drive(point, "push", point) for point in points])
    with open_session() as later:
        settle_all(later)
        for key in keys:
            assert level(later, key) is GuardLevel.ARMED
            assert lease(later, key)() == until.replace(microsecond=0), "a push loses no deadline"


def test_promise_07_a_start_killed_half_way_brings_the_guard_back(session: Session) -> None:
    points = ("sent", "called", "step:running")
    keys = launch(session, *(point.replace(":", "-") for point in points))
    for key in keys:
        session.actions.end(key, EndAction.STOP)
    settle_all(session)
    all_dead([drive(point, "start", point.replace(":", "-")) for point in points])
    with open_session() as later:
        settle_all(later)
        assert [level(later, key) for key in keys] == [GuardLevel.ARMED] * 3


def test_a_clock_that_runs_fast_changes_no_promise() -> None:
    """At 60×, cadences, holds and waits are real seconds, and a guard does not look stale between two polls."""
    control.clock().set_speed(60)
    with open_session() as session:
        session.poll(PATIENCE_S)
        (key,) = launch(session, "hasty")
        session.clock.sleep(2)
        verdict = session.record(key).guard(session.clock.now())
        assert verdict is not None
        assert verdict.level is GuardLevel.ARMED, verdict.reason
        assert session.store.health["sandbox", "sandbox-east"].state == "ok"
        held = session.actions.end(key, EndAction.TERMINATE, hold_s=6)
        session.clock.sleep(1)
        assert session.actions.advance(held).stage is Stage.INTENDED
        assert session.settle_until(held.id, PATIENCE_S).stage is Stage.PROVED


# -- every fault ------------------------------------------------------------------------------------------------------


@pytest.fixture
def worker(session: Session) -> InstanceKey:
    """One armed instance."""
    (key,) = launch(session, "worker")
    assert level(session, key) is GuardLevel.ARMED
    return key


def fault(name: str, on: bool = True) -> None:
    control.set_fault(name, on)


def row(session: Session, key: InstanceKey) -> Record:
    session.poll(PATIENCE_S)
    return session.record(key)


def row_keys(session: Session) -> set[InstanceKey]:
    session.poll(PATIENCE_S)
    return set(session.store.records)


@pytest.mark.parametrize("name", ["api-down", "rate-limit"])
def test_promise_03_a_cloud_that_refuses_keeps_its_rows_and_ends_are_retried(
    session: Session, worker: InstanceKey, name: str
) -> None:
    fault(name)
    confirmed = session.record(worker).listed_at
    assert row(session, worker).listed_at == confirmed
    assert session.store.health["sandbox", "sandbox-east"].error is not None
    end = session.actions.end(worker, EndAction.TERMINATE)
    assert end.stage is Stage.RETRYING
    assert exit_code(end) is ExitCode.UNPROVED
    assert row(session, worker).still_billing_since() is not None
    fault(name, on=False)
    assert session.actions.end(worker, EndAction.TERMINATE).id == end.id, "asked again now, not doubled"
    assert session.settle_until(end.id, PATIENCE_S).stage is Stage.PROVED
    assert live_hosts() == {}


def test_promise_03_a_cloud_that_hangs_delays_nothing_beyond_its_timeout(session: Session, worker: InstanceKey) -> None:
    fault("api-slow")
    session.poll(0.5)
    assert worker in session.store.records
    assert "no answer within" in (session.store.health["sandbox", "sandbox-east"].error or "")
    assert level(session, worker) is GuardLevel.ARMED, "hosts answer all the same"


def test_promise_03_empty_lists_delete_nothing_and_trigger_nothing(session: Session, worker: InstanceKey) -> None:
    fault("empty-list")
    for _ in range(3):
        row(session, worker)
        session.clock.sleep(0.8)
    assert session.record(worker).instance.state is InstanceState.RUNNING
    assert "empty" in (session.store.health["sandbox", "sandbox-east"].error or "")
    assert live_hosts() == {"worker": worker.id}


def test_promise_02_lost_replies_make_no_second_instance(session: Session) -> None:
    (listing,) = session.offers(OfferFilter(instance_type="1x-t4", region="sandbox-east", spot=False), PATIENCE_S)
    fault("lost-reply")
    operation = session.actions.launch(session.actions.plan_launch(listing.items[0], name="once"))
    assert operation.stage is Stage.AMBIGUOUS
    fault("lost-reply", on=False)
    assert session.settle_until(operation.id, PATIENCE_S).stage is Stage.PROVED
    assert list(live_hosts()) == ["once"]


def test_promise_02_no_capacity_launches_nothing(session: Session) -> None:
    (listing,) = session.offers(OfferFilter(instance_type="1x-t4", region="sandbox-east", spot=False), PATIENCE_S)
    fault("no-capacity")
    operation = session.actions.launch(session.actions.plan_launch(listing.items[0]))
    assert (operation.stage, exit_code(operation)) == (Stage.FAILED, ExitCode.FAILED)
    assert "InsufficientInstanceCapacity" in operation.detail
    assert live_hosts() == {}


def test_promise_01_an_end_without_effect_is_still_billing_until_it_works(
    session: Session, worker: InstanceKey
) -> None:
    fault("no-effect")
    end = session.actions.end(worker, EndAction.TERMINATE)
    eventually(lambda: session.settle_until(end.id, 2).stage is Stage.RETRYING, "it is asked for again")
    assert session.record(worker).still_billing_since() == end.requested_at
    fault("no-effect", on=False)
    session.actions.end(worker, EndAction.TERMINATE)
    assert session.settle_until(end.id, PATIENCE_S).stage is Stage.PROVED
    assert live_hosts() == {}


def test_promise_06_an_extend_over_a_cut_line_is_open_until_the_host_answers(
    session: Session, worker: InstanceKey
) -> None:
    until = session.record(worker).wanted.lease_deadline + HOUR  # type: ignore[operator, union-attr]
    fault("ssh-cut")
    operation = session.actions.extend(worker, until)
    assert (operation.stage, exit_code(operation)) == (Stage.ACCEPTED, ExitCode.UNPROVED)
    fault("ssh-cut", on=False)
    assert session.settle_until(operation.id, PATIENCE_S).stage is Stage.PROVED
    assert lease(session, worker)() == until


def test_promise_06_an_extend_while_the_instance_comes_up_is_not_lost(session: Session) -> None:
    (listing,) = session.offers(OfferFilter(instance_type="1x-t4", region="sandbox-east", spot=False), PATIENCE_S)
    order = session.actions.plan_launch(listing.items[0], name="young")
    launched = session.actions.launch(order)
    assert launched.key is not None
    session.poll(PATIENCE_S)
    until = order.policy.lease_deadline + HOUR  # type: ignore[operator]
    extend = session.actions.extend(launched.key, until)
    assert extend.stage is Stage.ACCEPTED
    settle_all(session)
    assert lease(session, launched.key)() == until
    assert level(session, launched.key) is GuardLevel.ARMED


def test_promise_11_a_supervisor_lets_go_of_an_instance_that_is_gone(session: Session, worker: InstanceKey) -> None:
    spawn(session.record(worker).instance, [(8000, None)], state_dir=session.state_dir)
    session.settle_until(session.actions.end(worker, EndAction.TERMINATE).id, PATIENCE_S)
    eventually(lambda: worker not in row_keys(session), "the row leaves")
    assert tunnels.listed(session.tunnels_dir) == []


def test_promise_07_a_killed_daemon_is_no_guard_and_a_push_brings_it_back(
    session: Session, worker: InstanceKey
) -> None:
    fault("statusd-killed")
    eventually(lambda: level(session, worker) is GuardLevel.NONE, "the dead daemon is noticed")
    assert session.store.totals(session.clock.now()).unguarded.usd > 0
    fault("statusd-killed", on=False)
    operation = session.settle_until(session.actions.push(worker).id, PATIENCE_S)
    assert operation.stage is Stage.PROVED, operation.detail
    assert level(session, worker) is GuardLevel.ARMED


def test_promise_05_a_broken_sensor_holds_the_host_awake_and_is_told(session: Session, worker: InstanceKey) -> None:
    fault("sensor-broken")

    def told() -> bool:
        session.read_hosts(PATIENCE_S, keys=[worker])
        status = session.record(worker).status
        return status is not None and bool(status.unknown) and bool(status.alarms)

    eventually(told, "the broken sensor is told", every_s=0.5)
    ends = session.record(worker).ends()
    assert ends is not None
    assert ends[1] == "lease", "an idle timeout that rests on a broken sensor ends nothing"


def test_a_spot_instance_that_is_taken_back_is_announced(session: Session) -> None:
    (listing,) = session.offers(OfferFilter(instance_type="1x-t4", region="sandbox-east", spot=True), PATIENCE_S)
    operation = session.actions.launch(session.actions.plan_launch(listing.items[0], name="cheap"))
    assert operation.key is not None
    fault("spot-notice")
    assert row(session, operation.key).instance.notice is not None


def test_promise_07_a_frozen_host_keeps_its_last_reading_with_its_age(session: Session, worker: InstanceKey) -> None:
    seen_at = session.record(worker).status_at
    fault("host-frozen")
    session.read_hosts(2, keys=[worker])
    record = session.record(worker)
    assert (record.status_at, record.status_problem is None) in {(seen_at, True), (seen_at, False)}
    later = session.clock.now() + timedelta(seconds=90)
    verdict = record.guard(later)
    assert verdict is not None
    assert verdict.level is GuardLevel.DEGRADED
    fault("host-frozen", on=False)


def test_promise_11_tunnels_come_back_where_they_were(worker: InstanceKey, session: Session) -> None:
    tunnel = tunnels.open_one(session, session.record(worker), 8000)
    session.close()
    with open_session() as later:
        later.poll(PATIENCE_S)
        assert tunnels.listed(later.tunnels_dir) == [], "none is left behind"
        tunnels.restore(later, later.record(worker))

        def up() -> bool:
            found = tunnels.listed(later.tunnels_dir)
            return [(t.remote, t.local, t.state) for t in found] == [(8000, tunnel.local, TunnelState.UP)]

        eventually(up, "the tunnel is up on the port it had")


def test_ready_starts_a_stopped_instance_and_says_where_its_service_answers(
    session: Session, worker: InstanceKey
) -> None:
    session.settle_until(session.actions.end(worker, EndAction.STOP).id, PATIENCE_S)
    told: list[str] = []
    url = ready(session, worker, timeout_s=PATIENCE_S, on_step=told.append)
    try:
        assert url.startswith("http://127.0.0.1:")
        assert told[0] == "starting worker"
        assert session.record(worker).instance.state is InstanceState.RUNNING
        status = parse_status(client(session.desk, session.record(worker), PATIENCE_S).status())
        assert "declared" in status.held_by, "it stays awake for its first request"
    finally:
        tunnels.close_some(session, worker)
