"""Stops, hibernations, terminations and starts. An end is asked for until it is proved, for ever; never held against
a person who wants something else by now.

    held (undo) ──due──> sent ──> accepted ──listing──> proved
                           └──────── error, or no effect ────────> retrying ──due──> sent …
"""

from __future__ import annotations

from gpudash.errors import Ambiguous, GpudashError, NotFound, ProviderError, Refused, Unsupported, UsageError
from gpudash.fleet import permissions, steps
from gpudash.fleet.desk import SENT_AT, Desk, with_params
from gpudash.fleet.outcome import ERROR
from gpudash.fleet.pace import backoff_s
from gpudash.fleet.record import ENDING_VERBS, Record
from gpudash.fleet.settle import LAUNCHED_AT, REARM, STARTED_AT_SEEN, close_superseded
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction

HOLD_S = "hold_s"
RETRY_FIRST_S, RETRY_MOST_S = 5.0, 300.0
"""Waits between requests to end something that goes on billing."""
_CONTRADICTED = ENDING_VERBS | {Verb.START, Verb.RESTART, Verb.LAUNCH, Verb.PUSH, Verb.KEEPALIVE}
"""What an end or a start makes void."""


def known(desk: Desk, key: InstanceKey) -> Record:
    """The row of that key.

    Raises:
        NotFound: there is none.
    """
    record = desk.record(key)
    if record is None:
        raise NotFound(f"{key} is not in the fleet.", hint="Refresh, or look it up with gpudash ls.")
    return record


def intend_end(desk: Desk, key: InstanceKey, action: EndAction, hold_s: float = 0.0) -> Operation:
    """Write the intent; an open one for the same end is taken up again instead of doubled.

    Raises:
        NotFound: no such instance.
        Refused: read-only, or not ours to end.
        Unsupported: the cloud has no such verb.
    """
    verb, record = Verb(action.value), known(desk, key)
    permissions.check(desk, verb, key.account, record)
    for open_one in _open_on(desk, key):
        if open_one.verb is verb and open_one.stage is not Stage.INTENDED:
            return desk.save(open_one, next_try_at=None) if open_one.stage is Stage.RETRYING else open_one
        if open_one.verb is verb and not hold_s:
            desk.fresh.add(open_one.id)
            return desk.save(open_one, next_try_at=None, params=with_params(open_one, **{HOLD_S: None}))
        if open_one.verb is verb:
            return open_one
    held = f", held back {hold_s:g} s" if hold_s else ""
    return desk.begin(
        verb,
        (key.account, key.region),
        f"asked to {verb.value} {record.instance.name}{held}",
        key=key,
        name=record.instance.name,
        steps=steps.begin(steps.SHORT),
        next_try_at=desk.pace.after(hold_s) if hold_s else None,
        params=_hold(hold_s) | _last_start(record) | _late_launch(desk, record),
    )


def intend_start(desk: Desk, key: InstanceKey) -> Operation:
    """Write the intent to bring it back; open ends of it are given up.

    Raises:
        NotFound: no such instance.
        Refused: read-only, or it is being terminated.
        Unsupported: the cloud has no such verb.
    """
    record = known(desk, key)
    permissions.check(desk, Verb.START, key.account, record)
    for open_one in _open_on(desk, key):
        if open_one.verb is Verb.START:
            return open_one
        if open_one.verb is Verb.TERMINATE and open_one.stage is not Stage.INTENDED:
            raise Refused(f"{record.instance.name} is being terminated; what was sent cannot be taken back.")
    _supersede(desk, key, "a start was asked for")
    rearm = record.instance.managed and record.wanted is not None and record.wanted.limits_anything
    return desk.begin(
        Verb.START,
        (key.account, key.region),
        f"asked to start {record.instance.name}",
        key=key,
        name=record.instance.name,
        steps=steps.begin(("asked", "running", "armed") if rearm else steps.SHORT),
        params={REARM: True} if rearm else None,
    )


def cancel(desk: Desk, op_id: str) -> Operation:
    """Take back an end that was not sent yet. Cancelled already is success.

    Raises:
        NotFound: no such operation.
        Refused: it was sent.
    """
    with desk.hold(op_id) as mine:
        operation = desk.ledger.operation(op_id)
        if operation is None:
            raise NotFound(f"There is no operation {op_id}.")
        if operation.stage is Stage.CANCELLED:
            return operation
        if not mine or operation.stage is not Stage.INTENDED or SENT_AT in operation.params:
            raise Refused(
                f"The {operation.verb.value} of {operation.name} was sent already.", hint="Start it again with r."
            )
        return desk.save(operation, stage=Stage.CANCELLED, detail="taken back before it was sent", next_try_at=None)


def advance_end(desk: Desk, operation: Operation) -> Operation:
    """Send it where it is due: for the first time, or again."""
    if operation.stage is Stage.INTENDED and SENT_AT not in operation.params:
        if operation.id not in desk.fresh and desk.is_stale_intent(operation):
            return desk.save(operation, stage=Stage.CANCELLED, detail="never sent; too old to act on", next_try_at=None)
    elif operation.stage not in {Stage.INTENDED, Stage.RETRYING} or desk.is_blind(operation):
        return operation
    if operation.attempts == 0 and operation.key is not None:
        _supersede(desk, operation.key, f"a {operation.verb.value} was asked for", but=operation.id)
    return _send_end(desk, operation)


def advance_start(desk: Desk, operation: Operation) -> Operation:
    """Send a start; that it runs again the listings tell. Its guard is `guarding.advance_rearm`'s business."""
    if operation.stage not in {Stage.INTENDED, Stage.RETRYING}:
        return operation
    if operation.stage is Stage.INTENDED and SENT_AT in operation.params:
        return desk.save(operation, stage=Stage.AMBIGUOUS, detail="interrupted; the next listing tells")
    if operation.stage is Stage.INTENDED and operation.id not in desk.fresh and desk.is_stale_intent(operation):
        return desk.save(operation, stage=Stage.CANCELLED, detail="never sent; too old to act on", next_try_at=None)
    operation = _mark_sent(desk, operation)
    assert operation.key is not None
    try:
        desk.accounts[operation.account].start(operation.key)
    except Ambiguous as exc:
        return desk.save(operation, stage=Stage.AMBIGUOUS, detail=str(exc))
    except (ProviderError, Refused) as exc:
        return fail(desk, operation, exc)
    except Exception as exc:  # whatever an SDK lets slip, the request may have gone out
        return desk.save(operation, stage=Stage.AMBIGUOUS, detail=f"no clear answer: {exc!r}")
    return _accepted(desk, operation)


def fail(desk: Desk, operation: Operation, error: GpudashError) -> Operation:
    """A definite no."""
    return desk.save(
        operation,
        stage=Stage.FAILED,
        detail=str(error),
        steps=steps.failed(operation.steps, str(error)),
        next_try_at=None,
        params=with_params(operation, **{ERROR: type(error).__name__}),
    )


def _send_end(desk: Desk, operation: Operation) -> Operation:
    operation = _mark_sent(desk, operation)
    assert operation.key is not None
    try:
        provider = desk.accounts[operation.account]
        call = {Verb.STOP: provider.stop, Verb.HIBERNATE: provider.hibernate, Verb.TERMINATE: provider.terminate}
        call[operation.verb](operation.key)
    except (Unsupported, UsageError) as exc:
        return fail(desk, operation, exc)
    except Exception as exc:  # an end is retried whatever went wrong; its words are kept
        wait = backoff_s(operation.attempts, first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
        wait = max(wait, getattr(exc, "retry_after_s", None) or 0.0)
        detail = str(exc) if isinstance(exc, GpudashError) else f"no clear answer: {exc!r}"
        params = with_params(operation, **{ERROR: type(exc).__name__})
        return desk.save(
            operation, stage=Stage.RETRYING, detail=detail, next_try_at=desk.pace.after(wait), params=params
        )
    return _accepted(desk, operation)


def _mark_sent(desk: Desk, operation: Operation) -> Operation:
    params = with_params(operation, **{SENT_AT: desk.clock.now(), HOLD_S: None, ERROR: None})
    return desk.save(operation, attempts=operation.attempts + 1, next_try_at=None, params=params)


def _accepted(desk: Desk, operation: Operation) -> Operation:
    again = f"asked {operation.attempts}×; " if operation.attempts > 1 else ""
    progress = steps.done(operation.steps, "asked", "", desk.clock.now())
    return desk.save(operation, stage=Stage.ACCEPTED, detail=f"{again}not proved yet", steps=progress)


def _open_on(desk: Desk, key: InstanceKey) -> list[Operation]:
    return [operation for operation in desk.ledger.open_operations(key.account) if operation.key == key]


def _supersede(desk: Desk, key: InstanceKey, why: str, but: str = "") -> None:
    """A newer wish closes every open one that it contradicts: ends, starts, launches still under way."""
    for operation in _open_on(desk, key):
        if operation.id != but and operation.verb in _CONTRADICTED:
            desk.save(close_superseded(operation, why))


def _hold(hold_s: float) -> dict[str, object]:
    return {HOLD_S: hold_s} if hold_s else {}


def _last_start(record: Record) -> dict[str, object]:
    started = record.instance.started_at
    return {} if started is None else {STARTED_AT_SEEN: started.isoformat()}


def _late_launch(desk: Desk, record: Record) -> dict[str, object]:
    """When it was launched, where it is not listed: its cloud may not show it yet, and an end that finds nothing then, and
    counts that as success, proves nothing."""
    if record.missing_since is None:
        return {}
    launches = (op for op in desk.ledger.operations_of(record.key) if op.verb is Verb.LAUNCH)
    launched = next(launches, None)
    return {} if launched is None else {LAUNCHED_AT: launched.requested_at.isoformat()}
