"""What a listing proves about an open operation. Pure: an operation and a listing in, the operation's next state out.

Each function answers the same object where the listing proves nothing new. The history that a proof needs (since when
absent, when asked) stands in the operation's parameters, so it survives a restart of the program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpudash.fleet import steps
from gpudash.fleet.absence import is_proved
from gpudash.fleet.desk import SENT_AT, moment, with_params
from gpudash.fleet.outcome import ERROR, NOT_LAUNCHED
from gpudash.model.capability import Verb
from gpudash.model.instance import Instance, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.operation import Operation, Stage

ABSENT_SINCE = "absent_since"
STARTED_AT_SEEN = "started_at_seen"
"""Parameter of an end: the instance's last start when the end was asked for."""

LAUNCHED_AT = "launched_at"
"""Parameter of an end: when it was launched, where no listing showed it when the end was asked for."""

WENT_DOWN = "went_down"
"""Parameter of a restart: a listing showed it on its way."""

REARM = "rearm"
"""Parameter of a start or restart: the instance has limits, so it is not done before its guard is back."""

_GOAL = {
    Verb.STOP: {InstanceState.STOPPED, InstanceState.HIBERNATED},
    Verb.HIBERNATE: {InstanceState.STOPPED, InstanceState.HIBERNATED},
    Verb.TERMINATE: set[InstanceState](),
}
_LEAVING = frozenset({InstanceState.STOPPING, InstanceState.TERMINATING})
_COMING = frozenset({InstanceState.PENDING, InstanceState.STARTING})


@dataclass(frozen=True, slots=True)
class Evidence:
    """One listing, and how much weight it has."""

    listing: Listing[Instance]
    needed: timedelta
    """How long an absence must last to prove anything (see `absence`)."""
    launch_grace: timedelta
    """How long after a launch a cloud may not list what it made."""
    effect_grace: timedelta
    """How long after an end was accepted an unchanged instance is not suspicious."""
    leaving_grace: timedelta
    """How long an instance may be on its way down before the end is asked for again."""
    start_grace: timedelta
    """How long after a start an instance may still look stopped."""
    retry_at: Callable[[int], datetime]
    """When to ask again after so many attempts."""

    @property
    def asked_at(self) -> datetime:
        return self.listing.asked_at

    def find(self, operation: Operation) -> Instance | None:
        """The instance that the operation is about."""
        for item in self.listing.items:
            if item.key == operation.key or (operation.token is not None and item.launch_token == operation.token):
                return item
        return None


def settle(operation: Operation, evidence: Evidence) -> Operation:
    """The operation after this listing."""
    sent_at = moment(operation, SENT_AT)
    if not operation.stage.is_open or sent_at is None or evidence.asked_at < sent_at:
        return _settle_unsent(operation, evidence)
    if operation.verb is Verb.LAUNCH:
        return _settle_launch(operation, evidence, sent_at)
    if operation.verb in _GOAL:
        return _settle_end(operation, evidence, sent_at)
    if operation.verb is Verb.START:
        return _settle_start(operation, evidence, sent_at)
    if operation.verb is Verb.RESTART:
        return _settle_restart(operation, evidence, sent_at)
    return _settle_on_host(operation, evidence)


def _settle_unsent(operation: Operation, evidence: Evidence) -> Operation:
    """Nothing was sent, so the only thing a listing can prove is that there is nothing left to send it to."""
    on_host = operation.stage.is_open and operation.verb not in {Verb.LAUNCH, Verb.START, Verb.RESTART, *_GOAL}
    return _settle_on_host(operation, evidence) if on_host else operation


# -- launches ---------------------------------------------------------------------------------------------------------


def _settle_launch(operation: Operation, evidence: Evidence, sent_at: datetime) -> Operation:
    found = evidence.find(operation)
    if operation.key is None:
        return _found_by_token(operation, found) if found else _not_found(operation, evidence, sent_at)
    if found is None:
        return _launched_but_gone(operation, evidence, sent_at)
    if found.state.is_terminal:
        detail = f"the instance ended ({found.provider_state}) before its guard was armed"
        return _fail(operation, detail)
    params = with_params(operation, **{ABSENT_SINCE: None})
    return operation if params == operation.params else replace(operation, params=params)


def _found_by_token(operation: Operation, found: Instance) -> Operation:
    return replace(
        operation,
        stage=Stage.ACCEPTED,
        key=found.key,
        region=found.key.region,
        name=operation.name or found.name,
        detail="the answer was lost; found by its token",
        next_try_at=None,
        steps=steps.at(operation.steps, "booting", "found by its token"),
        params=with_params(operation, **{ABSENT_SINCE: None}),
    )


def _not_found(operation: Operation, evidence: Evidence, sent_at: datetime) -> Operation:
    looked = _look_for_absence(operation, evidence)
    over = evidence.asked_at - sent_at >= evidence.launch_grace
    if looked.is_proved and over:
        return _fail(
            looked.operation, "no answer came, and two good listings show that nothing was launched", NOT_LAUNCHED
        )
    return looked.operation


def _launched_but_gone(operation: Operation, evidence: Evidence, sent_at: datetime) -> Operation:
    looked = _look_for_absence(operation, evidence)
    over = evidence.asked_at - sent_at >= evidence.launch_grace
    if looked.is_proved and over:  # though it was seen: one program may be shown it before another
        return _fail(looked.operation, "the instance is gone from two good listings before its guard was armed")
    return looked.operation


# -- ends -------------------------------------------------------------------------------------------------------------


def _settle_end(operation: Operation, evidence: Evidence, sent_at: datetime) -> Operation:
    found = evidence.find(operation)
    if found is None:
        looked = _look_for_absence(operation, evidence)
        launched = moment(operation, LAUNCHED_AT)
        may_be_late = launched is not None and evidence.asked_at - launched < evidence.launch_grace
        if not looked.is_proved or may_be_late:
            return looked.operation
        return _prove(looked.operation, "absent from two good listings")
    operation = _present(operation)
    if operation.verb is Verb.HIBERNATE and found.state is InstanceState.STOPPED:
        return _fail(operation, "its cloud stopped it without keeping its memory; its disk is there")
    if found.state.is_terminal or found.state in _GOAL[operation.verb]:
        return _prove(operation, f"the cloud says {found.provider_state or found.state.value}")
    if was_started_since(operation, found):
        return close_superseded(operation, "it was started again since")
    waited = evidence.asked_at - sent_at
    grace = evidence.leaving_grace if found.state in _LEAVING else evidence.effect_grace
    if operation.stage is Stage.RETRYING or waited < grace:
        return operation
    detail = f"asked {operation.attempts}×, and it is still {found.provider_state or found.state.value}"
    return replace(operation, stage=Stage.RETRYING, detail=detail, next_try_at=evidence.retry_at(operation.attempts))


def was_started_since(operation: Operation, found: Instance) -> bool:
    """Its last start is another one, and later, than when the end was asked for. Both, because clocks differ.

    Never for a terminate: some clouds start a container again by themselves, and what was to be gone bills on.
    """
    if operation.verb is Verb.TERMINATE or found.started_at is None or found.state in _LEAVING:
        return False
    seen = moment(operation, STARTED_AT_SEEN)
    return seen is not None and found.started_at > seen and found.started_at > operation.requested_at


def close_superseded(operation: Operation, why: str) -> Operation:
    """The person wants something else by now; nothing more is sent."""
    return replace(
        operation,
        stage=Stage.CANCELLED,
        detail=f"{why}; this {operation.verb.value} no longer stands",
        next_try_at=None,
    )


# -- starts, and what happens on hosts --------------------------------------------------------------------------------


def _settle_start(operation: Operation, evidence: Evidence, sent_at: datetime) -> Operation:
    found = evidence.find(operation)
    if found is None:
        looked = _look_for_absence(operation, evidence)
        return _fail(looked.operation, "the instance is gone") if looked.is_proved else looked.operation
    operation = _present(operation)
    if found.state is InstanceState.RUNNING:
        return _running_again(operation, f"the cloud says {found.provider_state or found.state.value}")
    if found.state.is_terminal or found.state is InstanceState.ERROR:
        return _fail(operation, f"the cloud says {found.provider_state or found.state.value}")
    if found.state in _COMING:
        return operation if operation.stage is Stage.ACCEPTED else replace(operation, stage=Stage.ACCEPTED)
    waited = evidence.asked_at - sent_at
    if operation.stage in {Stage.AMBIGUOUS, Stage.INTENDED} and waited >= evidence.effect_grace:
        return _start_again(operation, evidence)
    if waited < evidence.start_grace:
        return operation
    return _fail(operation, f"asked, but it is still {found.provider_state or found.state.value}")


def _settle_restart(operation: Operation, evidence: Evidence, sent_at: datetime) -> Operation:
    """Back once it was seen to go down or to have a later start; where a cloud shows neither, after the start's grace.

    Without an answer only having been down proves that it happened; it is not asked again.
    """
    found = evidence.find(operation)
    if found is None:
        looked = _look_for_absence(operation, evidence)
        return _fail(looked.operation, "the instance is gone") if looked.is_proved else looked.operation
    operation, word = _present(operation), found.provider_state or found.state.value
    if found.state.is_terminal or found.state in {InstanceState.STOPPED, InstanceState.HIBERNATED}:
        return _fail(operation, f"the cloud says {word}")
    waited = evidence.asked_at - sent_at
    began = found.started_at is not None and found.started_at > operation.requested_at
    if found.state is not InstanceState.RUNNING and found.state is not InstanceState.ERROR:
        params = with_params(operation, **{WENT_DOWN: True})
        return replace(operation, stage=Stage.ACCEPTED, params=params, detail=f"the cloud says {word}")
    if (
        operation.params.get(WENT_DOWN)
        or began
        or (operation.stage is Stage.ACCEPTED and waited >= evidence.start_grace)
    ):
        if found.state is InstanceState.RUNNING:
            return _running_again(operation, f"the cloud says {word}")
        return _fail(operation, f"the cloud says {word}") if waited >= evidence.leaving_grace else operation
    if operation.stage is Stage.AMBIGUOUS and waited >= evidence.start_grace:
        return _fail(operation, "no answer came, and it did not go down; it was not asked again")
    return operation


def _start_again(operation: Operation, evidence: Evidence) -> Operation:
    """No answer came and nothing happened. A start asked twice is one start, so for some minutes it is asked again."""
    if evidence.asked_at - operation.requested_at >= evidence.leaving_grace:
        return _fail(operation, "no answer came, and it was not started")
    detail = "no answer came, and it was not started; asked again"
    return replace(operation, stage=Stage.RETRYING, detail=detail, next_try_at=None)


def _running_again(operation: Operation, detail: str) -> Operation:
    """Proved for a stranger; one of ours still has to show that its guard came back."""
    if not operation.params.get(REARM):
        return _prove(operation, detail)
    if steps.is_done(operation.steps, "running"):
        return operation
    progress = steps.at(operation.steps, "armed")
    return replace(operation, stage=Stage.ACCEPTED, detail=f"{detail}; looking for its guard", steps=progress)


def _settle_on_host(operation: Operation, evidence: Evidence) -> Operation:
    found = evidence.find(operation)
    if found is None:
        looked = _look_for_absence(operation, evidence)
        return close_superseded(looked.operation, "the instance is gone") if looked.is_proved else looked.operation
    if found.state.is_terminal:
        return close_superseded(operation, "the instance has ended")
    return _present(operation)


# -- shared -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Looked:
    operation: Operation
    is_proved: bool


def _look_for_absence(operation: Operation, evidence: Evidence) -> _Looked:
    """Count one more listing without it; incomplete ones do not count."""
    if not evidence.listing.complete:
        return _Looked(operation, False)
    since = moment(operation, ABSENT_SINCE)
    if since is None:
        params = with_params(operation, **{ABSENT_SINCE: evidence.asked_at})
        return _Looked(replace(operation, params=params), False)
    return _Looked(operation, is_proved(since, evidence.asked_at, evidence.needed))


def _present(operation: Operation) -> Operation:
    if ABSENT_SINCE not in operation.params:
        return operation
    return replace(operation, params=with_params(operation, **{ABSENT_SINCE: None}))


def _prove(operation: Operation, detail: str) -> Operation:
    done = tuple(replace(step, state=steps.DONE) for step in operation.steps)
    return replace(operation, stage=Stage.PROVED, detail=detail, next_try_at=None, steps=done)


def _fail(operation: Operation, detail: str, error: str | None = None) -> Operation:
    return replace(
        operation,
        stage=Stage.FAILED,
        detail=detail,
        next_try_at=None,
        steps=steps.failed(operation.steps, detail),
        params=with_params(operation, **({ERROR: error} if error else {})),
    )
