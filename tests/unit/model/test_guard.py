"""Promise 7: a guard is proved, not assumed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gpudash.model.guard import FRESH_FOR, GuardLevel, judge
from gpudash.model.host import Ending, HostStatus, parse_status
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.policy import EndAction, Policy

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = InstanceKey("lab", "east", "i-1")
LIMITS = Policy(NOON + HOUR, NOON + 8 * HOUR, timedelta(minutes=30))
NO_LIMITS = Policy()
ONLY_IDLE = Policy(idle_timeout=HOUR)
MOMENT_AGO = NOON - timedelta(seconds=5)


def instance(state: InstanceState = InstanceState.RUNNING) -> Instance:
    return Instance(KEY, "lambda", "one", state, str(state))


def status(policy: Policy = LIMITS, **changes: object) -> HostStatus:
    base = parse_status({"version": "1", "now": "2026-03-01T12:00:00Z", "policy": {}})
    return replace(base, **{"policy": policy, "enforcing": True, "end_method": "command", **changes})


CASES = {
    "policy read back": (LIMITS, status(), MOMENT_AGO, GuardLevel.ARMED, "read back 5 s ago"),
    "nobody decided, the host has limits": (None, status(), MOMENT_AGO, GuardLevel.ARMED, "read back"),
    "nothing known": (None, None, None, GuardLevel.NONE, "no statusd, no deadline"),
    "decided, never pushed": (LIMITS, None, None, GuardLevel.NONE, "never answered"),
    "an empty policy, never pushed": (NO_LIMITS, None, None, GuardLevel.NONE, "no deadline"),
    "host without limits": (LIMITS, status(NO_LIMITS), MOMENT_AGO, GuardLevel.NONE, "without a lease"),
    "silent": (LIMITS, status(), NOON - timedelta(seconds=61), GuardLevel.DEGRADED, "silent for 61 s"),
    "just fresh": (LIMITS, status(), NOON - FRESH_FOR, GuardLevel.ARMED, "60 s ago"),
    "reports only": (LIMITS, status(enforcing=False), MOMENT_AGO, GuardLevel.DEGRADED, "not enforce"),
    "can end itself": (
        LIMITS,
        status(can_end=frozenset({EndAction.TERMINATE, EndAction.STOP})),
        MOMENT_AGO,
        GuardLevel.ARMED,
        "5 s ago; can stop and terminate itself",
    ),
    "has no way": (
        LIMITS,
        status(enforcing=False, can_end=frozenset()),
        MOMENT_AGO,
        GuardLevel.DEGRADED,
        "cannot end itself: the watchdog must",
    ),
    "its ways do not work": (
        LIMITS,
        status(enforcing=False, can_end=frozenset(), end_problems=("ec2: this instance has no instance role",)),
        MOMENT_AGO,
        GuardLevel.DEGRADED,
        "the watchdog must (ec2: this instance has no instance role)",
    ),
    "can do less than its limits ask": (
        LIMITS,
        status(enforcing=False, can_end=frozenset({EndAction.STOP}), end_problems=("ec2: no answer",)),
        MOMENT_AGO,
        GuardLevel.DEGRADED,
        "can stop itself, but not as its limits ask (ec2: no answer)",
    ),
    "cannot end it": (LIMITS, status(end_method=None), MOMENT_AGO, GuardLevel.DEGRADED, "no way to end"),
    "its end fails": (
        LIMITS,
        status(ending=Ending("stop", "lease", 3, "403 Forbidden")),
        MOMENT_AGO,
        GuardLevel.DEGRADED,
        "403 Forbidden",
    ),
    "its end goes well": (LIMITS, status(ending=Ending("stop", "lease", 1, None)), MOMENT_AGO, GuardLevel.ARMED, ""),
    "another lease": (
        replace(LIMITS, lease_deadline=NOON + 2 * HOUR),
        status(),
        MOMENT_AGO,
        GuardLevel.DEGRADED,
        "other limits",
    ),
    "a lease that was lost": (
        LIMITS,
        status(replace(LIMITS, lease_deadline=None)),
        MOMENT_AGO,
        GuardLevel.DEGRADED,
        "other",
    ),
    "another hard deadline": (replace(LIMITS, hard_deadline=None), status(), MOMENT_AGO, GuardLevel.DEGRADED, "other"),
    "another idle timeout": (replace(LIMITS, idle_timeout=HOUR), status(), MOMENT_AGO, GuardLevel.DEGRADED, "other"),
    "another idle action": (
        replace(LIMITS, idle_action=EndAction.TERMINATE),
        status(),
        MOMENT_AGO,
        GuardLevel.DEGRADED,
        "other limits",
    ),
    "an idle action without a timeout": (
        replace(LIMITS, idle_timeout=None, idle_action=EndAction.TERMINATE),
        status(replace(LIMITS, idle_timeout=None)),
        MOMENT_AGO,
        GuardLevel.ARMED,
        "",
    ),
    "fractions of a second that JSON does not carry": (
        replace(LIMITS, lease_deadline=NOON + HOUR + timedelta(microseconds=123456)),
        status(),
        MOMENT_AGO,
        GuardLevel.ARMED,
        "",
    ),
    "broken sensor under a lease": (LIMITS, status(unknown=("gpu",)), MOMENT_AGO, GuardLevel.ARMED, ""),
    "broken sensor, only an idle timeout": (
        ONLY_IDLE,
        status(ONLY_IDLE, unknown=("gpu", "net")),
        MOMENT_AGO,
        GuardLevel.DEGRADED,
        "broken sensor (gpu, net)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    """Level and reason of one piece of evidence."""
    wanted, answer, seen_at, level, reason = CASES[name]
    verdict = judge(instance(), wanted, answer, seen_at, NOON)
    assert verdict is not None
    assert verdict.level is level
    assert reason in verdict.reason


@pytest.mark.parametrize("state", InstanceState)
def test_only_what_bills_needs_a_guard(state: InstanceState) -> None:
    """In doubt it bills, and an unguarded one is red."""
    verdict = judge(instance(state), None, None, None, NOON)
    assert (verdict is None) == (state in {InstanceState.STOPPED, InstanceState.HIBERNATED, InstanceState.TERMINATED})
