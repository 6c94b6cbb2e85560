"""A policy as tags, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gpudash.model.policy import EndAction, Policy
from gpudash.model.tags import policy_tags, tagged_policy

MOMENTS = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
LENGTHS = st.none() | st.integers(1, 10**7).map(lambda seconds: timedelta(seconds=seconds))
ACTIONS = st.sampled_from(EndAction)


@given(st.builds(Policy, MOMENTS, MOMENTS, LENGTHS, ACTIONS, ACTIONS, LENGTHS, st.integers(1, 10**6)))
def test_every_policy_survives_its_tags(policy: Policy) -> None:
    """Nothing is lost, whatever is set."""
    assert tagged_policy(policy_tags(policy)) == policy


def test_no_tags_is_no_policy() -> None:
    """An instance nobody tagged has none, and not an empty one."""
    assert tagged_policy({"gpudash:managed": "true", "Name": "x"}) is None


def test_unreadable_tags_prove_nothing() -> None:
    """A deadline that is no time is no deadline."""
    assert tagged_policy({"gpudash:lease-deadline": "tomorrow"}) is None
    assert tagged_policy({"gpudash:idle-timeout": "half an hour"}) is None
