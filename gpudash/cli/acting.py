"""Changes that lose nothing: extend, keepalive, start, bid, rename, adopt, push."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from gpudash.cli import carry, words
from gpudash.cli.listing import HOSTS_S, POLL_S
from gpudash.cli.verb import DURATION, ID, USD, Run, Verb, pass_run
from gpudash.errors import Refused
from gpudash.model.capability import Verb as Change
from gpudash.model.instance import InstanceState
from gpudash.model.operation import Stage
from gpudash.model.policy import Policy

if TYPE_CHECKING:
    from gpudash.fleet.record import Record
    from gpudash.fleet.session import Session

TIMEOUT = click.option(
    "--timeout", type=DURATION, default="5m", show_default=True, help="How long to wait for the proof."
)


def target_of(run: Run, session: Session, target: str, change: Change, *, ask_host: bool = False) -> Record:
    """Look, find the instance, and refuse what cannot be done to it. The key found here is the one that is acted on.

    Raises:
        NotFound: no such instance, or several.
        Refused: read-only, or the instance or its cloud does not allow it.
    """
    session.poll(POLL_S)
    record = session.resolve(target)
    forbid(run, record)
    if ask_host:
        session.read_hosts(HOSTS_S, 0.0, [record.key])
        record = carry.must_find(session, record.key)
    reason = None if is_so(change, record) else session.actions.reason_against(change, record)
    if reason:
        raise Refused(reason)
    return record


def forbidden(run: Run, account: str) -> str | None:
    """The option or setting that makes this run or that account read-only, or None."""
    settings = run.config.accounts.get(account)
    if settings is not None and settings.read_only:
        return f"account {account} is read_only in config.toml"
    return run.forbids()


def forbid(run: Run, record: Record) -> None:
    """Refuse any change where this run or the account is read-only.

    Raises:
        Refused: with the setting or option that says so.
    """
    reason = forbidden(run, record.key.account)
    if reason:
        raise Refused(f"{record.instance.name or record.key}: {reason}; nothing was changed.")


def is_so(change: Change, record: Record) -> bool:
    """What is asked for is the case already; asking again is then a success that changes nothing."""
    state = record.instance.state
    return (
        (change is Change.START and state is InstanceState.RUNNING)
        or (change is Change.STOP and state is InstanceState.STOPPED)
        or (change is Change.HIBERNATE and state is InstanceState.HIBERNATED)
        or (change is Change.ADOPT and record.instance.managed)
    )


@click.command(cls=Verb)
@ID
@click.argument("duration", type=DURATION, metavar="DURATION")
@TIMEOUT
@pass_run
def extend(run: Run, target: str, duration: timedelta, timeout: timedelta) -> int:
    """Move the lease of ID on by DURATION, up to the hard deadline.

    Counted from the deadline in force, or from now where it has passed or there is none. Proved when statusd on the
    host names the new deadline.
    """
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change.EXTEND, ask_host=True)
        now = session.clock.now()
        lease = record.policy.lease_deadline if record.policy else None
        until = max(lease or now, now) + duration
        operation = session.actions.extend(record.key, until)
        done = f"may run until {words.when(until, now)}"
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds(), done=done)


@click.command(cls=Verb)
@ID
@click.argument("duration", type=DURATION, metavar="[DURATION]", default="30m")
@TIMEOUT
@pass_run
def keepalive(run: Run, target: str, duration: timedelta, timeout: timedelta) -> int:
    """Count ID as active for DURATION, so that the idle timeout does not run. The lease stays as it is."""
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change.KEEPALIVE, ask_host=True)
        operation = session.actions.keep_awake(record.key, duration)
        done = f"counts as active for {words.length(duration)}"
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds(), done=done)


@click.command(cls=Verb)
@ID
@click.option("--yes", is_flag=True, help="Accepted for symmetry; a start asks nothing.")
@TIMEOUT
@pass_run
def start(run: Run, target: str, yes: bool, timeout: timedelta) -> int:
    """Start a stopped or hibernated instance. From then on it bills."""
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change.START)
        if is_so(Change.START, record):
            return carry.already(run, session, record, Change.START)
        operation = session.actions.start(record.key)
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds())


@click.command(cls=Verb)
@ID
@click.argument("usd", type=USD, metavar="USD")
@TIMEOUT
@pass_run
def bid(run: Run, target: str, usd: Decimal, timeout: timedelta) -> int:
    """Offer USD an hour for a spot instance, the whole machine, where its cloud takes bids. Held against the price cap."""
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change.BID)
        operation = session.actions.bid(record.key, usd)
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds(), done=f"has a bid of ${usd}/h")


@click.command(cls=Verb)
@ID
@click.argument("name", metavar="NAME")
@TIMEOUT
@pass_run
def rename(run: Run, target: str, name: str, timeout: timedelta) -> int:
    """Give ID another name at its cloud (on Vast.ai in its label). Its limits and everything else stay."""
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change.RENAME)
        operation = session.actions.rename(record.key, name)
        if operation.stage is Stage.PROVED:
            session.poll(POLL_S)
        done = f"is what {record.instance.name or record.key} is called now"
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds(), done=done)


@click.command(cls=Verb)
@ID
@click.option("--lease", type=DURATION, help="Time it may live from now on.  [default: the settings' lease]")
@TIMEOUT
@pass_run
def adopt(run: Run, target: str, lease: timedelta | None, timeout: timedelta) -> int:
    """Let our guards end an instance that gpudash did not launch, once the lease is over."""
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change.ADOPT)
        if is_so(Change.ADOPT, record):
            return carry.already(run, session, record, Change.ADOPT)
        defaults, now = run.config.defaults, session.clock.now()
        length = lease or defaults.lease
        if length > defaults.max_lease:
            longest = words.length(defaults.max_lease)
            raise Refused(f"A lease of {words.length(length)} is over max_lease ({longest}).")
        policy = Policy(
            lease_deadline=now + length,
            hard_deadline=now + defaults.max_lease,
            idle_timeout=defaults.idle_timeout,
            idle_action=defaults.idle_action,
        )
        operation = session.actions.adopt(record.key, policy)
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds())


@click.command(cls=Verb)
@ID
@TIMEOUT
@pass_run
def push(run: Run, target: str, timeout: timedelta) -> int:
    """Put statusd on an instance, or renew it, and prove that it enforces the limits."""
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change.PUSH)
        operation = session.actions.push(record.key)
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds())
