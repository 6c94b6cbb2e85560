"""Forwards over a real OpenSSH server: they outlive outages, tell the truth, lose no byte and leave nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import random
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpudash.clock import SystemClock
from gpudash.errors import PortBusy
from gpudash.hosts import Hosts, LinkState
from gpudash.model.tunnel import TunnelState
from tests.support.links import QUICK, descriptors
from tests.support.sshd import Sshd, free_port, until
from tests.support.waiting import PATIENCE_S

pytest_plugins = ["tests.support.link_fixtures"]
pytestmark = pytest.mark.needs("sshd", "ssh-keygen")


def get(port: int, path: str = "/", timeout: float = PATIENCE_S) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@contextlib.contextmanager
def serving(talk: Callable[[socket.socket], None], port: int = 0) -> Iterator[int]:
    """A TCP service that does `talk` with every connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                talk(self.request)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_up_means_a_probe_went_through(hosts: Hosts, sshd: Sshd, service: int) -> None:
    """Connecting, then up with its time; a GET gets its answer."""
    forward = hosts.link(sshd.instance()).forward(service)
    assert forward.state is TunnelState.CONNECTING
    assert forward.wait(PATIENCE_S) is TunnelState.UP
    assert forward.since is not None
    assert get(forward.local, "/hello") == "/hello"


def test_port_without_service_says_so_and_heals(hosts: Hosts, sshd: Sshd) -> None:
    """No service is no fault of the link; once the service is there the forward comes up by itself, and back."""
    port = free_port()
    forward = hosts.link(sshd.instance()).forward(port)
    assert forward.wait(PATIENCE_S) is TunnelState.NO_SERVICE
    assert forward.detail == f"Nothing listens on port {port} of box."
    assert hosts.link(sshd.instance()).state is LinkState.UP
    with serving(lambda sock: sock.sendall(b"hello"), port):
        until(lambda: forward.state is TunnelState.UP)
        assert forward.detail == ""
    with socket.create_connection(("127.0.0.1", forward.local)) as sock:
        assert sock.recv(9) == b""
    until(lambda: forward.state is TunnelState.NO_SERVICE)


def test_same_number_here_where_it_is_free(hosts: Hosts, sshd: Sshd) -> None:
    """Port 8000 there is 8000 here, unless somebody has it; then it is another, as on a host that is this machine."""
    port = free_port()
    assert hosts.link(sshd.instance("one", ssh=None)).forward(port).local == port
    assert hosts.link(sshd.instance("two", ssh=None)).forward(port).local != port
    other = free_port()
    assert hosts.link(sshd.instance("here")).forward(other).local != other


def test_loop_ends_somewhere(hosts: Hosts, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward that leads back into itself is turned away after a while, and can still be closed."""
    monkeypatch.setattr("gpudash.hosts.forward.MOST_VISITS", 20)
    port = free_port()
    forward = hosts.link(sshd.instance()).forward(port, port)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as sock,
        contextlib.suppress(ConnectionResetError),
    ):
        assert sock.recv(1) == b""
    forward.close()


def test_busy_local_port_is_named(hosts: Hosts, sshd: Sshd) -> None:
    """A port that was asked for and is taken is an error that names it, and leaves no half forward."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortBusy, match=str(port)):
            hosts.link(sshd.instance()).forward(8000, port)
    assert hosts.tunnels() == ()


def test_listens_on_loopback_only(hosts: Hosts, sshd: Sshd, service: int) -> None:
    """Nobody else on the network gets in."""
    forward = hosts.link(sshd.instance()).forward(service)
    assert forward._listener.getsockname()[0] == "127.0.0.1"


def test_twice_the_same_is_one(hosts: Hosts, sshd: Sshd, service: int) -> None:
    """Switched on twice it is the same forward."""
    link = hosts.link(sshd.instance())
    assert link.forward(service) is link.forward(service)
    assert len(link.forwards) == 1


def test_get_sent_in_an_outage_is_answered(hosts: Hosts, sshd: Sshd, service: int) -> None:
    """The server is away for 1.5 s; a request sent meanwhile is held, then answered, on the same local port."""
    forward = hosts.link(sshd.instance()).forward(service)
    assert forward.wait(PATIENCE_S) is TunnelState.UP
    local = forward.local
    sshd.kill()
    until(lambda: forward.state is TunnelState.DOWN)
    starter = threading.Timer(1.5, sshd.start)
    starter.start()
    assert get(local, "/late") == "/late"
    starter.join()
    assert forward.wait(PATIENCE_S) is TunnelState.UP
    assert (forward.local, forward.closed) == (local, False)


def test_request_in_a_long_outage_is_turned_away(sshd: Sshd, state_dir: Path, service: int) -> None:
    """Held for its time, then closed; the client does not hang for ever."""
    from dataclasses import replace

    hosts = Hosts(state_dir, SystemClock(), owner="cli", limits=replace(QUICK, hold_s=0.4))
    forward = hosts.link(sshd.instance()).forward(service)
    forward.wait(PATIENCE_S)
    sshd.kill()
    until(lambda: forward.state is TunnelState.DOWN)
    begun = time.monotonic()
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        get(forward.local)
    assert time.monotonic() - begun > 0.3
    hosts.close()


def test_half_closed_stream_keeps_its_reply(hosts: Hosts, sshd: Sshd) -> None:
    """The client sends all, closes its side, and still gets the whole answer."""

    def count(sock: socket.socket) -> None:
        total = 0
        while part := sock.recv(65536):
            total += len(part)
        sock.sendall(b"%d" % total + b"." * 1_000_000)

    with serving(count) as port:
        forward = hosts.link(sshd.instance()).forward(port)
        with socket.create_connection(("127.0.0.1", forward.local), timeout=PATIENCE_S) as sock:
            sock.sendall(b"x" * 3_000_000)
            sock.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.rstrip(b".") == b"3000000"
    assert len(answer) == 1_000_007


def test_service_that_closes_first(hosts: Hosts, sshd: Sshd) -> None:
    """The end of the service's side reaches the client, and the client may go on sending until it closes too."""

    got: list[bytes] = []  # of every visitor: the forward's own probe is one and says nothing

    def greet(sock: socket.socket) -> None:
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        got.append(sock.recv(9))

    with serving(greet) as port:
        forward = hosts.link(sshd.instance()).forward(port)
        with socket.create_connection(("127.0.0.1", forward.local), timeout=PATIENCE_S) as sock:
            assert b"".join(iter(lambda: sock.recv(9), b"")) == b"bye"
            sock.sendall(b"thanks")
            until(lambda: b"thanks" in got)


def test_every_byte_arrives_in_its_order(hosts: Hosts, sshd: Sshd) -> None:
    """Thirty megabytes to a client that reads in bursts, so that it is now ahead, now behind; and as many back."""
    block = random.Random(1).randbytes(1 << 20)

    def both_ways(sock: socket.socket) -> None:
        got = hashlib.sha256()
        for _ in range(30):
            sock.sendall(block)
        while part := sock.recv(1 << 16):
            got.update(part)
        sock.sendall(got.digest())

    with serving(both_ways) as port:
        forward = hosts.link(sshd.instance()).forward(port)
        with socket.create_connection(("127.0.0.1", forward.local), timeout=PATIENCE_S) as sock:
            got, left = hashlib.sha256(), 30 << 20
            while left:
                part = sock.recv(min(left, 1 << 18))
                got.update(part)
                left -= len(part)
                if left % 7 == 0:
                    time.sleep(0.002)
            for _ in range(30):
                sock.sendall(block)
            sock.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: sock.recv(99), b""))
    assert got.digest() == answer == hashlib.sha256(block * 30).digest()


def test_slow_client_does_not_hold_up_others(hosts: Hosts, sshd: Sshd, service: int) -> None:
    """One client that does not read leaves the others as quick as before."""
    with serving(lambda sock: sock.sendall(b"x" * 50_000_000)) as port:
        link = hosts.link(sshd.instance())
        slow, quick = link.forward(port), link.forward(service)
        with socket.create_connection(("127.0.0.1", slow.local)) as sock:
            sock.recv(1)
            assert get(quick.local, "/quick") == "/quick"
            assert link.exec("echo well", timeout=PATIENCE_S).text == "well\n"


def test_a_hundred_at_once(hosts: Hosts, sshd: Sshd, service: int) -> None:
    """All of a hundred simultaneous connections are answered."""
    forward = hosts.link(sshd.instance()).forward(service)
    forward.wait(PATIENCE_S)
    answers: list[str] = []
    crowd = [threading.Thread(target=lambda n=n: answers.append(get(forward.local, f"/{n}"))) for n in range(100)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert sorted(answers) == sorted(f"/{n}" for n in range(100))


def test_two_hundred_toggles_leak_nothing(hosts: Hosts, sshd: Sshd, service: int) -> None:
    """On, used, off, two hundred times, each with an open connection: threads and descriptors as before."""
    link = hosts.link(sshd.instance())
    keeper = link.forward(service)
    keeper.wait(PATIENCE_S)
    get(keeper.local)
    until(
        lambda: not [thread for thread in threading.enumerate() if thread.name.startswith(("visit", "pump", "probe"))]
    )
    before = (threading.active_count(), descriptors())
    for number in range(200):
        forward = link.forward(service, free_port())
        with socket.create_connection(("127.0.0.1", forward.local)) as sock:
            if number % 10 == 0:
                sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
                assert sock.recv(12) == b"HTTP/1.1 200"
            forward.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", forward.local))
    until(lambda: threading.active_count() <= before[0] and descriptors() <= before[1])
    assert link.forwards == (keeper,)


def test_last_forward_takes_the_acceptor_with_it(hosts: Hosts, sshd: Sshd, service: int) -> None:
    """Without forwards no thread waits for connections."""
    link = hosts.link(sshd.instance())
    link.forward(service).close()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name in {"forwards", "tunnel-requests"}])
    assert link.forward(service).wait(PATIENCE_S) is TunnelState.UP


def test_open_connection_ends_with_the_link(hosts: Hosts, sshd: Sshd) -> None:
    """A cut link is felt by who is connected through it, at once."""
    with serving(lambda sock: sock.recv(1)) as port:
        forward = hosts.link(sshd.instance()).forward(port)
        with socket.create_connection(("127.0.0.1", forward.local), timeout=PATIENCE_S) as sock:
            until(lambda: forward._visits and forward.state is TunnelState.UP)
            sock.settimeout(PATIENCE_S)
            until(lambda: next(iter(forward._visits)).channel is not None)
            sshd.cut()
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""


def test_server_that_forbids_forwards(hosts: Hosts, tmp_path: Path, service: int) -> None:
    """It is said what to change there."""
    with Sshd(tmp_path / "s", "AllowTcpForwarding no") as sshd:
        forward = hosts.link(sshd.instance()).forward(service)
        until(lambda: "AllowTcpForwarding" in forward.detail)
        assert forward.state is not TunnelState.UP


def test_needs_a_person(hosts: Hosts, sshd: Sshd, service: int) -> None:
    """A host key nobody vouches for: the forward says so, and comes up once it was accepted."""
    link = hosts.link(sshd.instance(managed=False))
    forward = link.forward(service)
    assert forward.wait(PATIENCE_S) is TunnelState.NEEDS_USER
    assert "First contact" in forward.detail
    assert link.fingerprint is not None
    link.accept(link.fingerprint)
    until(lambda: forward.state is TunnelState.UP)
