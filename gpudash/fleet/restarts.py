"""Restarts: the machine comes up again under the same address and bills on; what ran on it is gone.

A restart asked twice is two restarts, so a lost answer is never asked again: the listings tell whether it went down.
"""

from __future__ import annotations

from gpudash.errors import Ambiguous, ProviderError, Refused, Unsupported
from gpudash.fleet import permissions, steps
from gpudash.fleet.desk import SENT_AT, Desk, with_params
from gpudash.fleet.endings import fail, known
from gpudash.fleet.settle import REARM
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.providers.base import Restarts


def intend_restart(desk: Desk, key: InstanceKey) -> Operation:
    """Write the intent; a restart that is under way is taken up again instead of doubled.

    Raises:
        NotFound: no such instance.
        Refused: read-only, not running, or on its way to an end.
        Unsupported: the cloud has no such verb.
    """
    record = known(desk, key)
    permissions.check(desk, Verb.RESTART, key.account, record)
    for open_one in desk.ledger.open_operations(key.account):
        if open_one.key != key:
            continue
        if open_one.verb is Verb.RESTART:
            return open_one
        if open_one.verb in {Verb.STOP, Verb.HIBERNATE, Verb.TERMINATE, Verb.LAUNCH}:
            raise Refused(f"A {open_one.verb.value} of {record.instance.name} is under way.")
    if record.instance.state not in permissions.RESTARTABLE:
        raise Refused(f"{record.instance.name} is {record.instance.state.value}; only what runs can be restarted.")
    rearm = record.instance.managed and record.wanted is not None and record.wanted.limits_anything
    return desk.begin(
        Verb.RESTART,
        (key.account, key.region),
        f"asked to restart {record.instance.name}",
        key=key,
        name=record.instance.name,
        steps=steps.begin(("asked", "running", "armed") if rearm else steps.SHORT),
        params={REARM: True} if rearm else None,
    )


def advance_restart(desk: Desk, operation: Operation) -> Operation:
    """Send it, once. What follows the listings tell; its guard is `guarding.advance_rearm`'s business."""
    if operation.stage is not Stage.INTENDED:
        return operation
    if SENT_AT in operation.params:
        return desk.save(operation, stage=Stage.AMBIGUOUS, detail="interrupted; the next listings tell")
    if operation.id not in desk.fresh and desk.is_stale_intent(operation):
        return desk.save(operation, stage=Stage.CANCELLED, detail="never sent; too old to act on", next_try_at=None)
    params = with_params(operation, **{SENT_AT: desk.clock.now()})
    operation = desk.save(operation, attempts=1, next_try_at=None, params=params)
    assert operation.key is not None
    try:
        provider = desk.accounts[operation.account]
        if not isinstance(provider, Restarts):
            raise Unsupported(f"There is no restart at {provider.provider}.")
        provider.restart(operation.key)
    except Ambiguous as exc:
        return desk.save(operation, stage=Stage.AMBIGUOUS, detail=str(exc))
    except (ProviderError, Refused) as exc:
        return fail(desk, operation, exc)
    except Exception as exc:  # whatever an SDK lets slip, the request may have gone out
        return desk.save(operation, stage=Stage.AMBIGUOUS, detail=f"no clear answer: {exc!r}")
    progress = steps.done(operation.steps, "asked", "", desk.clock.now())
    return desk.save(operation, stage=Stage.ACCEPTED, detail="not proved yet", steps=progress)
