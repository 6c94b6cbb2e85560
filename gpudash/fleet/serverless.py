"""Changes of serverless endpoints and their jobs: intent on disk, call, read back, outcome, as for instances.

| verb | asked again after a lost answer | proved by |
|---|---|---|
| scale | yes, some times: the same bounds again change nothing | the endpoint read back |
| purge | never: jobs that came later would go too | the cloud's own count, or an empty queue |
| submit | never: the job may wait already | the job read back |
| cancel | no: the job read back tells | the job read back |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from gpudash.errors import Ambiguous, AuthRefused, GpudashError, RateLimited, Refused, Unreachable, UsageError
from gpudash.fleet import permissions, steps
from gpudash.fleet.desk import SENT_AT, Desk, count, with_params
from gpudash.fleet.outcome import ERROR
from gpudash.fleet.pace import backoff_s
from gpudash.model.capability import Verb
from gpudash.model.endpoint import Bounds, Endpoint, Job, JobState
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.providers.base import Endpoints, HasEndpoints

VERBS = frozenset({Verb.SCALE, Verb.PURGE, Verb.SUBMIT, Verb.CANCEL})
MOST_TRIES = 8
"""How often bounds are asked for before it counts as failed: then a person should look, and nothing is retried."""
LOOK_FIRST_S, LOOK_MOST_S = 1.0, 30.0
LOOKS = "looks"
LOW, HIGH, IDLE, INPUT, JOB, REMOVED = "low", "high", "idle_timeout_s", "input", "job", "removed"
_LONGEST_IDLE_S = 3600


def of(desk: Desk, account: str) -> Endpoints:
    """The serverless side of an account.

    Raises:
        Refused: its cloud has none.
    """
    provider = desk.accounts[account]
    if not isinstance(provider, HasEndpoints):
        raise Refused(f"{account} has no serverless endpoints.", hint="RunPod has.")
    return provider.endpoints


def intend_scale(desk: Desk, endpoint: Endpoint, bounds: Bounds) -> Operation:
    """Write the intent to change worker bounds or idle timeout.

    Raises:
        UsageError: the bounds contradict each other or what the cloud takes.
        Refused: read-only.
    """
    permissions.check(desk, Verb.SCALE, endpoint.key.account)
    check_bounds(endpoint, bounds)
    params: dict[str, object] = {LOW: bounds.low, HIGH: bounds.high, IDLE: bounds.idle_timeout_s}
    return _begin(desk, Verb.SCALE, endpoint, f"asked for {bounds} of endpoint {endpoint.name}", params)


def check_bounds(endpoint: Endpoint, bounds: Bounds) -> None:
    """Refuse what cannot hold.

    Raises:
        UsageError: with what would.
    """
    if bounds == Bounds():
        raise UsageError("Nothing to change was named.", hint="Name min, max or the idle timeout.")
    low = endpoint.bounds.low if bounds.low is None else bounds.low
    high = endpoint.bounds.high if bounds.high is None else bounds.high
    if (bounds.low or 0) < 0 or (bounds.high or 0) < 0:
        raise UsageError("Fewer than no workers there cannot be.", hint="Name 0 or more.")
    if low is not None and high is not None and low > high:
        raise UsageError(f"At least {low} and at most {high} workers contradict each other.", hint="Change both.")
    if bounds.idle_timeout_s is not None and not 1 <= bounds.idle_timeout_s <= _LONGEST_IDLE_S:
        raise UsageError("An idle timeout lasts from 1 s to 1 h.", hint="Write it like 30s or 5m.")


def intend_purge(desk: Desk, endpoint: Endpoint) -> Operation:
    """Write the intent to take back all jobs that wait.

    Raises:
        Refused: read-only, or the endpoint has no queue.
    """
    _needs_queue(endpoint)
    permissions.check(desk, Verb.PURGE, endpoint.key.account)
    return _begin(desk, Verb.PURGE, endpoint, f"asked to purge the queue of {endpoint.name}", {})


def intend_submit(desk: Desk, endpoint: Endpoint, given: object) -> Operation:
    """Write the intent to queue one job. Its input is in the ledger until the job is known.

    Raises:
        Refused: read-only, or the endpoint has no queue.
    """
    _needs_queue(endpoint)
    permissions.check(desk, Verb.SUBMIT, endpoint.key.account)
    return _begin(desk, Verb.SUBMIT, endpoint, f"asked {endpoint.name} for a job", {INPUT: given})


def intend_cancel(desk: Desk, endpoint: Endpoint, job_id: str) -> Operation:
    """Write the intent to take one job back.

    Raises:
        Refused: read-only, or the endpoint has no queue.
    """
    _needs_queue(endpoint)
    permissions.check(desk, Verb.CANCEL, endpoint.key.account)
    return _begin(desk, Verb.CANCEL, endpoint, f"asked to cancel job {job_id} of {endpoint.name}", {JOB: job_id})


def advance(desk: Desk, operation: Operation) -> Operation:
    """Send it, or look whether it is so by now."""
    if operation.stage is Stage.INTENDED:
        if SENT_AT in operation.params:
            return _unanswered(desk, operation, "interrupted")
        if operation.id not in desk.fresh:
            return _fail(desk, operation, "interrupted before anything was asked for; nothing was changed")
        return _send(desk, operation)
    if operation.stage is Stage.RETRYING:
        return _send(desk, operation)
    return _look(desk, operation)


def _begin(desk: Desk, verb: Verb, endpoint: Endpoint, text: str, params: dict[str, object]) -> Operation:
    key = endpoint.key
    where = (key.account, key.region)
    told = {name: value for name, value in params.items() if value is not None}
    steps_to_do = steps.begin(steps.SHORT)
    return desk.begin(verb, where, text, key=key, name=endpoint.name, steps=steps_to_do, params=told)


def _needs_queue(endpoint: Endpoint) -> None:
    if not endpoint.has_queue:
        raise Refused(f"{endpoint.name} balances requests and has no queue of jobs.", hint="Ask its own URL.")


def _send(desk: Desk, operation: Operation) -> Operation:
    params = with_params(operation, **{SENT_AT: desk.clock.now(), ERROR: None})
    operation = desk.save(operation, attempts=operation.attempts + 1, next_try_at=None, params=params)
    assert operation.key is not None
    try:
        told = _CALLS[operation.verb](of(desk, operation.account), operation.key, operation)
    except Ambiguous as exc:
        return _unanswered(desk, operation, str(exc))
    except (Unreachable, RateLimited) as exc:
        if operation.verb is Verb.SCALE:
            return _again(desk, operation, exc)
        return _fail(desk, operation, f"{exc} Nothing was changed.", exc)
    except GpudashError as exc:
        return _fail(desk, operation, str(exc), exc)
    progress = steps.done(operation.steps, "asked", "", desk.clock.now())
    operation = desk.save(operation, stage=Stage.ACCEPTED, steps=progress, params=with_params(operation, **told))
    return _look(desk, operation)


def _unanswered(desk: Desk, operation: Operation, why: str) -> Operation:
    """No answer came: what can be looked up is looked up, what cannot be is said."""
    if operation.verb is Verb.SUBMIT:
        detail = f"{why} The job may wait in the queue; look at the queue before submitting it again."
        return _fail(desk, operation, detail, Ambiguous(why))
    return _look(desk, desk.save(operation, stage=Stage.ACCEPTED, detail=why))


def _look(desk: Desk, operation: Operation) -> Operation:
    """Read back; proved, or later again."""
    assert operation.key is not None
    try:
        outcome = _PROOFS[operation.verb](of(desk, operation.account), operation.key, operation)
    except AuthRefused as exc:
        return _fail(desk, operation, str(exc), exc)
    except GpudashError as exc:
        outcome = (None, f"cannot be read back yet: {exc}")
    proved, detail = outcome
    if proved is None:
        return _later(desk, operation, detail)
    if not proved:
        return _fail(desk, operation, detail)
    done = steps.all_done(operation.steps, desk.clock.now())
    params = with_params(operation, **{INPUT: None})
    return desk.save(operation, stage=Stage.PROVED, detail=detail, next_try_at=None, steps=done, params=params)


def _later(desk: Desk, operation: Operation, detail: str) -> Operation:
    looks = count(operation, LOOKS) + 1
    if looks >= MOST_TRIES:
        if operation.verb is Verb.SCALE and operation.attempts < MOST_TRIES:
            return _again(desk, operation, Unreachable(detail))
        return _fail(desk, operation, f"not proved: {detail}", Ambiguous(detail))
    wait = backoff_s(looks, first_s=LOOK_FIRST_S, most_s=LOOK_MOST_S)
    params = with_params(operation, **{LOOKS: looks})
    return desk.save(operation, detail=detail, next_try_at=desk.pace.after(wait), params=params)


def _again(desk: Desk, operation: Operation, exc: GpudashError) -> Operation:
    if operation.attempts >= MOST_TRIES:
        return _fail(desk, operation, f"given up after {operation.attempts} tries: {exc}", exc)
    wait = max(backoff_s(operation.attempts, first_s=LOOK_FIRST_S, most_s=LOOK_MOST_S), _asked_wait(exc))
    params = with_params(operation, **{LOOKS: None, ERROR: type(exc).__name__})
    when = desk.pace.after(wait)
    return desk.save(operation, stage=Stage.RETRYING, detail=str(exc), next_try_at=when, params=params)


def _asked_wait(exc: GpudashError) -> float:
    return exc.retry_after_s or 0.0 if isinstance(exc, RateLimited) else 0.0


def _fail(desk: Desk, operation: Operation, detail: str, exc: GpudashError | None = None) -> Operation:
    params = with_params(operation, **{ERROR: type(exc).__name__ if exc else None, INPUT: None})
    progress = steps.failed(operation.steps, detail)
    return desk.save(operation, stage=Stage.FAILED, detail=detail, next_try_at=None, params=params, steps=progress)


# -- what each verb asks, and what proves it ---------------------------------------------------------------------------

Told = dict[str, object]
Outcome = tuple[bool | None, str]
"""Whether it is so (None: not yet to be told), and the word on it."""


def bounds_of(operation: Operation) -> Bounds:
    """What a scale asked for."""
    return Bounds(*(cast("int | None", operation.params.get(name)) for name in (LOW, HIGH, IDLE)))


def _scale(endpoints: Endpoints, key: InstanceKey, operation: Operation) -> Told:
    endpoints.set_bounds(key, bounds_of(operation))
    return {}


def _purge(endpoints: Endpoints, key: InstanceKey, operation: Operation) -> Told:
    return {REMOVED: endpoints.purge(key)}


def _submit(endpoints: Endpoints, key: InstanceKey, operation: Operation) -> Told:
    return {JOB: endpoints.submit(key, operation.params.get(INPUT)).id}


def _cancel(endpoints: Endpoints, key: InstanceKey, operation: Operation) -> Told:
    endpoints.cancel(key, str(operation.params[JOB]))
    return {}


_CALLS: dict[Verb, Callable[[Endpoints, InstanceKey, Operation], Told]] = {
    Verb.SCALE: _scale, Verb.PURGE: _purge, Verb.SUBMIT: _submit, Verb.CANCEL: _cancel,
}  # fmt: skip


def _is_scaled(endpoints: Endpoints, key: InstanceKey, operation: Operation) -> Outcome:
    wanted, now = bounds_of(operation), endpoints.one(key).bounds
    pairs = ((wanted.low, now.low), (wanted.high, now.high), (wanted.idle_timeout_s, now.idle_timeout_s))
    if all(asked in (None, found) for asked, found in pairs):
        return True, f"now {now}"
    return None, f"the endpoint still says {now}"


def _is_purged(endpoints: Endpoints, key: InstanceKey, operation: Operation) -> Outcome:
    jobs = endpoints.one(key).jobs
    waiting = jobs.in_queue if jobs is not None else None
    removed = operation.params.get(REMOVED)
    if removed is not None:
        again = f"; {waiting} wait again" if waiting else ""
        return True, f"{removed} job{'' if removed == 1 else 's'} taken back{again}"
    if waiting == 0:
        return True, "the queue is empty"
    if waiting is None:
        return None, "the queue cannot be read yet"
    return False, f"no answer came, and {waiting} jobs wait; purge again if they should go"


def _is_submitted(endpoints: Endpoints, key: InstanceKey, operation: Operation) -> Outcome:
    job = endpoints.job(key, str(operation.params[JOB]))
    return True, f"job {job.id}: {job_words(job)}"


def _is_cancelled(endpoints: Endpoints, key: InstanceKey, operation: Operation) -> Outcome:
    job = endpoints.job(key, str(operation.params[JOB]))
    if job.state == JobState.CANCELLED:
        return True, f"job {job.id} is cancelled"
    if job.is_over:
        return False, f"job {job.id} was over before: {job_words(job)}"
    return None, f"job {job.id} is {job_words(job)} yet"


_PROOFS: dict[Verb, Callable[[Endpoints, InstanceKey, Operation], Outcome]] = {
    Verb.SCALE: _is_scaled, Verb.PURGE: _is_purged, Verb.SUBMIT: _is_submitted, Verb.CANCEL: _is_cancelled,
}  # fmt: skip


def job_words(job: Job) -> str:
    """A job's state for people."""
    return job.state.casefold().replace("_", " ")
