"""Changes that lose something: stop, hibernate, terminate, restart. Each says what, and is confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import click

from gpudash.cli import carry, words
from gpudash.cli.acting import TIMEOUT, is_so, target_of
from gpudash.cli.output import Output, can_ask
from gpudash.cli.verb import ID, Run, Verb, pass_run
from gpudash.errors import Refused
from gpudash.fleet.families import children_of
from gpudash.fleet.record import Record
from gpudash.fleet.totals import saved_by
from gpudash.model.capability import Verb as Change
from gpudash.model.instance import Instance
from gpudash.model.policy import EndAction

YES = click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal to ask on.")


@click.command(cls=Verb)
@ID
@YES
@TIMEOUT
@pass_run
def stop(run: Run, target: str, yes: bool, timeout: timedelta) -> int:
    """Stop an instance. Its disk stays, and may go on billing."""
    return _end(run, target, EndAction.STOP, yes=yes, timeout=timeout)


@click.command(cls=Verb)
@ID
@YES
@TIMEOUT
@pass_run
def hibernate(run: Run, target: str, yes: bool, timeout: timedelta) -> int:
    """Stop an instance with its memory written to disk, where its cloud can."""
    return _end(run, target, EndAction.HIBERNATE, yes=yes, timeout=timeout)


@click.command(cls=Verb)
@ID
@YES
@TIMEOUT
@pass_run
def terminate(run: Run, target: str, yes: bool, timeout: timedelta) -> int:
    """End an instance for good. Done when its cloud no longer has it."""
    return _end(run, target, EndAction.TERMINATE, yes=yes, timeout=timeout)


@click.command(cls=Verb)
@ID
@YES
@TIMEOUT
@pass_run
def restart(run: Run, target: str, yes: bool, timeout: timedelta) -> int:
    """Restart a running instance in place. What runs on it ends; it bills on. Done when its guard is back."""
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change.RESTART)
        if not yes:
            _confirm_restart(run.out, record)
        operation = session.actions.restart(record.key)
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds())


@click.command(cls=Verb)
@ID
@click.argument("word", type=click.Choice(("accept", "reject")), metavar="accept|reject")
@YES
@TIMEOUT
@pass_run
def increase(run: Run, target: str, word: str, yes: bool, timeout: timedelta) -> int:
    """Accept or reject the higher price that the host of ID asks for, where hosts may (Vast.ai).

    Accepted, it holds from the end of the present contract, and is held against the price cap. Rejected, the contract
    ends when it ends.
    """
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change.INCREASE)
        if not yes:
            told = record.instance.notice or "no higher price is known; it is looked up again"
            _confirm(run.out, record, f"{word} the higher price of", told)
        operation = session.actions.answer_increase(record.key, accept=word == "accept")
        done = f"has its answer; {operation.detail}"
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds(), done=done)


def _confirm_restart(out: Output, record: Record) -> None:
    _confirm(out, record, "restart", "What runs on it ends; it bills on.")


def _confirm(out: Output, record: Record, doing: str, told: str) -> None:
    machine = record.instance
    name = words.printable(machine.name or machine.key.id)
    out.talk(f"{doing.capitalize()} {name} ({machine.key.account}, {machine.region})? {words.printable(told)}")
    if not can_ask():
        raise Refused(f"{doing} {machine.key} was not confirmed.", hint="Without a terminal, add --yes.")
    if out.ask("Go on? [y/N] ").casefold() not in {"y", "yes"}:
        raise Refused(f"{doing} {machine.key} was not confirmed; nothing was changed.")


def _end(run: Run, target: str, action: EndAction, *, yes: bool, timeout: timedelta) -> int:
    with run.session_for(target) as session:
        record = target_of(run, session, target, Change(action.value))
        if is_so(Change(action.value), record):
            return carry.already(run, session, record, Change(action.value))
        if not yes:
            children = children_of(record.key, session.store.records.values())
            confirm(run.out, record, action, session.clock.now(), children)
        operation = session.actions.end(record.key, action)
        return carry.through(run, session, operation, timeout_s=timeout.total_seconds())


def confirm(out: Output, record: Record, action: EndAction, now: datetime, children: Sequence[Record] = ()) -> None:
    """Ask a person. Where data would be lost, only the instance's own name is a yes.

    Raises:
        Refused: nobody can be asked, or the answer was not a yes.
    """
    machine = record.instance
    for line in question(record, action, now):
        out.talk(line)
    if children and action is EndAction.TERMINATE:
        names = ", ".join(words.printable(child.instance.name or child.key.id) for child in children)
        out.talk(f"  also     {names}: terminated with it, and what is on them is lost")
    if not can_ask():
        raise Refused(f"{action.value} {machine.key} was not confirmed.", hint="Without a terminal, add --yes.")
    loses_data = action is EndAction.TERMINATE and bool(machine.lost_on_terminate or children)
    if loses_data and machine.name:
        confirmed = out.ask(f"Type the name ({words.printable(machine.name)}) to confirm: ") == machine.name
    else:
        confirmed = out.ask("Go on? [y/N] ").casefold() in {"y", "yes"}
    if not confirmed:
        raise Refused(f"{action.value} {machine.key} was not confirmed; nothing was changed.")


def question(record: Record, action: EndAction, now: datetime) -> list[str]:
    """What a person must know before the end: which instance of which account, what is lost, what still bills."""
    machine = record.instance
    kind = words.gpus(machine.gpu_count, machine.gpu, machine.vram_gb)
    spent = words.amount(record.accrued(now))
    if action is EndAction.TERMINATE:
        lost = machine.lost_on_terminate or "nothing that is kept elsewhere"
        stays = machine.stays_after_terminate or "nothing"
    else:
        lost, stays = _stop_costs(machine, action)
    saved = saved_by(record, action)
    saves = words.rate(saved) if saved.usd or saved.unknown else "nothing; it is not running"
    return [
        words.printable(line)
        for line in (
            f"{action.value.capitalize()} {machine.name or machine.key.id}?",
            f"  account  {machine.key.account} ({machine.provider}), {machine.region}",
            f"  instance {machine.key.id} · {kind} · ${words.price(machine.price)}/h · spent {spent}",
            f"  lost     {lost}",
            f"  bills on {stays}",
            f"  saves    {saves}",
        )
    ]


def _stop_costs(machine: Instance, action: EndAction) -> tuple[str, str]:
    """What a stop loses, and what it keeps at what price."""
    lost = "what runs on it" if action is EndAction.STOP else "nothing"
    if action is EndAction.STOP and machine.lost_on_stop:
        lost = f"{lost}, and its {machine.lost_on_stop}"
    kept, price = machine.stays_after_stop or "its disk", machine.stopped_price or machine.storage_price
    return lost, "unknown" if price is None else f"{kept}, ${words.price(price)}/h"
