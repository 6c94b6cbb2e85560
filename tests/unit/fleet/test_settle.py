"""Whatever lists and failures come, no wrong end is ever proved and no launch given up wrongly."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gpudash.fleet import steps
from gpudash.fleet.desk import SENT_AT, exact
from gpudash.fleet.settle import Evidence, settle
from gpudash.model.capability import Verb
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.operation import Operation, Stage

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CYCLE = timedelta(seconds=10)
KEY = InstanceKey("cloud", "here", "i-worker")
WORKER = Instance(KEY, "fake", "worker", InstanceState.RUNNING, "running", launch_token="token")
OTHER = replace(WORKER, key=InstanceKey("cloud", "here", "i-other"), launch_token=None)


def operation(verb: Verb, stage: Stage = Stage.ACCEPTED, **more: object) -> Operation:
    key = None if verb is Verb.LAUNCH else KEY
    base = Operation(
        "op", verb, "cloud", "here", stage, NOON, NOON, key, token="token" if verb is Verb.LAUNCH else None,
        attempts=1, steps=steps.begin(steps.SHORT), params={SENT_AT: exact(NOON)},
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]


def evidence(at: datetime, *items: Instance, complete: bool = True) -> Evidence:
    return Evidence(
        Listing("cloud", "here", items, complete, at, at),
        needed=CYCLE,
        launch_grace=6 * CYCLE,
        effect_grace=3 * CYCLE,
        leaving_grace=timedelta(minutes=5),
        start_grace=timedelta(minutes=1),
        retry_at=lambda attempts: at + timedelta(seconds=5 * attempts),
    )


alive = st.sampled_from([InstanceState.RUNNING, InstanceState.PENDING, InstanceState.STOPPING, InstanceState.UNKNOWN])
looks = st.lists(
    st.tuples(
        st.floats(0.1, 120),  # seconds since the last answer
        st.sampled_from(["seen", "seen", "partial with", "partial without", "missed once", "failed"]),
        alive,
    ),
    max_size=40,
)


@given(looks, st.sampled_from([Verb.STOP, Verb.TERMINATE, Verb.HIBERNATE]))
def test_whatever_comes_a_living_instance_is_never_proved_ended(
    history: list[tuple[float, str, InstanceState]], verb: Verb
) -> None:
    """Lists that fail, stop half-way, or leave it out once between two that show it: none of it is an end."""
    op, at, missed = operation(verb), NOON, False
    for seconds, kind, state in history:
        at += timedelta(seconds=seconds)
        if kind == "failed" or (kind == "missed once" and missed):
            continue
        missed = kind == "missed once" or (missed and kind == "partial without")
        items = (replace(WORKER, state=state), OTHER) if kind in {"seen", "partial with"} else (OTHER,)
        missed = False if kind in {"seen", "partial with"} else missed
        op = settle(op, evidence(at, *items, complete="partial" not in kind))
        assert op.stage in {Stage.ACCEPTED, Stage.RETRYING}


@given(looks)
def test_whatever_comes_a_launched_instance_is_found_or_still_looked_for(
    history: list[tuple[float, str, InstanceState]],
) -> None:
    """As long as no two good lists a cycle apart leave it out, a launch without an answer is not given up."""
    op, at, missed = operation(Verb.LAUNCH, Stage.AMBIGUOUS), NOON, False
    for seconds, kind, state in history:
        at += timedelta(seconds=seconds)
        if kind == "failed" or (kind == "missed once" and missed):
            continue
        shows = kind in {"seen", "partial with"}
        missed = kind == "missed once" or (missed and not shows)
        items = (replace(WORKER, state=state), OTHER) if shows else (OTHER,)
        op = settle(op, evidence(at, *items, complete="partial" not in kind))
        if shows:
            assert (op.stage, op.key) == (Stage.ACCEPTED, KEY)
        else:
            assert op.stage.is_open


@given(st.lists(st.floats(0.1, 60), min_size=1, max_size=30))
def test_a_gone_instance_is_proved_gone_exactly_when_the_rule_says(gaps: list[float]) -> None:
    op, at, first = operation(Verb.TERMINATE), NOON, None
    for gap in gaps:
        at += timedelta(seconds=gap)
        op = settle(op, evidence(at, OTHER))
        first = first or at
        assert (op.stage is Stage.PROVED) == (at - first >= CYCLE)
        if op.stage is Stage.PROVED:
            return


def test_nothing_new_is_the_same_object() -> None:
    op = operation(Verb.TERMINATE)
    assert settle(op, evidence(NOON + CYCLE, WORKER)) is op


def test_a_list_asked_before_the_request_proves_nothing() -> None:
    op = operation(Verb.TERMINATE)
    assert settle(op, evidence(NOON - CYCLE, OTHER)) is op


def test_a_closed_operation_stays_closed() -> None:
    op = operation(Verb.TERMINATE, Stage.CANCELLED)
    assert settle(op, evidence(NOON + CYCLE, OTHER)) is op


def test_one_on_its_way_down_is_given_minutes_before_it_is_asked_again() -> None:
    leaving = replace(WORKER, state=InstanceState.TERMINATING)
    op = operation(Verb.TERMINATE)
    assert settle(op, evidence(NOON + timedelta(minutes=4), leaving)) is op
    assert settle(op, evidence(NOON + timedelta(minutes=5), leaving)).stage is Stage.RETRYING


def test_a_start_that_shows_no_effect_has_failed_after_a_minute() -> None:
    stopped = replace(WORKER, state=InstanceState.STOPPED, provider_state="stopped")
    op = operation(Verb.START)
    assert settle(op, evidence(NOON + timedelta(seconds=59), stopped)) is op
    assert settle(op, evidence(NOON + timedelta(seconds=60), stopped)).stage is Stage.FAILED


def test_a_start_without_an_answer_or_effect_is_asked_again_for_a_few_minutes() -> None:
    stopped = replace(WORKER, state=InstanceState.STOPPED, provider_state="stopped")
    op = operation(Verb.START, Stage.AMBIGUOUS)
    assert settle(op, evidence(NOON + CYCLE, stopped)) is op
    assert settle(op, evidence(NOON + 3 * CYCLE, stopped)).stage is Stage.RETRYING
    assert settle(op, evidence(NOON + timedelta(minutes=5), stopped)).stage is Stage.FAILED


def test_what_was_to_happen_on_a_host_that_ended_is_closed() -> None:
    gone = replace(WORKER, state=InstanceState.TERMINATED)
    assert settle(operation(Verb.EXTEND), evidence(NOON + CYCLE, gone)).stage is Stage.CANCELLED
