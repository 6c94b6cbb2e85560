"""Changes that are sent once, and whose proof is the cloud's own yes: a bid, a name, the answer to a higher price.

A lost answer is not asked again by itself: the person may want something else by now, and the next list tells.
"""

from __future__ import annotations

from collections.abc import Callable

from gpudash.errors import GpudashError, Refused
from gpudash.fleet import permissions, steps
from gpudash.fleet.desk import SENT_AT, Desk, with_params
from gpudash.fleet.endings import fail, known
from gpudash.fleet.record import Record
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.providers.base import Provider


def allowed(desk: Desk, verb: Verb, key: InstanceKey) -> Record:
    """The row, where the verb makes sense there.

    Raises:
        NotFound: no such instance.
        Refused: read-only, or pointless.
        Unsupported: the cloud has no such verb.
    """
    record = known(desk, key)
    permissions.check(desk, verb, key.account, record)
    reason = permissions.reason_against(desk, verb, record)
    if reason is not None:
        raise Refused(reason)
    return record


def intend(desk: Desk, verb: Verb, record: Record, text: str, params: dict[str, object]) -> Operation:
    """Write the intent; `text` is its line in the diary."""
    key = record.key
    return desk.begin(
        verb,
        (key.account, key.region),
        text,
        key=key,
        name=record.instance.name,
        steps=steps.begin(steps.SHORT),
        params=params,
    )


def advance(desk: Desk, operation: Operation, call: Callable[[Provider, InstanceKey], str], lost: str) -> Operation:
    """Send it, once.

    Args:
        desk: whose intent it is.
        operation: the intent.
        call: does it, and says in words what is so now.
        lost: what to look at where this program died between asking and the answer.
    """
    if operation.stage is not Stage.INTENDED:
        return operation
    if SENT_AT in operation.params or operation.id not in desk.fresh:
        return desk.save(operation, stage=Stage.FAILED, detail=f"interrupted; {lost}", next_try_at=None)
    operation = desk.save(operation, attempts=1, params=with_params(operation, **{SENT_AT: desk.clock.now()}))
    assert operation.key is not None
    try:
        detail = call(desk.accounts[operation.account], operation.key)
    except GpudashError as exc:
        return fail(desk, operation, exc)
    return desk.save(
        operation,
        stage=Stage.PROVED,
        detail=detail,
        steps=steps.all_done(operation.steps, desk.clock.now()),
        next_try_at=None,
    )
