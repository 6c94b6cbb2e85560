"""`ready`: start if needed, wait until the service answers, print where."""

from __future__ import annotations

import http.client
import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from gpudash.cli import carry, jsonview
from gpudash.cli.acting import target_of
from gpudash.cli.tunnels import Ports, hold
from gpudash.cli.verb import DURATION, ID, Run, Verb, pass_run
from gpudash.errors import ExitCode, HostError, LinkDown
from gpudash.fleet.record import Record
from gpudash.model.capability import Verb as Change
from gpudash.model.instance import InstanceState
from gpudash.model.tunnel import TunnelState

if TYPE_CHECKING:
    from gpudash.fleet.session import Session

TRY_S = 3.0
"""How long one request may take."""
BETWEEN_S = 0.25
"""Between two requests."""


@click.command(cls=Verb)
@ID
@click.option("--timeout", type=DURATION, default="5m", show_default=True, help="For all of it.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of the service.  [default: the instance's, or 8000]")
@click.option("--health", metavar="PATH", help="What must answer 200.  [default: /health]")
@pass_run
def ready(run: Run, target: str, timeout: timedelta, port: int | None, health: str | None) -> int:
    """Start ID if needed, wait until its service answers 200, and print its base URL.

    That is the instance's own address where it can be reached from here, else a tunnel that is kept.
    """
    with run.session_for(target) as session:
        deadline = session.clock.monotonic() + timeout.total_seconds()
        record = _running(run, session, target, deadline)
        defaults = run.config.defaults
        remote = port or record.instance.service_port or defaults.service_port
        path = health or defaults.health_path
        run.out.going_on = f"{record.instance.name} goes on running and billing."
        url = await_service(run, session, record, remote, path, deadline)
        record = carry.find(session, record.key) or record
        detail = f"{url or 'the service'} {'answers' if url else f'did not answer {path} with 200 in time'}"
        if run.out.json:
            now = session.clock.now()
            body = jsonview.answer(
                "ready",
                account=record.key.account,
                id=record.key.id,
                ok=True,
                proved=url is not None,
                detail=detail,
                instance=jsonview.instance(record, now, session.store.cadence(record.key.account)),
            )
            run.out.document({**body, "url": url})
        elif url:
            run.out.line(url)
        if url is None:
            run.out.talk(f"gpudash: {record.instance.name}: {detail}.")
        return int(ExitCode.OK if url else ExitCode.UNPROVED)


def _running(run: Run, session: Session, target: str, deadline: float) -> Record:
    """The instance, started where it was stopped.

    Raises:
        LinkDown: it is on its way out, or did not come up.
    """
    session.poll(10.0)
    record = session.resolve(target)
    if record.instance.state in {InstanceState.STOPPED, InstanceState.HIBERNATED}:
        record = target_of(run, session, target, Change.START)
        run.out.talk(f"starting {record.instance.name}")
        operation = session.actions.start(record.key)
        session.settle_until(operation.id, max(0.0, deadline - session.clock.monotonic()), carry.Teller(run.out.talk))
        record = carry.must_find(session, record.key)
    while record.instance.state in {InstanceState.PENDING, InstanceState.STARTING} or (
        record.instance.state is InstanceState.RUNNING and record.instance.ssh is None
    ):
        if session.clock.monotonic() >= deadline:
            raise LinkDown(f"{record.instance.name} is still {record.instance.state.value}.")
        session.clock.sleep(BETWEEN_S)
        session.poll(5.0)
        record = carry.must_find(session, record.key)
    if record.instance.state is not InstanceState.RUNNING:
        raise LinkDown(f"{record.instance.name} is {record.instance.state.value}.")
    return record


def await_service(run: Run, session: Session, record: Record, remote: int, path: str, deadline: float) -> str | None:
    """The base URL once the service answers 200, or None when time is up."""
    own = _own_address(record)
    url: str | None = None
    told = ""
    while (left := deadline - session.clock.monotonic()) > 0:
        if own and answers(own, remote, path, min(left, TRY_S)):
            return f"http://{_bracketed(own)}:{remote}"
        try:
            local = _local_port(session, record, remote, left)
        except HostError as exc:
            if str(exc) != told:
                told = str(exc)
                run.out.talk(f"gpudash: {exc}")
            session.clock.sleep(BETWEEN_S)
            continue
        if answers("127.0.0.1", local, path, min(left, TRY_S)):
            url = f"http://127.0.0.1:{local}"
            break
        session.clock.sleep(BETWEEN_S)
    return url


def _own_address(record: Record) -> str | None:
    """The instance's own address; never one of this machine, whose ports are not the instance's."""
    host = record.instance.ssh.host if record.instance.ssh else None
    if host is None or host == "localhost":
        return None
    try:
        return None if ipaddress.ip_address(host).is_loopback else host
    except ValueError:
        return host


def _local_port(session: Session, record: Record, remote: int, timeout_s: float) -> int:
    """The local end of a forward that outlives this command; one that is up already is used."""
    from gpudash import paths
    from gpudash.hosts.tunnels import list_tunnels

    lasting = {"dashboard", "supervisor"}
    held = list_tunnels(paths.tunnels_dir())
    for _ in range(2):
        for item in held:
            mine = (item.account, item.instance_id, item.remote) == (record.key.account, record.key.id, remote)
            if mine and item.owner in lasting and item.state in {TunnelState.UP, TunnelState.NO_SERVICE}:
                session.store.apply_tunnels(held)
                return item.local
        held = hold(session, record, [Ports(remote)], min(timeout_s, 10.0))
    raise HostError(f"No tunnel to port {remote} of {record.instance.name} came up.")


def answers(host: str, port: int, path: str, timeout_s: float) -> bool:
    """Whether ``GET path`` there is answered with 200."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path if path.startswith("/") else f"/{path}")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
