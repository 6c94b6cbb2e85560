"""From any state to a service that answers: start the instance if need be, wait for 200, and say where.

The service is asked over the instance's link, so nothing has to be reachable from outside and no local port is needed
before it is up. Where the provider says that the port can be reached from outside, that address is tried first and is
what is answered; else a tunnel, which is kept. Never the SSH address with the service's port: behind a proxy that is
someone else's machine.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpudash.errors import HostError, LinkDown, NoService, Refused
from gpudash.fleet.daemons import client
from gpudash.fleet.record import Record, is_reachable
from gpudash.fleet.tunnels import listed, open_one
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.operation import Operation
from gpudash.model.tunnel import Tunnel, TunnelState

if TYPE_CHECKING:
    from gpudash.fleet.session import Session

TRY_S = 5.0
"""How long one request may take."""
BETWEEN_S = 0.3
HAND_OVER_S = 300.0
"""How long the host is held awake for whoever asked, within its lease."""
POLL_S = 10.0
_ALIVE = frozenset({TunnelState.UP, TunnelState.NO_SERVICE})
_OFF = frozenset({InstanceState.STOPPED, InstanceState.HIBERNATED})
_COMING = frozenset({InstanceState.PENDING, InstanceState.STARTING, InstanceState.RUNNING, InstanceState.UNKNOWN})

Told = Callable[[str], None]


class SingleFlight:
    """Many may ask for the same instance at once; one does the work, and all get its answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[tuple[InstanceKey, int], Future[str]] = {}

    def run(self, key: tuple[InstanceKey, int], work: Callable[[], str]) -> str:
        """The answer of `work`, done once however many ask while it runs."""
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        if mine:
            try:
                flight.set_result(work())
            except BaseException as exc:  # whoever waits along must hear of it too
                flight.set_exception(exc)
            finally:
                with self._lock:
                    del self._flights[key]
        return flight.result()


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
        LinkDown: time is up, or it is on its way out.
    """
    record = session.record(key)
    remote = port or record.instance.service_port or session.config.defaults.service_port
    path = health_path or session.config.defaults.health_path
    tell = on_step or (lambda text: None)
    deadline = session.clock.monotonic() + timeout_s
    return _flights.run((key, remote), lambda: _ready(session, key, remote, path, deadline, tell))


def _ready(session: Session, key: InstanceKey, remote: int, path: str, deadline: float, tell: Told) -> str:
    record = _running(session, key, deadline, tell)
    said = ""
    while True:
        if (own := record.instance.service_url) is not None and _answers_direct(own, path):
            _hold_awake(session, record)
            return own.rstrip("/")
        problem = _problem_over_link(session, record, remote, path)
        if problem is None:
            _hold_awake(session, record)
            return f"http://127.0.0.1:{_tunnel(session, record, remote).local}"
        if problem != said:
            tell(problem)
            said = problem
        if session.clock.monotonic() >= deadline:
            raise LinkDown(f"{record.instance.name} is not ready: {problem}")
        session.clock.sleep(BETWEEN_S)


def _running(session: Session, key: InstanceKey, deadline: float, tell: Told) -> Record:
    record = session.record(key)
    if record.instance.state in _OFF:
        tell(f"starting {record.instance.name}")
        operation = session.actions.start(key)
        left = max(0.0, deadline - session.clock.monotonic())
        operation = session.settle_until(operation.id, left, lambda op: _tell_detail(op, tell))
        if not operation.stage.is_open and session.record(key).instance.state in _OFF:
            raise Refused(f"{record.instance.name} could not be started: {operation.detail}")
    while not is_reachable(record := session.record(key)):
        if record.instance.state not in _COMING:
            raise LinkDown(f"{record.instance.name} is {record.instance.state.value}.")
        if session.clock.monotonic() >= deadline:
            raise LinkDown(f"{record.instance.name} is still {record.instance.state.value}.")
        session.poll(POLL_S, [(key.account, key.region)])
        session.clock.sleep(BETWEEN_S)
    return record


def _tell_detail(operation: Operation, tell: Told) -> None:
    if operation.detail:
        tell(operation.detail)


def _problem_over_link(session: Session, record: Record, port: int, path: str) -> str | None:
    """Why the service does not answer 200 yet, asked through the link; None once it does."""
    from gpudash.hosts.client import connection_over

    try:
        connection = connection_over(session.hosts.link(record.instance), port, TRY_S)
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


def _hold_awake(session: Session, record: Record) -> None:
    """Start the idle clock anew before the service is handed over, so that it cannot go down before its first request.

    A host without a daemon has no idle clock, and one whose daemon does not answer is no less ready.
    """
    with contextlib.suppress(HostError, Refused):
        client(session.desk, record, TRY_S).activity(HAND_OVER_S)


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
