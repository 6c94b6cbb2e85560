"""Deadlines: absolute, under the hard one, in three places (ledger, cloud tags, host) and proved by the host.

An extend is open until every place that exists has it. The host comes last and decides: PROVED is its own answer.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime, timedelta

from gpudash.clock import iso
from gpudash.errors import HostError, ProviderError, Refused
from gpudash.fleet import permissions, steps
from gpudash.fleet.daemons import client
from gpudash.fleet.desk import SENT_AT, Desk, exact, moment, with_params
from gpudash.fleet.endings import fail, known
from gpudash.fleet.guarding import write_tags
from gpudash.fleet.pace import backoff_s
from gpudash.fleet.policytags import merged, whole
from gpudash.fleet.record import Record, is_reachable
from gpudash.fleet.settle import close_superseded
from gpudash.ledger import codec
from gpudash.model.capability import Verb
from gpudash.model.guard import same_limits
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import Policy

UNTIL = "until"
POLICY = "policy"
TAGGED = "tagged"
ON_HOST = "on_host"
RETRY_FIRST_S, RETRY_MOST_S = 2.0, 60.0
LINK_PATIENCE_S = 6.0


def intend_extend(desk: Desk, key: InstanceKey, until: datetime) -> Operation:
    """Write the intent to move the lease. Refused where it would pass the hard deadline or shorten the lease.

    Raises:
        NotFound: no such instance.
        Refused: read-only, past the hard deadline, shorter than the lease, or in the past.
    """
    record, until = known(desk, key), until.replace(microsecond=0)
    permissions.check(desk, Verb.EXTEND, key.account, record)
    if until <= desk.clock.now():
        raise Refused(f"{until:%Y-%m-%d %H:%M} UTC is past.", hint="x stops an instance, X terminates it.")
    before = _known_policy(desk, record) or Policy(
        hard_deadline=(desk.clock.now() + desk.config.defaults.max_lease).replace(microsecond=0)
    )
    policy = whole(before).extended(until)
    for operation in desk.ledger.open_operations(key.account):
        if operation.key == key and operation.verb is Verb.EXTEND:
            if moment(operation, UNTIL) == until:
                return desk.save(operation, next_try_at=None)
            desk.save(close_superseded(operation, "a later deadline was asked for"))
    return desk.begin(
        Verb.EXTEND,
        (key.account, key.region),
        f"asked to extend {record.instance.name} until {iso(until)}",
        key=key,
        name=record.instance.name,
        steps=steps.begin(steps.SHORT),
        params={UNTIL: exact(until), POLICY: codec.pack(policy)},
    )


def intend_keep_awake(desk: Desk, key: InstanceKey, for_: timedelta) -> Operation:
    """Write the intent to hold off the idle action.

    Raises:
        NotFound: no such instance.
        Refused: read-only, it does not run, or no daemon was ever seen there.
    """
    record = known(desk, key)
    permissions.check(desk, Verb.KEEPALIVE, key.account, record)
    if (reason := permissions.reason_against(desk, Verb.KEEPALIVE, record)) is not None:
        raise Refused(reason)
    until = desk.clock.now() + for_
    return desk.begin(
        Verb.KEEPALIVE,
        (key.account, key.region),
        f"asked to keep {record.instance.name} awake until {iso(until)}",
        key=key,
        name=record.instance.name,
        steps=steps.begin(steps.SHORT),
        params={UNTIL: exact(until)},
    )


def advance_extend(desk: Desk, operation: Operation) -> Operation:
    """Ledger, then tags, then the host; what is behind us is not done again."""
    key, until = operation.key, moment(operation, UNTIL)
    assert key is not None
    assert until is not None
    record = desk.record(key)
    if until <= desk.clock.now():
        return desk.save(close_superseded(operation, "that moment has passed"))
    policy = codec.unpack(Policy, operation.params[POLICY])
    params = with_params(operation, **{SENT_AT: desk.clock.now()})
    operation = desk.save(operation, attempts=operation.attempts + 1, next_try_at=None, params=params)
    before = desk.ledger.policies().get(key) or (record.instance.tag_policy if record is not None else None)
    desk.ledger.set_policy(key, policy)
    try:
        trouble = _tag(desk, key, policy, record)
    except Refused as exc:  # another guard of that instance would not keep it
        if before is not None:
            desk.ledger.set_policy(key, replace(before, revision=policy.revision + 1))
        return fail(desk, operation, exc)
    if trouble is None:
        operation = desk.save(operation, params=with_params(operation, **{TAGGED: True}))
    if record is None:
        return operation
    if _is_coming_up(desk, key):
        return _later(desk, operation, "its guard is still on the way and will have this deadline")
    if not has_daemon(record):
        note = "nothing on the host enforces it; press p"
        return (
            _done(desk, operation, f"written down, but {note}") if trouble is None else _later(desk, operation, trouble)
        )
    return _extend_on_host(desk, operation, record, until, trouble)


def advance_keep_awake(desk: Desk, operation: Operation) -> Operation:
    """Tell the daemon once; it keeps the hold over restarts."""
    key, until = operation.key, moment(operation, UNTIL)
    assert key is not None
    assert until is not None
    record = desk.record(key)
    left = until - desk.clock.now()
    if left <= timedelta(0) or (operation.id not in desk.fresh and desk.is_stale_intent(operation)):
        return desk.save(close_superseded(operation, "that moment has passed"))
    if record is None:
        return operation
    try:
        held = client(desk, record, LINK_PATIENCE_S).activity(left.total_seconds())
    except (HostError, Refused) as exc:
        return fail(desk, operation, exc)
    detail = f"held awake until {iso(held or until)}"
    return _done(desk, operation, detail)


def _is_coming_up(desk: Desk, key: InstanceKey) -> bool:
    launches = (op for op in desk.ledger.open_operations(key.account) if op.verb is Verb.LAUNCH)
    return any(launch.key == key for launch in launches)


def has_daemon(record: Record) -> bool:
    """A daemon was seen there; without one nothing on the host can be told."""
    return record.status is not None


# -- inside -----------------------------------------------------------------------------------------------------------


def _known_policy(desk: Desk, record: Record) -> Policy | None:
    status = record.status.policy if record.status is not None else None
    return merged(desk.ledger.policies().get(record.key), record.instance.tag_policy, status)


def _tag(desk: Desk, key: InstanceKey, policy: Policy, record: Record | None) -> str | None:
    """Write the tags; why it did not work, where it did not."""
    managed = record is not None and record.instance.managed
    if record is not None and same_limits(policy, record.instance.tag_policy):
        return None
    try:
        write_tags(desk, key, policy, managed=managed)
    except ProviderError as exc:
        return f"the cloud's tags are not written yet: {exc}"
    return None


def _extend_on_host(
    desk: Desk, operation: Operation, record: Record, until: datetime, trouble: str | None
) -> Operation:
    if not is_reachable(record):
        return _later(
            desk, operation, f"{record.instance.name} is {record.instance.state.value}; its host is told later"
        )
    try:
        in_force = client(desk, record, LINK_PATIENCE_S).extend(until)
    except Refused as exc:
        return _fail_on_host(desk, operation, record, str(exc))
    except HostError as exc:
        return _later(desk, operation, f"the host does not know yet: {exc}")
    if in_force.replace(microsecond=0) != until:
        return _fail_on_host(desk, operation, record, f"the host answers with {iso(in_force)} instead")
    if trouble is not None:
        return _later(desk, operation, f"the host enforces it; {trouble}")
    return _done(desk, operation, f"the host answers: lease until {iso(in_force)}")


def _fail_on_host(desk: Desk, operation: Operation, record: Record, detail: str) -> Operation:
    """The host stays with another deadline: what we believe is put back to what it enforces."""
    if record.status is not None:
        kept = desk.ledger.policies().get(record.key) or record.status.policy
        real = record.status.policy
        back = replace(kept, lease_deadline=real.lease_deadline, hard_deadline=real.hard_deadline)
        back = desk.ledger.set_policy(record.key, replace(back, revision=kept.revision + 1))
        with contextlib.suppress(ProviderError):
            write_tags(desk, record.key, back, managed=record.instance.managed)
    return fail(desk, operation, Refused(detail))


def _later(desk: Desk, operation: Operation, detail: str) -> Operation:
    wait = backoff_s(operation.attempts, first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
    return desk.save(operation, stage=Stage.ACCEPTED, detail=detail, next_try_at=desk.pace.after(wait))


def _done(desk: Desk, operation: Operation, detail: str) -> Operation:
    done = steps.all_done(operation.steps, desk.clock.now())
    return desk.save(operation, stage=Stage.PROVED, detail=detail, steps=done, next_try_at=None)
