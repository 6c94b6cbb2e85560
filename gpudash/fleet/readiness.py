"""From any state to a service that answers: start the instance if need be, wait for 200, and say where.

The service is asked over the instance's link, so nothing has to be reachable from outside and no local port is needed
before it is up. Where the provider says that the port can be reached from outside, that address is tried first and is
what is answered; else a tunnel, which is kept. Never the SSH address with the service's port: behind a proxy that is
someone else's machine.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpudash.errors import HostError, LinkDown, NoService, ProviderError, Refused
from gpudash.fleet.daemons import client
from gpudash.fleet.flights import SingleFlight, between_programs
from gpudash.fleet.outcome import error_of
from gpudash.fleet.record import Record, closed_to_programs, is_reachable
from gpudash.fleet.tunnels import listed, open_one
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.operation import Operation, Stage
from gpudash.model.tunnel import Tunnel, TunnelState

if TYPE_CHECKING:
    from gpudash.fleet.session import Session

TRY_S = 5.0
"""How long one request may take."""
BETWEEN_S = 0.3
HAND_OVER_S = 300.0
"""How long the host is held awake for whoever asked, within its lease."""
POLL_S = 10.0
ANOTHER = "Launch another one."
LOOK_AGAIN_S = 10.0
"""How often its cloud is asked again while the service does not answer: it may have gone down meanwhile."""
_ALIVE = frozenset({TunnelState.UP, TunnelState.NO_SERVICE})
_OFF = frozenset({InstanceState.STOPPED, InstanceState.HIBERNATED})
_OVER = frozenset({InstanceState.TERMINATING, InstanceState.TERMINATED})

Told = Callable[[str], None]


_flights = SingleFlight()


def ready(
    session: Session,
    key: InstanceKey,
    *,
    timeout_s: float,
    port: int | None = None,
    health_path: str | None = None,
    on_step: Told | None = None,
) -> str:
    """The base URL of the service, once it answers 200.

    Args:
        session: in use by this thread.
        key: the instance.
        timeout_s: real seconds for all of it.
        port: of the service on the host; the instance's, else the default one.
        health_path: what must answer 200.
        on_step: told what is waited for.

    Raises:
        Refused: it would have to be started and must not be.
        NoCapacity: the cloud has none free to start it with.
        ProviderError: it has ended, has failed, or could not be started; the cloud's own words.
        LinkDown: time is up.
    """
    record = session.record(key)
    remote = port or record.instance.service_port or session.config.defaults.service_port
    path = health_path or session.config.defaults.health_path
    tell = on_step or (lambda text: None)
    deadline = session.clock.monotonic() + timeout_s
    goal = (key, remote)

    def alone() -> str:
        return _ready(session, key, remote, path, deadline, tell)

    def once() -> str:
        waits = partial(tell, f"another gpudash is bringing {record.instance.name} up")
        return between_programs(session.state_dir / "ready", goal, session.clock, deadline, waits, alone)

    return _flights.run(goal, once)


def _ready(session: Session, key: InstanceKey, remote: int, path: str, deadline: float, tell: Told) -> str:
    record = _running(session, key, deadline, tell)
    listed_at, said = session.clock.monotonic(), ""
    while True:
        problem = _hand_over(session, record, remote, path)
        if isinstance(problem, _Answers):
            return problem.at or f"http://127.0.0.1:{_tunnel(session, record, remote).local}"
        if problem != said:
            tell(problem)
            said = problem
        if session.clock.monotonic() >= deadline:
            raise LinkDown(f"{record.instance.name} is not ready: {problem}")
        session.clock.sleep(BETWEEN_S)
        if session.clock.monotonic() - listed_at >= LOOK_AGAIN_S:
            session.poll(POLL_S, [(key.account, key.region)])
            record = _running(session, key, deadline, tell)
            listed_at = session.clock.monotonic()


@dataclass(frozen=True, slots=True)
class _Answers:
    """The service answers 200, and its host stays awake."""

    at: str | None
    """Its own address, where it can be reached from here."""


def _hand_over(session: Session, record: Record, remote: int, path: str) -> _Answers | str:
    """Ask, hold the host awake, ask again: between the two it cannot have gone to sleep. Else what is the matter."""
    first = _answers(session, record, remote, path)
    if isinstance(first, str):
        return first
    return _hold_awake(session, record) or _answers(session, record, remote, path)


def _answers(session: Session, record: Record, remote: int, path: str) -> _Answers | str:
    if (own := record.instance.service_url) is not None and _answers_direct(own, path):
        return _Answers(own.rstrip("/"))
    return _problem_over_link(session, record, remote, path) or _Answers(None)


def _running(session: Session, key: InstanceKey, deadline: float, tell: Told) -> Record:
    """The instance once it runs and has an address: started if it is off, waited for while it goes down or comes up."""
    said = ""
    while not is_reachable(record := session.record(key)) or record.is_ending:
        if (closed := closed_to_programs(record)) is not None:
            raise Refused(closed)
        name, state = record.instance.name, record.instance.state
        ending = record.operation.verb if record.is_ending and record.operation is not None else None
        if state in _OVER or ending is Verb.TERMINATE:
            raise ProviderError(f"{name} is being terminated or has been; it does not come back.", hint=ANOTHER)
        if state is InstanceState.ERROR:
            why = record.instance.notice or record.instance.provider_state
            raise ProviderError(f"{name} has failed at its cloud: {why}.", hint=ANOTHER)
        if state in _OFF:
            _start(session, record, deadline, tell)
            continue
        doing = f"{name} is {state.value}" + (f", and a {ending.value} of it was asked for" if ending else "")
        if said != doing:
            said = doing
            tell(doing)
        if session.clock.monotonic() >= deadline:
            raise LinkDown(f"{doing}.")
        session.poll(POLL_S, [(key.account, key.region)])
        session.clock.sleep(BETWEEN_S)
    return record


def _start(session: Session, record: Record, deadline: float, tell: Told) -> None:
    name = record.instance.name
    tell(f"starting {name}")
    try:
        operation = session.actions.start(record.key)
    except Refused:
        # Somebody else may have started it since it was listed; then it is only waited for.
        session.poll(POLL_S, [(record.key.account, record.key.region)])
        if session.record(record.key).instance.state in _OFF:
            raise
        return
    left = max(0.0, deadline - session.clock.monotonic())
    operation = session.settle_until(operation.id, left, lambda op: _tell_detail(op, tell))
    if operation.stage.is_open and session.clock.monotonic() >= deadline:
        raise LinkDown(f"{name} is still on its way: {operation.detail or 'a start was asked for'}")
    if operation.stage is not Stage.PROVED and session.record(record.key).instance.state in _OFF:
        raise error_of(operation, f"{name} could not be started: {operation.detail}")


def _tell_detail(operation: Operation, tell: Told) -> None:
    if operation.detail:
        tell(operation.detail)


def _problem_over_link(session: Session, record: Record, port: int, path: str) -> str | None:
    """Why the service does not answer 200 yet, asked through the link; None once it does."""
    from gpudash.hosts.client import connection_over

    try:
        connection = connection_over(session.desk.hosts().link(record.instance), port, TRY_S)
    except NoService:
        return f"nothing listens on port {port} yet"
    except HostError as exc:
        return exc.text
    try:
        return _problem_of(connection, path)
    finally:
        connection.close()


def _answers_direct(origin: str, path: str) -> bool:
    parts = urlsplit(origin)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TRY_S)
    with contextlib.closing(connection):
        return _problem_of(connection, parts.path.rstrip("/") + path) is None


def _problem_of(connection: http.client.HTTPConnection, path: str) -> str | None:
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, EOFError, http.client.HTTPException) as exc:
        return f"no answer from the service: {exc or type(exc).__name__}"
    return None if status == 200 else f"the service answers {status}"


def _hold_awake(session: Session, record: Record) -> str | None:
    """Start the idle clock anew before the service is handed over, so that it cannot go down before its first request.

    A host without a daemon has no idle clock, and one whose daemon does not answer is no less ready. One that refuses is
    on its way down: those are its words.
    """
    try:
        client(session.desk, record, TRY_S).activity(HAND_OVER_S)
    except Refused as exc:
        return exc.text
    except HostError:
        return None
    return None


def _tunnel(session: Session, record: Record, remote: int) -> Tunnel:
    """A forward that outlives this call: one that is there, else the dashboard's own, else a supervisor's."""
    for tunnel in listed(session.tunnels_dir):
        same = (tunnel.account, tunnel.instance_id, tunnel.remote) == (record.key.account, record.key.id, remote)
        if same and tunnel.owner in {"dashboard", "supervisor"} and tunnel.state in _ALIVE:
            return tunnel
    if session.actor == "dashboard":
        return open_one(session, record, remote)
    from gpudash.hosts.supervisor import spawn

    return spawn(record.instance, [(remote, None)], state_dir=session.state_dir)[0]
