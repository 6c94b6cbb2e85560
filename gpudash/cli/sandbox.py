"""`sandbox up|down|reset|fault`: the hosts on this machine that behave like a cloud's."""

from __future__ import annotations

from typing import Any

import click

from gpudash.cli import words
from gpudash.cli.output import can_ask
from gpudash.cli.verb import READ_ONLY, Run, Verb, pass_run
from gpudash.errors import ExitCode, Refused, UsageError

ACCOUNT = "sandbox"


@click.group()
def sandbox() -> None:
    """Hosts on this machine: real SSH, the real daemon, simulated prices."""


sandbox.params.append(READ_ONLY)


def _may_change(run: Run, what: str) -> None:
    reason = run.forbids()
    if reason:
        raise Refused(f"sandbox {what}: {reason}.")


def _done(run: Run, action: str, detail: str, **more: Any) -> int:
    run.out.command = f"sandbox {action}"
    if run.out.json:
        body = {"action": f"sandbox {action}", "account": ACCOUNT, "id": None, "ok": True, "proved": True}
        run.out.document({**body, "detail": detail, "instance": None, **more})
    else:
        run.out.line(detail)
    return int(ExitCode.OK)


@sandbox.command(cls=Verb)
@click.argument("count", type=click.IntRange(1, 50), default=3, metavar="[N]")
@pass_run
def up(run: Run, count: int) -> int:
    """Have N hosts running (3 where N is left out); stopped ones are started first."""
    _may_change(run, "up")
    from gpudash.providers.sandbox import control

    hosts = control.up(count)
    return _done(run, "up", f"{len(hosts)} sandbox hosts are running: {', '.join(hosts)}.", hosts=list(hosts))


@sandbox.command(cls=Verb)
@pass_run
def down(run: Run) -> int:
    """Stop every host. Disks stay; `sandbox up` or `start` brings them back."""
    _may_change(run, "down")
    from gpudash.providers.sandbox import control

    control.down()
    return _done(run, "down", "Every sandbox host is stopped.")


@sandbox.command(cls=Verb)
@click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal to ask on.")
@pass_run
def reset(run: Run, yes: bool) -> int:
    """Remove every host with its disk, all switches and the sandbox's part of the ledger."""
    _may_change(run, "reset")
    if not yes and can_ask():
        run.out.talk("This removes every sandbox host, its disk and its history.")
        if run.out.ask("Go on? [y/N] ").casefold() not in {"y", "yes"}:
            raise Refused("sandbox reset was not confirmed; nothing was changed.")
    from gpudash import paths
    from gpudash.clock import SystemClock
    from gpudash.ledger import Ledger
    from gpudash.providers.sandbox import control

    control.reset()
    if paths.ledger_file().exists():
        ledger = Ledger.open(paths.ledger_file(), SystemClock())
        try:
            ledger.forget_account(ACCOUNT)
        finally:
            ledger.close()
    return _done(run, "reset", "The sandbox is empty: no host, process, port or file is left.")


@sandbox.command(cls=Verb)
@click.argument("name", required=False, metavar="[NAME]")
@click.argument("switch", required=False, type=click.Choice(["on", "off"]), metavar="[on|off]")
@click.option("--host", "host_id", metavar="ID", help="Only that host.")
@pass_run
def fault(run: Run, name: str | None, switch: str | None, host_id: str | None) -> int:
    """List faults and what is on, or switch one on or off."""
    from gpudash.providers.sandbox import control

    if name is None:
        known = control.faults()
        if run.out.json:
            body = [{"name": f.name, "on": f.on, "text": f.text, "hosts": sorted(f.hosts)} for f in known]
            run.out.document({"faults": body})
        else:
            rows = [
                (f.name, "on" if f.on else "off", ", ".join(sorted(f.hosts)) or "all" if f.on else "–", f.text)
                for f in known
            ]
            for line in words.table(("FAULT", "NOW", "HOSTS", "WHAT IT DOES"), rows):
                run.out.line(line)
        return int(ExitCode.OK)
    if switch is None:
        raise UsageError("fault NAME needs on or off.", hint=f"Write `gpudash sandbox fault {name} on`.")
    _may_change(run, "fault")
    control.set_fault(name, switch == "on", host_id)
    where = f" on {host_id}" if host_id else ""
    return _done(run, "fault", f"{name} is {switch}{where}.")
