"""The supervised SSH connection to one instance. Forwards, exec, SFTP and the statusd client all ride on it.

A link is asked for once and from then on looks after itself: it connects, notices a silent peer within
`Limits.dead_after_s` and a broken connection at once, and tries again with growing waits. Only what a person must
decide stops it (`LinkState.NEEDS_USER`): `retry`, `accept` and `unlock` set it going again.

Threads: one that supervises, one that pings, and paramiko's own. Only the pinger asks with ``wait=True``, because all
such questions share one event inside paramiko. All methods may be called from any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gpudash.clock import Clock
from gpudash.errors import HostError, LinkDown, NeedsUser, NoForwards, NoService
from gpudash.hosts.auth import AuthUndecided
from gpudash.hosts.connect import Refused, broken, connect
from gpudash.hosts.execute import ExecResult, run
from gpudash.hosts.forward import Acceptor, Forward
from gpudash.hosts.hostkeys import HostKey, KnownHosts, alias_of
from gpudash.hosts.pulse import Beat, Pulse
from gpudash.hosts.states import Backoff, Limits, LinkState
from gpudash.model.instance import Instance, InstanceKey, SshAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramiko import Channel, SFTPClient, Transport

__all__ = ["ExecResult", "Link", "LinkState"]

log = logging.getLogger(__name__)

WINDOW = 1 << 24
"""16 MB in flight: 155 MB/s at 50 ms round trip, against 34 with paramiko's default."""

EXECS_AT_ONCE = 4
"""OpenSSH allows ten sessions on one connection; SFTP and a person's own want some of them."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What of an instance decides how it is reached. Another one means another connection."""

    address: SshAddress | None
    vouched: bool
    born_at: datetime | None

    @classmethod
    def of(cls, instance: Instance) -> _Target:
        return cls(instance.ssh, instance.managed, instance.started_at or instance.created_at)


class Link:
    """One instance's connection. Made by `Hosts.link`; connects on the first `start` or `wait_up`."""

    def __init__(
        self,
        instance: Instance,
        known: KnownHosts,
        clock: Clock,
        *,
        acceptor: Acceptor | None = None,
        limits: Limits | None = None,
        on_change: Callable[[InstanceKey], None] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Make it; nothing connects yet.

        Args:
            instance: names key and address; a newer one is given to `retarget`.
            known: our host keys.
            clock: `since` of links and forwards is told in its time; waits use its monotonic one.
            acceptor: waits for connections to forwards; shared by all links of a process.
            limits: how patient it is.
            on_change: called from a thread of the link after its state or that of a forward changed.
            wall: the machine's wall clock in seconds; runs ahead of `clock.monotonic` over a sleep.
        """
        self.key = instance.key
        self.name = instance.name
        self.clock = clock
        self.limits = limits or Limits()
        self._known = known
        self._alias = alias_of(instance)
        self._target = _Target.of(instance)
        self._acceptor = acceptor or Acceptor()
        self._on_change = on_change
        self._wall = wall
        self._cond = threading.Condition()
        self._state = LinkState.IDLE
        self._since: datetime | None = None
        self._problem: str | None = None
        self._decision: NeedsUser | None = None
        self._offered: HostKey | None = None
        self._way: SshAddress | None = None
        self._passphrase: str | None = None
        self._transport: Transport | None = None
        self._generation = 0
        self._attempts = 0
        self._waiting = 0
        self._poked = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._forwards: list[Forward] = []
        self._prober: threading.Thread | None = None
        self._execs = threading.BoundedSemaphore(EXECS_AT_ONCE)
        self._sftp: tuple[int, SFTPClient] | None = None
        self._sftp_lock = threading.Lock()

    @property
    def state(self) -> LinkState:
        """What the connection is doing now."""
        return self._state

    @property
    def since(self) -> datetime | None:
        """When it came up, while it is up."""
        return self._since

    @property
    def problem(self) -> str | None:
        """Why it is not up, as a sentence; None while it is."""
        return self._problem

    @property
    def decision(self) -> NeedsUser | None:
        """What a person must decide, in `NEEDS_USER`: its type says how to go on."""
        return self._decision

    @property
    def fingerprint(self) -> str | None:
        """The host key shown at the last contact, trusted or not."""
        return None if self._offered is None else self._offered.fingerprint

    @property
    def address(self) -> SshAddress | None:
        """Where it connects to."""
        return self._target.address

    @property
    def way(self) -> SshAddress | None:
        """The address that answered last: of one with a proxy this may be the proxy's."""
        way, address = self._way, self._target.address
        return way if address is not None and way in address.ways else address

    @property
    def generation(self) -> int:
        """Counts connections; what was learnt on an older one (a port, a session) may be void."""
        return self._generation

    @property
    def forwards(self) -> tuple[Forward, ...]:
        """Forwards that are switched on."""
        with self._cond:
            return tuple(self._forwards)

    def start(self) -> None:
        """Begin to connect, if nobody has yet. Returns at once."""
        with self._cond:
            if self._closing:
                raise LinkDown(f"The link to {self.name} was closed.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._supervise, name=f"link-{self.key}", daemon=True)
                self._thread.start()

    def retry(self) -> None:
        """Try now: after a person changed something, or because waiting longer is pointless."""
        self.start()
        with self._cond:
            if self._state in {LinkState.NEEDS_USER, LinkState.BACKOFF}:
                self._poked = True
                self._decision = None
                self._assume(LinkState.CONNECTING, None)
            self._cond.notify_all()
        self._changed()

    def accept(self, fingerprint: str) -> None:
        """Trust the key that the host showed, and connect.

        Raises:
            NeedsUser: the key shown last is not the one the person agreed to.
        """
        offered = self._offered
        if offered is None or offered.fingerprint != fingerprint:
            shown = offered.fingerprint if offered else "none"
            raise NeedsUser(f"You accepted {fingerprint}, but the key shown last is {shown}.", hint="Look again.")
        self._known.trust(self._alias, offered)
        self.retry()

    def unlock(self, passphrase: str) -> None:
        """Try again with this pass phrase for locked key files. It is kept in memory only."""
        self._passphrase = passphrase
        self.retry()

    def retarget(self, instance: Instance) -> None:
        """Take the newest listing of the instance. A changed address ends the connection to the old one."""
        target = _Target.of(instance)
        with self._cond:
            self.name = instance.name
            if target == self._target:
                return
            moved = target.address != self._target.address
            self._target, self._alias = target, alias_of(instance)
            if not moved:
                return
            self._poked = True
            transport = self._transport
            self._cond.notify_all()
        if transport is not None:
            transport.close()

    def wait_up(self, timeout: float) -> Transport:
        """The live connection, waiting for it if need be. Starts the link.

        Raises:
            NeedsUser: a person must decide first.
            LinkDown: it did not come up in time; the text says what the last attempt met.
        """
        self.start()
        deadline = self.clock.monotonic() + timeout
        with self._cond:
            self._waiting += 1
            self._cond.notify_all()
            try:
                return self._await_transport(deadline, timeout)
            finally:
                self._waiting -= 1

    def _await_transport(self, deadline: float, timeout: float) -> Transport:
        while True:
            transport = self._transport
            if transport is not None and transport.is_active():
                return transport
            if self._state is LinkState.NEEDS_USER and self._decision is not None:
                raise self._decision.with_traceback(None)
            left = deadline - self.clock.monotonic()
            if self._closing or left <= 0:
                why = self._problem or f"it did not come up within {timeout:g} s"
                raise LinkDown(f"No connection to {self.name}: {why}")
            self._cond.wait(min(left, 0.5))

    def exec(self, command: str, *, timeout: float, stdin: bytes = b"") -> ExecResult:
        """Run a command on the host and wait for its end.

        A child that it leaves behind must not keep its stdout open (``>/dev/null 2>&1``), or this waits for it.

        Args:
            command: for the login shell of the user there.
            timeout: seconds for everything, connecting included.
            stdin: fed to it; then its stdin is closed.

        Raises:
            LinkDown: there is no connection, or it broke.
            HostError: it did not end in time.
        """
        deadline = self.clock.monotonic() + timeout
        transport = self.wait_up(timeout)
        if not self._execs.acquire(timeout=max(0.0, deadline - self.clock.monotonic())):
            raise HostError(f"{self.name} is busy with other commands; {command.split()[0]} was not started.")
        try:
            return run(transport, command, stdin, deadline, self.clock)
        finally:
            self._execs.release()

    def open_channel(
        self, host: str, port: int, timeout: float, *, source: tuple[str, int] = ("127.0.0.1", 0)
    ) -> Channel:
        """A stream from here to ``host:port`` as seen from the instance.

        Raises:
            NoService: nothing listens there. Not a fault of the link.
            NoForwards: the SSH server forbids it.
            LinkDown: no connection, or no answer in time.
        """
        import paramiko

        deadline = self.clock.monotonic() + timeout
        transport = self.wait_up(timeout)
        left = max(0.1, deadline - self.clock.monotonic())
        try:
            return transport.open_channel("direct-tcpip", (host, port), source, window_size=WINDOW, timeout=left)
        except paramiko.ChannelException as exc:
            raise self._no_channel(port, exc.code) from exc
        except (paramiko.SSHException, OSError, EOFError) as exc:
            # Two refusals at the same moment share one slot for the reason inside paramiko; the second finds it empty.
            if transport.is_active() and "Unable to open" in str(exc):
                raise self._no_channel(port, 2) from exc
            raise broken(exc, f"opening port {port} of {self.name}") from exc

    def _no_channel(self, port: int, code: int) -> HostError:
        if code == 1:
            return NoForwards(
                f"The SSH server of {self.name} forbids forwards.", hint="Set AllowTcpForwarding yes there."
            )
        return NoService(f"Nothing listens on port {port} of {self.name}.")

    @contextmanager
    def sftp(self, timeout: float = 10.0) -> Iterator[SFTPClient]:
        """The one SFTP session of this connection, lent to one thread at a time.

        Raises:
            HostError: the host offers no SFTP.
            LinkDown: no connection, or it broke.
        """
        import paramiko

        with self._sftp_lock:
            transport = self.wait_up(timeout)
            try:
                if self._sftp is None or self._sftp[0] != self._generation or self._sftp[1].sock.closed:
                    client = paramiko.SFTPClient.from_transport(transport)
                    if client is None:
                        raise HostError(f"{self.name} offers no SFTP.")
                    client.get_channel().settimeout(timeout)
                    self._sftp = (self._generation, client)
                yield self._sftp[1]
            except (paramiko.SSHException, EOFError, TimeoutError) as exc:
                self._sftp = None
                if transport.is_active() and not isinstance(exc, TimeoutError):
                    raise HostError(f"{self.name} offers no SFTP ({exc or 'it hung up'}).") from exc
                raise broken(exc, f"copying to {self.name}") from exc

    def forward(self, remote: int, local: int | None = None) -> Forward:
        """Switch on a forward ``127.0.0.1:local → remote``. It lives until its `close`, whatever the link does.

        Args:
            remote: port on the host.
            local: port here; None takes the same number where it is free, else any.

        Raises:
            PortBusy: `local` is taken.
        """
        with self._cond:
            for forward in self._forwards:
                if forward.remote == remote and local in {None, forward.local}:
                    return forward
        forward = Forward(self, self._acceptor, remote, local, on_close=self._forget, on_change=self._changed)
        with self._cond:
            self._forwards.append(forward)
        self.start()
        if self._state is LinkState.UP:
            self._probe_forwards()
        self._changed()
        return forward

    def close(self) -> None:
        """End everything: forwards, connection, threads. Quick, whatever the peer does."""
        with self._cond:
            self._closing = True
            transport, thread = self._transport, self._thread
            self._cond.notify_all()
        for forward in self.forwards:
            forward.close()
        if transport is not None:
            transport.close()
        for other in (thread, self._prober):
            if other is not None and other is not threading.current_thread():
                other.join(2.0)
        with self._cond:
            self._thread = None
            self._assume(LinkState.IDLE, None)

    def _forget(self, forward: Forward) -> None:
        with self._cond:
            if forward in self._forwards:
                self._forwards.remove(forward)
        self._changed()

    def _supervise(self) -> None:
        backoff = Backoff(self.limits.backoff_first_s, self.limits.backoff_max_s)
        while not self._closing:
            target = self._begin()
            try:
                transport = self._attempt(target)
            except LinkDown as exc:
                self._rest(exc, backoff, cheap=isinstance(exc, Refused))
            except NeedsUser as exc:
                if isinstance(exc, AuthUndecided) and self._is_booting(target):
                    self._rest(LinkDown(f"{exc.text} The machine is young; it may not have our key yet."), backoff)
                else:
                    self._ask(exc)
            except Exception as exc:
                self._rest(LinkDown(f"Unexpected: {type(exc).__name__}: {exc}."), backoff)
            else:
                up_at = self.clock.monotonic()
                problem = self._watch(transport)
                if self.clock.monotonic() - up_at >= self.limits.settled_s:
                    backoff.reset()
                if not self._closing:
                    self._rest(LinkDown(problem), backoff)

    def _begin(self) -> _Target:
        with self._cond:
            self._poked = False
            self._assume(LinkState.CONNECTING, self._problem)
            target = self._target
        self._changed()
        return target

    def _attempt(self, target: _Target) -> Transport:
        if target.address is None:
            raise LinkDown("The cloud has not told its SSH address yet.")
        self._attempts += 1
        transport = connect(
            target.address,
            self._alias,
            self._known,
            vouched=target.vouched,
            passphrase=self._passphrase,
            limits=self.limits,
            seen=self._saw,
            reached=self._took,
        )
        with self._cond:
            if self._closing or self._target.address != target.address:
                transport.close()
                raise LinkDown("The address changed meanwhile.")
            self._transport = transport
            self._generation += 1
            self._decision = None
            self._since = self.clock.now()
            self._assume(LinkState.UP, None)
        self._changed()
        return transport

    def _took(self, way: SshAddress) -> None:
        self._way = way

    def _saw(self, offered: HostKey) -> None:
        self._offered = offered

    def _is_booting(self, target: _Target) -> bool:
        if target.born_at is None:
            return False
        return self.clock.now() - target.born_at < timedelta(seconds=self.limits.boot_s)

    def _watch(self, transport: Transport) -> str:
        """Stay with a live connection until it ends; say why it did."""
        pulse = Pulse(self.limits, self.clock.monotonic(), self._wall())
        hurry = threading.Event()
        pinger = threading.Thread(
            target=self._ping, args=(transport, pulse, hurry), name=f"ping-{self.key}", daemon=True
        )
        pinger.start()
        self._probe_forwards()
        problem = "the connection was lost"
        while True:
            # Ends the moment the transport does, so a killed server is seen at once and ticks may be slow.
            transport.join(pulse.next_look(self.clock.monotonic()))
            if not transport.is_alive() or not transport.is_active():
                break
            beat = pulse.look(self.clock.monotonic(), self._wall())
            if beat is Beat.WOKE:
                hurry.set()
            elif beat is Beat.DEAD:
                problem = f"no answer for {pulse.silence(self.clock.monotonic()):.0f} s"
                break
            self._probe_forwards()
        with self._cond:
            self._transport = None
            self._since = None
            self._sftp = None
        transport.close()
        hurry.set()
        pinger.join(1.0)
        return f"{self.name}: {problem}; trying again."

    def _ping(self, transport: Transport, pulse: Pulse, hurry: threading.Event) -> None:
        while transport.is_active():
            try:
                transport.global_request("keepalive@openssh.com", wait=True)
            except (OSError, EOFError):
                return
            if transport.is_active():
                pulse.answered(self.clock.monotonic())
            hurry.wait(self.limits.ping_every_s)
            hurry.clear()

    def _probe_forwards(self) -> None:
        """Let forwards that want it prove themselves, beside the supervisor: a probe may hang, supervision may not."""
        now = self.clock.monotonic()
        due = [forward for forward in self.forwards if forward.wants_probe(now)]
        with self._cond:
            if not due or self._closing or (self._prober is not None and self._prober.is_alive()):
                return
            self._prober = threading.Thread(target=_probe_all, args=(due,), name=f"probe-{self.key}", daemon=True)
            self._prober.start()

    def _rest(self, why: LinkDown, backoff: Backoff, *, cheap: bool = False) -> None:
        with self._cond:
            if self._closing or self._poked:
                return
            self._assume(LinkState.BACKOFF, why.text)
        self._changed()
        with self._cond:
            until = self.clock.monotonic() + backoff.next(someone_waits=cheap and self._waiting > 0)
            while not self._closing and not self._poked:
                left = until - self.clock.monotonic()
                if left <= 0:
                    return
                if cheap and self._waiting:
                    left = min(left, self.limits.backoff_first_s)
                    until = min(until, self.clock.monotonic() + left)
                self._cond.wait(left)

    def _ask(self, decision: NeedsUser) -> None:
        with self._cond:
            if self._closing or self._poked:
                return
            self._decision = decision
            self._assume(LinkState.NEEDS_USER, str(decision))
        self._changed()
        with self._cond:
            while not self._closing and not self._poked:
                self._cond.wait()

    def _assume(self, state: LinkState, problem: str | None) -> None:
        self._state = state
        self._problem = problem
        self._cond.notify_all()

    def _changed(self) -> None:
        for forward in self.forwards:
            forward.note_link()
        if self._on_change is None:
            return
        try:
            self._on_change(self.key)
        except Exception:
            # Whoever watches may be on its way out; the supervision of the link must not end with it.
            log.exception("a watcher of %s failed", self.key)


def _probe_all(forwards: list[Forward]) -> None:
    for forward in forwards:
        forward.probe()
