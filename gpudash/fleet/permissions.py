"""Why a verb cannot be done now. Asked by every action before it writes anything, and by keys before they act."""

from __future__ import annotations

from decimal import Decimal

from gpudash.errors import Refused, Unsupported
from gpudash.fleet.desk import Desk
from gpudash.fleet.record import ENDING_VERBS, Record, closed_to_programs
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceState
from gpudash.model.money import Price

GUARDS = frozenset({"watchdog", "pool"})
"""Actors without a person behind them: they end only what is managed."""

_OFF = frozenset({InstanceState.STOPPED, InstanceState.HIBERNATED})
RESTARTABLE = frozenset({InstanceState.RUNNING, InstanceState.ERROR})
"""A machine that its cloud calls unhealthy may come right by a restart."""
_NEEDS_RUNNING = frozenset({Verb.KEEPALIVE, Verb.PUSH})


def check(desk: Desk, verb: Verb, account: str, record: Record | None = None) -> None:
    """Raise where the verb must not be done: read-only, no such verb at that cloud, not ours to end.

    Raises:
        Refused: settings or ownership forbid it.
        Unsupported: the cloud has no such verb.
    """
    reason = _forbidden(desk, account)
    if reason is None and record is not None and verb in ENDING_VERBS and desk.actor in GUARDS:
        reason = None if record.instance.managed else f"{record.instance.name} is not managed; a guard leaves it alone."
    if reason is not None:
        raise Refused(reason)
    missing = desk.accounts.capabilities(account).reason_against(verb)
    if missing is not None:
        raise Unsupported(missing)


def reason_against(desk: Desk, verb: Verb, record: Record | None, account: str | None = None) -> str | None:
    """The same as words, and also why it would be pointless. Instant; asks nobody."""
    where = account or (record.key.account if record else None)
    if where is None or where not in desk.accounts:
        return None if where is None else f"The account {where} is not in use in this session."
    try:
        check(desk, verb, where, record)
    except Refused as exc:
        return str(exc)
    return _pointless(verb, record) if record is not None else None


def check_price(desk: Desk, price: Price | None, max_price: Decimal | None) -> None:
    """Refuse what costs more than the caps allow; an unknown price passes no cap.

    Raises:
        Refused: above a cap.
    """
    caps = [cap for cap in (desk.config.defaults.max_price_usd_per_hour, max_price) if cap is not None]
    if not caps:
        return
    if price is None:
        raise Refused(f"Its price is not known, and the cap is {min(caps)} $/h.", hint="Choose an offer with a price.")
    if price.usd_per_hour > min(caps):
        raise Refused(f"It costs {price.usd_per_hour} $/h; the cap is {min(caps)} $/h.")


def _forbidden(desk: Desk, account: str) -> str | None:
    if desk.read_only:
        return "This session is read-only."
    if desk.accounts.read_only(account):
        return f"The settings make {account} read-only."
    return None


def _pointless(verb: Verb, record: Record) -> str | None:
    instance, state = record.instance, record.instance.state
    if verb is Verb.START and state not in _OFF:
        return f"{instance.name} is {state.value}; only a stopped instance can be started."
    if verb is Verb.BID and not instance.spot:
        return f"{instance.name} is on demand; only an interruptible instance has a bid."
    if verb is Verb.RESTART and state not in RESTARTABLE:
        return f"{instance.name} is {state.value}; only what runs can be restarted."
    if verb in {Verb.STOP, Verb.HIBERNATE} and state in _OFF:
        return f"{instance.name} is {state.value} already."
    if verb in {Verb.STOP, Verb.HIBERNATE} and state is InstanceState.TERMINATING:
        return f"{instance.name} is being terminated."
    if verb in _NEEDS_RUNNING and state is not InstanceState.RUNNING:
        return f"{instance.name} is {state.value}; it must run for that."
    if verb is Verb.PUSH and instance.ssh is None:
        return f"The cloud has not told the SSH address of {instance.name} yet."
    if verb in {Verb.PUSH, Verb.KEEPALIVE} and (closed := closed_to_programs(record)) is not None:
        return closed
    if verb is Verb.KEEPALIVE and record.status is None:
        return f"No statusd answers on {instance.name}; press p to push it."
    if verb is Verb.EXTEND and record.wanted is not None:
        lease, hard = record.wanted.lease_deadline, record.wanted.hard_deadline
        if lease is not None and hard is not None and lease >= hard:
            until = f"{hard:%Y-%m-%d %H:%M} UTC"
            return f"The lease of {instance.name} ends at its hard deadline, {until}, which is never moved."
    if verb is Verb.ADOPT and instance.managed:
        return f"{instance.name} is managed already."
    return None
