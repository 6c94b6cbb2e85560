"""Reading ``/status``: an older daemon says less, a newer one more."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudash.model.host import HostStatus, Verdict, parse_status
from gpudash.model.policy import EndAction

LEAST = {"version": "0.1", "now": "2026-03-01T12:00:00Z", "policy": {}}
FULL = LEAST | {
    "policy": {
        "lease_deadline": "2026-03-01T16:00:00Z",
        "hard_deadline": "2026-03-02T12:00:00+00:00",
        "idle_timeout_s": 1800,
        "idle_action": "terminate",
        "parked_timeout_s": 7200,
        "revision": 4,
    },
    "idle": {"idle_s": 12, "remaining_s": None, "held_by": ["gpu"], "unknown": ["net"]},
    "parked": {"parked_s": 0, "remaining_s": 7200},
    "awake_because": "GPU 0 at 97 %",
    "signals": [
        {"name": "gpu", "verdict": "active", "value": 97, "unit": "%", "threshold": 5, "age_s": 1.5, "detail": "GPU 0"},
        {"name": "net", "verdict": "unknown", "value": None},
    ],
    "gpus": [
        {
            "index": 0,
            "name": "H100",
            "util_pct": 97,
            "memory_used_mib": 70000,
            "processes": [{"pid": 7, "name": "python"}],
        },
        {"index": 1, "name": "H100", "util_pct": None},
    ],
    "alarms": [{"code": "sensor", "text": "net is broken"}],
    "ending": {"action": "stop", "reason": "idle", "attempts": 2, "last_error": "500"},
    "enforcing": True,
    "end_method": "command",
    "ends_at": "2026-03-01T16:00:00Z",
    "ends_why": "lease",
    "events": [{"at": "2026-03-01T11:00:00Z", "kind": "start", "text": "started"}],
}


def test_reads_everything() -> None:
    """A few values of each part."""
    status = parse_status(FULL)
    assert status.policy.lease_deadline == datetime(2026, 3, 1, 16, tzinfo=UTC)
    assert status.policy.idle_timeout == timedelta(minutes=30)
    assert status.policy.idle_action is EndAction.TERMINATE
    assert status.unknown == ("net",)
    assert status.signals[0].value == 97
    assert status.gpus[0].processes[0].name == "python"
    assert status.ending is not None
    assert status.ending.attempts == 2


def test_an_old_daemon_says_little() -> None:
    """Missing is None, and never enforcing."""
    status = parse_status(LEAST)
    assert (status.idle_remaining_s, status.enforcing, status.end_method, status.gpus) == (None, False, None, ())


def test_a_new_daemon_says_more() -> None:
    """Unknown fields on every level are ignored."""
    more = FULL | {"quantum": {"qubits": 3}, "gpus": [FULL["gpus"][0] | {"fan_pct": 40}]}
    assert parse_status(more).gpus == parse_status(FULL).gpus[:1]


def test_a_verdict_of_tomorrow_is_unknown() -> None:
    """Unknown holds the host awake; it is never idle."""
    body = LEAST | {"signals": [{"name": "tpu", "verdict": "dreaming"}]}
    assert parse_status(body).signals[0].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("wrong", ["12", True, float("inf"), float("nan"), 10**30, [3]])
def test_a_number_that_is_none_is_not_said(wrong: object) -> None:
    """A senseless reading must not reach arithmetic on a screen."""
    body = FULL | {"idle": {"remaining_s": wrong}, "gpus": [{"index": 0, "util_pct": wrong}], "cpu_pct": wrong}
    status = parse_status(body)
    assert (status.idle_remaining_s, status.gpu_util_pct, status.cpu_pct) == (None, None, None)


def test_utilisation_leaves_out_silent_gpus() -> None:
    """A broken sensor is not a zero in the mean."""
    assert parse_status(FULL).gpu_util_pct == 97


def test_no_gpu_that_answers_has_no_utilisation() -> None:
    """None, not 0."""
    assert parse_status(LEAST).gpu_util_pct is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        LEAST | {"now": "2026-03-01T12:00:00"},
        LEAST | {"now": 5},
        LEAST | {"policy": None},
        LEAST | {"policy": {"idle_action": "explode"}},
        LEAST | {"policy": {"idle_timeout_s": 1e300}},
        LEAST | {"idle": [1]},
        LEAST | {"signals": [{}]},
        LEAST | {"signals": 3},
    ],
)
def test_what_is_no_status_is_a_value_error(body: object) -> None:
    """And nothing else, because one bad host must not end a poll."""
    with pytest.raises(ValueError, match=r".+"):
        parse_status(body)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(FULL)), json).map(lambda wrong: FULL | wrong))
def test_any_json_reads_or_is_a_value_error(body: dict[str, object]) -> None:
    """Whatever a host sends."""
    with contextlib.suppress(ValueError):
        assert isinstance(parse_status(body), HostStatus)
