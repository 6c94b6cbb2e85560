"""`tunnel`: forwards in the foreground or in a supervisor; `tunnel ls` and `tunnel close` see everybody's."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import carry, jsonview, words
from gpudash.cli.listing import POLL_S
from gpudash.cli.output import one_line
from gpudash.cli.verb import DURATION, ID, READ_ONLY, Run, Verb, pass_run
from gpudash.cli.watching import stop_on_signals
from gpudash.clock import iso
from gpudash.errors import ExitCode, LinkDown, NeedsUser, NotFound, Refused, UsageError
from gpudash.fleet.record import closed_to_programs
from gpudash.model.instance import InstanceState
from gpudash.model.tunnel import Tunnel, TunnelState

if TYPE_CHECKING:
    from gpudash.fleet.record import Record
    from gpudash.fleet.session import Session
    from gpudash.hosts.forward import Forward

FLAGS = {"--json", "--read-only"}
CLOSE_S = 5.0
"""How long an owner of forwards has to close them."""
_SHAPE = re.compile(r"(?:(\d{1,5}):)?(\d{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ports:
    """``[LOCAL:]REMOTE``; local None takes the same number, or a free one where that is taken."""

    remote: int
    local: int | None = None


class PortsType(click.ParamType[Ports]):
    """Reads ``8888`` and ``9000:8888``."""

    name = "ports"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Ports:
        match = _SHAPE.fullmatch(str(value))
        numbers = [int(part) for part in match.groups() if part] if match else []
        if not numbers or any(not 1 <= number <= 65535 for number in numbers):
            raise UsageError(f"-L: {value!r} is not a port.", hint="Write it like -L 8888 or -L 9000:8888.")
        return Ports(numbers[-1], numbers[0] if len(numbers) == 2 else None)


class TunnelGroup(click.Group):
    """``tunnel ID`` opens; ``tunnel ls`` and ``tunnel close`` are verbs of their own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags = [word for word in args if word in FLAGS]
        rest = [word for word in args if word not in FLAGS]
        if rest and rest[0] not in self.commands and rest[0] not in ctx.help_option_names:
            rest.insert(0, "open")
        return super().parse_args(ctx, [*rest[:1], *flags, *rest[1:]] if rest else flags)


@click.group(cls=TunnelGroup, context_settings={"help_option_names": ["-h", "--help"]})
def tunnel() -> None:
    """Forward ports of this machine to an instance.

    \b
    gpudash tunnel ID -L 8888             127.0.0.1:8888 → port 8888 of ID, until interrupted
    gpudash tunnel ID -L 9000:8888        another local port
    gpudash tunnel ID -L 8888 --detach    left behind in a supervisor
    """


tunnel.params.append(READ_ONLY)


@tunnel.command("open", cls=Verb)
@ID
@click.option("-L", "ports", type=PortsType(), multiple=True, metavar="[LOCAL:]REMOTE", help="May be repeated.")
@click.option("--detach", is_flag=True, help="Leave a supervisor behind that keeps the forwards up.")
@click.option("--timeout", type=DURATION, default="30s", show_default=True, help="How long to wait until all are up.")
@pass_run
def open_(run: Run, target: str, ports: Sequence[Ports], detach: bool, timeout: timedelta) -> int:
    """Forward ports to ID; its service port where no -L is given."""
    run.out.command = "tunnel"
    with run.session_for(target) as session:
        record = reachable(session, target)
        if (closed := closed_to_programs(record)) is not None:
            raise Refused(closed)
        wanted = list(ports) or [Ports(record.instance.service_port or run.config.defaults.service_port)]
        if detach:
            return _detached(run, session, record, wanted, timeout.total_seconds())
        return _foreground(run, session, record, wanted, timeout.total_seconds())


def reachable(session: Session, target: str) -> Record:
    """The instance, where it runs and has an SSH address.

    Raises:
        LinkDown: it does not.
    """
    session.poll(POLL_S)
    record = session.resolve(target)
    machine = record.instance
    if machine.state is not InstanceState.RUNNING or machine.ssh is None:
        hint = f"`gpudash start {machine.key}` first." if machine.state is InstanceState.STOPPED else None
        raise LinkDown(f"{machine.name or machine.key} is {machine.state.value}; there is nothing to reach.", hint=hint)
    return record


def _foreground(run: Run, session: Session, record: Record, wanted: Sequence[Ports], timeout_s: float) -> int:
    link = session.hosts.link(record.instance)
    forwards = [link.forward(ports.remote, ports.local) for ports in wanted]
    stop = stop_on_signals()
    states = _await_all(session, forwards, stop, timeout_s)
    if TunnelState.NEEDS_USER in states:
        raise NeedsUser(forwards[0].detail or "A person must decide about this host.", hint="Open the dashboard.")
    if stop.is_set():
        return int(ExitCode.OK)
    if TunnelState.UP not in states and TunnelState.NO_SERVICE not in states:
        raise LinkDown(f"No link to {record.instance.name} came up: {forwards[0].detail or 'no answer in time'}.")
    session.store.apply_tunnels(session.hosts.tunnels())
    _announce(run, session, record, list(session.hosts.tunnels()), owner="until interrupted")
    told = {id(forward): forward.state for forward in forwards}
    while not stop.wait(0.2):
        if all(forward.closed for forward in forwards):
            run.out.talk("gpudash: closed by `tunnel close`.")
            return int(ExitCode.OK)
        for forward in forwards:
            if forward.state is not told[id(forward)] and not forward.closed:
                told[id(forward)] = forward.state
                run.out.talk(f"127.0.0.1:{forward.local} → {forward.remote}: {_state(forward.state, forward.detail)}")
    run.out.talk("gpudash: tunnels closed.")
    return int(ExitCode.OK)


def _await_all(
    session: Session, forwards: Sequence[Forward], stop: threading.Event, timeout_s: float
) -> list[TunnelState]:
    """Wait until all are up, one needs a person, or time is up."""
    deadline = session.clock.monotonic() + timeout_s
    while True:
        states = [forward.state for forward in forwards]
        done = all(state is TunnelState.UP for state in states) or TunnelState.NEEDS_USER in states
        if done or session.clock.monotonic() >= deadline or stop.wait(0.05):
            return states


def _detached(run: Run, session: Session, record: Record, wanted: Sequence[Ports], timeout_s: float) -> int:
    tunnels = hold(session, record, wanted, timeout_s)
    session.store.apply_tunnels(tunnels)
    mine = [item for item in tunnels if _belongs(item, record)]
    return _announce(run, session, record, mine, owner="kept by a supervisor; `gpudash tunnel close` ends it")


def hold(session: Session, record: Record, wanted: Sequence[Ports], timeout_s: float) -> list[Tunnel]:
    """Have a supervisor hold those forwards, and wait until all are up or time is over. Answers every forward there is.

    Raises:
        HostError: the supervisor could not be started, or could not open one of the ports.
    """
    from gpudash import paths
    from gpudash.hosts.supervisor import spawn
    from gpudash.hosts.tunnels import list_tunnels

    ports = [(item.remote, item.local) for item in wanted]
    pid = spawn(record.instance, ports, state_dir=paths.state_dir())[0].owner_pid
    deadline = session.clock.monotonic() + timeout_s
    while True:
        held = list_tunnels(paths.tunnels_dir())
        states = [item.state for item in held if item.owner_pid == pid]
        done = all(state is TunnelState.UP for state in states) or TunnelState.NEEDS_USER in states
        if done or session.clock.monotonic() >= deadline:
            return held
        session.clock.sleep(0.05)


def _belongs(item: Tunnel, record: Record) -> bool:
    return (item.account, item.instance_id) == (record.key.account, record.key.id)


def _announce(run: Run, session: Session, record: Record, tunnels: list[Tunnel], *, owner: str) -> int:
    """Say what is up, in text or as the document. Returns 6 where something is not."""
    up = all(item.state is TunnelState.UP for item in tunnels) and bool(tunnels)
    detail = (
        "every forward is up"
        if up
        else "; ".join(
            f"port {item.remote}: {_state(item.state, item.detail)}"
            for item in tunnels
            if item.state is not TunnelState.UP
        )
    )
    if run.out.json:
        now = session.clock.now()
        current = carry.find(session, record.key) or record
        body = jsonview.answer(
            "tunnel",
            account=record.key.account,
            id=record.key.id,
            ok=True,
            proved=up,
            detail=one_line(detail),
            instance=jsonview.instance(current, now, session.store.cadence(record.key.account)),
        )
        run.out.document({**body, "tunnels": [jsonview.tunnel_of_instance(item) for item in tunnels]})
    else:
        for item in tunnels:
            where = f"127.0.0.1:{item.local} → {record.instance.name}:{item.remote}"
            run.out.line(f"{where}  {_state(item.state, item.detail)}")
    run.out.talk(f"gpudash: {owner}.")
    return int(ExitCode.OK if up else ExitCode.UNPROVED)


def _state(state: TunnelState, detail: str) -> str:
    return f"{state.value} ({one_line(detail)})" if detail and state is not TunnelState.UP else state.value


@tunnel.command("ls", cls=Verb)
@pass_run
def ls(run: Run) -> int:
    """Every forward of every gpudash process: dashboard, command, supervisor."""
    run.out.command = "tunnel ls"
    from gpudash import paths
    from gpudash.hosts.tunnels import list_tunnels

    now = run.clock().now()
    tunnels = sorted(list_tunnels(paths.tunnels_dir()), key=lambda item: (item.account, item.name, item.remote))
    if run.out.json:
        run.out.document({"as_of": iso(now), "tunnels": [jsonview.tunnel(item) for item in tunnels]})
    elif tunnels:
        rows = [
            (
                item.name,
                item.account,
                f"127.0.0.1:{item.local}",
                str(item.remote),
                _state(item.state, item.detail),
                f"{item.owner} {item.owner_pid}",
                words.age(item.since, now) if item.since else words.NOT_APPLICABLE,
            )
            for item in tunnels
        ]
        for line in words.table(("NAME", "ACCOUNT", "LOCAL", "REMOTE", "STATE", "HELD BY", "UP SINCE"), rows):
            run.out.line(line)
    else:
        run.out.talk("No tunnel is open.")
    return int(ExitCode.OK)


@tunnel.command("close", cls=Verb)
@ID
@click.option("-L", "ports", type=PortsType(), multiple=True, metavar="REMOTE", help="Only that remote port.")
@pass_run
def close(run: Run, target: str, ports: Sequence[Ports]) -> int:
    """Close the forwards of ID, whoever holds them. Asks no cloud, so it works for an instance that is gone."""
    run.out.command = "tunnel close"
    from gpudash import paths
    from gpudash.hosts.tunnels import CloseRequest, close_tunnels, list_tunnels

    folder = paths.tunnels_dir()
    before = list_tunnels(folder)
    account, instance_id = _named(target, before)
    meant = [CloseRequest(account, instance_id, item.remote) for item in ports] or [CloseRequest(account, instance_id)]
    forget_wanted(run, account, instance_id, [item.remote for item in ports])
    closed = [item for request in meant for item in close_tunnels(folder, request, timeout=CLOSE_S)]
    left = [item for item in list_tunnels(folder) if any(request.fits(item) for request in meant)]
    detail = f"{len(closed)} closed" + (f", {len(left)} still held" if left else "")
    if run.out.json:
        body = jsonview.answer(
            "tunnel close",
            account=account,
            id=instance_id,
            ok=not left,
            proved=not left,
            detail=detail,
            instance=None,
        )
        run.out.document({**body, "tunnels": [jsonview.tunnel_of_instance(item) for item in closed]})
    else:
        run.out.line(detail + ".")
    return int(ExitCode.UNPROVED if left else ExitCode.OK)


def forget_wanted(run: Run, account: str, instance_id: str, remotes: Sequence[int]) -> None:
    """A tunnel closed on purpose does not come back when the dashboard is opened again."""
    from gpudash import paths
    from gpudash.ledger import Ledger

    if not paths.ledger_file().exists():
        return
    ledger = Ledger.open(paths.ledger_file(), run.clock())
    try:
        for wanted in ledger.wanted_tunnels():
            same = (wanted.key.account, wanted.key.id) == (account, instance_id)
            if same and (not remotes or wanted.remote in remotes):
                ledger.unwant_tunnel(wanted.key, wanted.remote)
    finally:
        ledger.close()


def _named(target: str, tunnels: Sequence[Tunnel]) -> tuple[str, str]:
    """Which instance is meant, among those that have forwards.

    Raises:
        NotFound: none, or several.
    """
    account, colon, rest = target.partition(":")
    fits = {
        (item.account, item.instance_id)
        for item in tunnels
        if (colon and (item.account, item.instance_id) == (account, rest))
        or (not colon and (item.name == target or item.instance_id.startswith(target)))
    }
    if len(fits) == 1:
        return fits.pop()
    if fits:
        names = ", ".join(sorted(f"{owner}:{id_}" for owner, id_ in fits))
        raise NotFound(f"{target!r} fits several: {names}.", hint="Write one of these in full.")
    raise NotFound(f"No tunnel of {target!r} is open.", hint="`gpudash tunnel ls` lists all.")
