"""Promise 6: a deadline cannot be lost or stretched."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudash.errors import Refused
from gpudash.model.policy import Policy

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    hard = draw(st.none() | moments)
    lease = draw(st.none() | moments)
    if lease and hard:
        lease = min(lease, hard)
    return Policy(lease, hard, revision=draw(st.integers(1, 99)))


@given(policies(), moments)
def test_a_lease_never_passes_the_hard_deadline_nor_shrinks(policy: Policy, until: datetime) -> None:
    """Whatever is asked: it moves to that moment within the limits, or is refused and stays."""
    try:
        after = policy.extended(until)
    except Refused:
        beyond = policy.hard_deadline is not None and until > policy.hard_deadline
        shorter = policy.lease_deadline is not None and until < policy.lease_deadline
        assert beyond or shorter
        return
    assert after.lease_deadline == until
    assert after.hard_deadline == policy.hard_deadline
    assert policy.hard_deadline is None or until <= policy.hard_deadline
    assert policy.lease_deadline is None or until >= policy.lease_deadline


@given(policies(), st.lists(moments, max_size=6))
def test_extends_again_change_nothing(policy: Policy, wishes: list[datetime]) -> None:
    """Each wish twice is each wish once, revision included."""
    once = twice = policy
    for until in wishes:
        with suppress(Refused):
            once = once.extended(until)
        for _ in range(2):
            with suppress(Refused):
                twice = twice.extended(until)
    assert once == twice


def test_an_extend_is_a_new_revision() -> None:
    """The host keeps the highest it has seen."""
    assert Policy(NOON, revision=3).extended(NOON + HOUR).revision == 4


def test_the_same_moment_is_the_same_policy() -> None:
    """The very object, so that nothing downstream sees a change."""
    policy = Policy(NOON)
    assert policy.extended(NOON) is policy


def test_a_refusal_says_how_much_is_left() -> None:
    """With the hard deadline in it."""
    with pytest.raises(Refused, match=r"2026-03-01 14:00 UTC.*At most 2h more"):
        Policy(NOON, NOON + 2 * HOUR).extended(NOON + 3 * HOUR)


def test_a_refusal_at_the_limit_says_no_more() -> None:
    """Nothing is left to extend by."""
    with pytest.raises(Refused, match="No more is allowed"):
        Policy(NOON, NOON).extended(NOON + HOUR)


def test_no_limits_limit_nothing() -> None:
    """Such a policy guards nothing."""
    assert not Policy().limits_anything
    assert Policy(idle_timeout=HOUR).limits_anything
