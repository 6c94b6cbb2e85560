"""`sandbox up|down|reset|fault`: the hosts on this machine that behave like a cloud's."""

from __future__ import annotations

from typing import Any

import click

from gpudash.cli import unanswered, words
from gpudash.cli.output import can_ask
from gpudash.cli.verb import READ_ONLY, Run, Verb, pass_run
from gpudash.errors import ExitCode, HostError, Refused, UsageError
from gpudash.model.instance import InstanceState

ACCOUNT = "sandbox"
BOOT_S = 20.0
"""How long hosts may take to come up."""
ASK_S = 5.0
"""How long to wait for what their daemons say."""
CLOSE_S = 3.0
"""How long the owner of a forward may take to close it."""


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
@click.argument("count", type=click.IntRange(1, 50), default=6, metavar="[N]")
@pass_run
def up(run: Run, count: int) -> int:
    """Start the hosts that are stopped; where there are none, launch N of them (6 where N is left out)."""
    _may_change(run, "up")
    from gpudash.providers.sandbox import control

    with run.session([ACCOUNT]) as session:
        keys = control.up(count)
        deadline = session.clock.monotonic() + BOOT_S
        while True:
            session.poll(BOOT_S)
            records = [session.store.records.get(key) for key in keys]
            running = [record for record in records if record and record.instance.state is InstanceState.RUNNING]
            if len(running) == len(keys) or session.clock.monotonic() >= deadline:
                break
            session.clock.sleep(0.1)
        unanswered.read_hosts(session, ASK_S, 0.0)
    names = ", ".join(record.instance.name for record in running)
    if len(running) < len(keys):
        text = f"{len(running)} of {len(keys)} sandbox hosts are running after {BOOT_S:.0f} s."
        raise HostError(text, hint="`gpudash sandbox fault` shows what is switched on.")
    return _done(run, "up", f"{len(keys)} sandbox hosts are running: {names}.", hosts=[key.id for key in keys])


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

    _let_go()
    control.reset()
    unanswered.forget()
    if paths.ledger_file().exists():
        ledger = Ledger.open(paths.ledger_file(), SystemClock())
        try:
            ledger.forget_account(ACCOUNT)
        finally:
            ledger.close()
    return _done(run, "reset", "The sandbox is empty: no host, process, port or file is left.")


def _let_go() -> None:
    """Close every forward to sandbox hosts, whoever holds it, and drop their host keys."""
    from gpudash import paths
    from gpudash.hosts.hostkeys import KnownHosts, alias
    from gpudash.hosts.tunnels import CloseRequest, close_tunnels, list_tunnels
    from gpudash.model.instance import InstanceKey
    from gpudash.providers.sandbox import control

    held = {item.instance_id for item in list_tunnels(paths.tunnels_dir()) if item.account == ACCOUNT}
    for instance_id in held:
        close_tunnels(paths.tunnels_dir(), CloseRequest(ACCOUNT, instance_id), timeout=CLOSE_S)
    known = KnownHosts(paths.known_hosts_file())
    for host in control.sandbox().hosts():
        known.forget(alias(InstanceKey(ACCOUNT, "", host.id)))


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
                (
                    f.name,
                    "on" if f.on or f.hosts else "off",
                    "all" if f.on else ", ".join(sorted(f.hosts)) or words.NOT_APPLICABLE,
                    f.text,
                )
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
