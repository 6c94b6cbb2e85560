"""Tags read and written: ours, and those of spawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudash.errors import UsageError
from gpudash.model.policy import EndAction, Policy
from gpudash.providers.aws import tags

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("24h", 86400), ("1h30m", 5400), ("8h0m0s", 28800), ("1.5h", 5400), ("90s", 90), ("500ms", 0.5)],
)
def test_go_durations(text: str, seconds: float) -> None:
    """As Go writes them."""
    assert tags.parse_go_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2d", "1h ", "-1h", "1", "h", "1h!", "1hh"])
def test_what_go_would_not_read_is_none(text: str) -> None:
    """Days do not exist there."""
    assert tags.parse_go_duration(text) is None


def test_spawn_deadline_wins_over_its_ttl() -> None:
    """Its agent ignores the TTL where a deadline stands."""
    marks = {"spawn:ttl": "4h", "spawn:ttl-deadline": "2026-03-01T20:00:00Z"}
    policy = tags.read_policy(marks, START)
    assert policy == Policy(
        lease_deadline=START + timedelta(hours=8), idle_action=EndAction.TERMINATE, lease_action=EndAction.TERMINATE
    )
    assert not tags.deadline_is_estimated(marks)


def test_spawn_ttl_alone_is_an_estimate_from_the_last_start() -> None:
    """Nothing tells when its agent began to count."""
    policy = tags.read_policy({"spawn:ttl": "1h30m"}, START)
    assert policy is not None
    assert policy.lease_deadline == START + timedelta(minutes=90)
    assert tags.deadline_is_estimated({"spawn:ttl": "1h30m"})


@pytest.mark.parametrize(
    ("marks", "action"), [({}, EndAction.TERMINATE), ({"spawn:hibernate-on-idle": "true"}, EndAction.HIBERNATE)]
)
def test_spawn_idle_action_is_taken_for_the_worse(marks: dict[str, str], action: EndAction) -> None:
    """No tag tells stop from terminate."""
    policy = tags.read_policy({"spawn:idle-timeout": "45m", **marks}, START)
    assert policy is not None
    assert (policy.idle_timeout, policy.idle_action) == (timedelta(minutes=45), action)


def test_our_tags_win_over_spawns() -> None:
    """An adopted instance of that tool follows us."""
    marks = {"spawn:ttl": "1h", "gpudash:lease-deadline": "2026-03-02T00:00:00Z"}
    policy = tags.read_policy(marks, START)
    assert policy is not None
    assert policy.lease_deadline == datetime(2026, 3, 2, tzinfo=UTC)


def test_extension_writes_both_tags_that_spawn_reads() -> None:
    """Deadline and TTL agree, counted from the first launch."""
    written = tags.spawn_extension(START + timedelta(hours=10, seconds=5), START)
    assert written == {"spawn:ttl-deadline": "2026-03-01T22:00:05Z", "spawn:ttl": "10h0m5s"}


@given(st.integers(1, 10**7))
def test_ttl_that_is_written_is_read_back(seconds: int) -> None:
    """Whatever the length."""
    written = tags.spawn_extension(START + timedelta(seconds=seconds), START)
    assert tags.parse_go_duration(written["spawn:ttl"]) == timedelta(seconds=seconds)


@pytest.mark.parametrize("key", ["kubernetes.io/x", "with space", "", "aws:mine", "a" * 129, "ключ"])
def test_keys_that_an_instance_could_not_read_are_refused(key: str) -> None:
    """With tags in the metadata service EC2 takes fewer letters than elsewhere."""
    with pytest.raises(UsageError):
        tags.check_user_tags({key: "x"})


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=6))
def test_any_tags_give_a_policy_or_none(marks: dict[str, str]) -> None:
    """Strange values of strangers never break a listing."""
    keyed = {f"{prefix}{key}": value for key, value in marks.items() for prefix in ("spawn:", "gpudash:")}
    known = {key: next(iter(marks.values()), "") for key in ("spawn:ttl", "gpudash:revision", "gpudash:idle-timeout")}
    tags.read_policy({**keyed, **known}, START)
