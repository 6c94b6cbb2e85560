"""Which instances the watchdog finds due, and what it leaves alone (promise 8: the guards harm nobody)."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from gpudash.fleet.health import Health
from gpudash.fleet.record import Record
from gpudash.model.host import HostStatus
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.money import Price
from gpudash.model.policy import EndAction, Policy
from gpudash.watchdog.judge import Limit, Verdict, judge
from tests.conftest import NOON

KEY = InstanceKey("lambda", "us-west-1", "i-1")
LANE = ("lambda", "us-west-1")
HEALTHY = {LANE: Health(*LANE, state="ok", as_of=NOON)}
OVER = Policy(lease_deadline=NOON - timedelta(hours=1), hard_deadline=NOON + timedelta(hours=1))


def a_record(policy: Policy | None = OVER, **changes: object) -> Record:
    instance = Instance(
        KEY, "lambda", "train", InstanceState.RUNNING, "active", managed=True, price=Price(Decimal("2.49"), "instance")
    )
    return replace(Record(instance, NOON, policy=policy, wanted=policy), **changes)  # type: ignore[arg-type]


def look(*records: Record, health: dict[tuple[str, str], Health] = HEALTHY, now: datetime = NOON) -> Verdict:
    return judge(records, health, asked_at=NOON, now=now)


def test_lease_and_grace_over_is_due() -> None:
    """An hour past its lease, confirmed just now: due, by the action its policy names."""
    (due,) = look(a_record()).due
    assert (due.limit, due.action, due.overdue) == (Limit.LEASE, EndAction.TERMINATE, timedelta(hours=1))


def test_grace_is_the_hosts_own_time() -> None:
    """A lease that ended a minute ago is still the daemon's business."""
    policy = replace(OVER, lease_deadline=NOON - timedelta(minutes=1))
    assert look(a_record(policy)).due == ()


def test_hard_deadline_has_no_grace() -> None:
    """Past the hard deadline it is due at once, even with a lease beyond."""
    policy = Policy(lease_deadline=NOON + timedelta(hours=1), hard_deadline=NOON - timedelta(seconds=1))
    assert look(a_record(policy)).due[0].limit is Limit.HARD


def test_longest_overdue_comes_first() -> None:
    """Where the cap cuts, the worst is inside it."""
    later = replace(OVER, lease_deadline=NOON - timedelta(hours=3))
    other = a_record(later)
    other = replace(other, instance=replace(other.instance, key=replace(KEY, id="i-2")))
    assert [due.key.id for due in look(a_record(), other).due] == ["i-2", "i-1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"instance": replace(a_record().instance, managed=False)},
        {"instance": replace(a_record().instance, state=InstanceState.STOPPED)},
        {"instance": replace(a_record().instance, state=InstanceState.TERMINATING)},
        {"wanted": None},
        {"wanted": replace(OVER, lease_deadline=NOON + timedelta(minutes=1))},
        {"wanted": Policy(idle_timeout=timedelta(minutes=1))},
    ],
    ids=["not ours", "stopped", "ending", "no deadline", "lease runs", "only idle"],
)
def test_left_alone(changes: dict[str, object]) -> None:
    """Not managed, not billing, already ending, or within its limits."""
    assert look(a_record(**changes)).due == ()


def test_extend_made_on_the_host_counts(a_status: HostStatus) -> None:
    """The later of what we decided and what its daemon enforces holds."""
    assert look(a_record(status=a_status, status_at=NOON - timedelta(hours=1))).due == ()


@pytest.mark.parametrize(
    ("record", "health"),
    [
        (a_record(listed_at=NOON - timedelta(seconds=1)), HEALTHY),
        (a_record(missing_since=NOON), HEALTHY),
        (a_record(), {}),
        (a_record(), {LANE: Health(*LANE, state="error", error="503")}),
        (a_record(), {LANE: Health(*LANE, state="ok", as_of=NOON, error="page 2 of 3 failed")}),
    ],
    ids=["not in this list", "missing", "never answered", "list failed", "list partial"],
)
def test_unsure_is_an_alarm_and_never_an_end(record: Record, health: dict[tuple[str, str], Health]) -> None:
    """A failing, partial or empty list ends nothing, and somebody hears of it."""
    found = look(record, health=health)
    assert found.due == ()
    assert any("no action" in alarm for alarm in found.alarms)


def test_silent_daemon_alone_ends_nothing() -> None:
    """A missing heartbeat is no deadline."""
    record = a_record(replace(OVER, lease_deadline=NOON + timedelta(hours=1)), status_problem="no answer")
    assert look(record) == Verdict(1, (), ())


def test_managed_without_a_deadline_is_told() -> None:
    """Nothing here will end it, so a person must know."""
    found = look(a_record(policy=None))
    assert found.alarms == ("train (lambda:i-1) is managed and has no deadline: nothing here will end it",)


@pytest.fixture
def a_status() -> HostStatus:
    """A daemon whose lease was extended on the host."""
    policy = replace(OVER, lease_deadline=NOON + timedelta(minutes=30), revision=2)
    return HostStatus(
        version="1", now=NOON, policy=policy, idle_s=0, idle_remaining_s=None, parked_s=None, parked_remaining_s=None,
        awake_because=None, held_by=(), unknown=(), signals=(), gpus=(), alarms=(), phase="watching", ending=None,
        enforcing=True, end_method="command", ends_at=None, ends_why=None,
    )  # fmt: skip
