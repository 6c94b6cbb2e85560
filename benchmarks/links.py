"""Links and forwards against OpenSSH's own ``ssh -L``, and our listener against sshtunnel's. One command:

    python benchmarks/links.py [--quick]

Everything runs on this machine in one go, so the ratios mean something on any machine. The sshtunnel column is its
threaded listener over our links (one `SSHTunnelForwarder` a port, sharing the transport): the best that it can do.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from gpudash.clock import SystemClock  # noqa: E402 - found beside this file, installed or not
from gpudash.hosts import Hosts, Link, LinkState  # noqa: E402
from tests.support.sshd import Sshd, free_port, until  # noqa: E402

MEGABYTE = 1 << 20
KINDS = ("ours", "sshtunnel", "ssh -L")

SERVICE = """
import http.server, socket, socketserver, sys, threading
block = bytes(1 << 20)
class Stream(socketserver.BaseRequestHandler):
    def handle(self):
        for _ in range(int(self.request.recv(9) or 0)):
            self.request.sendall(block)
class Streams(socketserver.ThreadingTCPServer):
    daemon_threads = True
class Greet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
class Web(http.server.ThreadingHTTPServer):
    request_queue_size = 256
streams, web = Streams(("127.0.0.1", 0), Stream), Web(("127.0.0.1", 0), Greet)
print(streams.server_address[1], web.server_address[1], flush=True)
threading.Thread(target=web.serve_forever, daemon=True).start()
streams.serve_forever()
"""

READER = """
import socket, sys
port, megabytes = int(sys.argv[1]), int(sys.argv[2])
sock = socket.create_connection(("127.0.0.1", port)); sock.sendall(b"%d" % megabytes)
left, buffer = megabytes << 20, bytearray(1 << 20)
while left:
    got = sock.recv_into(buffer)
    if not got: sys.exit("short")
    left -= got
"""


class SharedListener:
    """sshtunnel's threaded listener over one of our links; its private hooks do the joining."""

    def __init__(self, link: Link, remote: int) -> None:
        import logging

        import paramiko
        import sshtunnel

        from gpudash.hosts.forward import _pump_both

        log = logging.getLogger("sshtunnel-bench")
        log.addHandler(logging.NullHandler())
        log.propagate = False

        class Server(sshtunnel._ThreadingForwardServer):  # type: ignore[misc]
            request_queue_size = 128
            block_on_close = False

        class Handler(sshtunnel._ForwardHandler):  # type: ignore[misc]
            remote_address = ("127.0.0.1", remote)

            def handle(self) -> None:
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                channel = link.open_channel("127.0.0.1", remote, 10, source=self.request.getpeername())
                with contextlib.closing(channel):
                    _pump_both(self.request, channel)

        class Forward(sshtunnel.SSHTunnelForwarder):  # type: ignore[misc]
            is_active = property(lambda self: True)

            def _create_tunnels(self) -> None:
                for remote_bind, local_bind in zip(self._remote_binds, self._local_binds, strict=True):
                    self._make_ssh_forward_server(remote_bind, local_bind)

            def _stop_transport(self, force: bool = False) -> None:
                for server in self._server_list:
                    server.shutdown()
                    server.server_close()

            def __del__(self) -> None: ...

            def _make_ssh_forward_server_class(self, _: Any) -> type:
                return Server

            def _make_ssh_forward_handler_class(self, _: Any) -> type:
                return Handler

        assert paramiko
        self._forward = Forward(
            ("shared", 22),
            ssh_username="-",
            ssh_password="-",
            ssh_config_file=None,
            allow_agent=False,
            host_pkey_directories=[],
            set_keepalive=0,
            logger=log,
            remote_bind_address=("127.0.0.1", remote),
            local_bind_address=("127.0.0.1", 0),
        )
        self._forward.start()

    @property
    def local(self) -> int:
        return int(self._forward.local_bind_ports[0])


def hold(kind: str) -> None:
    """In a process of its own: open the links and forwards named on stdin, print the ports, stay until stdin ends."""
    order = json.loads(sys.stdin.readline())
    from gpudash.model.instance import Instance, InstanceKey, InstanceState, SshAddress

    hosts = Hosts(Path(order["state"]), SystemClock(), owner="cli")
    ports = []
    for number in range(order["links"]):
        key = InstanceKey("bench", "here", f"i-{number}")
        address = SshAddress(*order["address"])
        link = hosts.link(Instance(key, "x", key.id, InstanceState.RUNNING, "", managed=True, ssh=address))
        link.wait_up(20)
        for remote in order["remotes"]:
            ports.append(SharedListener(link, remote).local if kind == "sshtunnel" else link.forward(remote, 0).local)
    print(json.dumps(ports), flush=True)
    sys.stdin.read()
    os._exit(0)


@contextlib.contextmanager
def holding(kind: str, sshd: Sshd, links: int, remotes: list[int]) -> Iterator[tuple[int, list[int]]]:
    """A process that holds forwards: its pid and its local ports."""
    if kind == "ssh -L":
        with real_ssh(sshd, remotes) as held:
            yield held
        return
    address = sshd.address
    order = {
        "state": tempfile.mkdtemp(dir=sshd.folder),
        "links": links,
        "remotes": remotes,
        "address": [address.host, address.port, address.user, address.identity_file],
    }
    argv = [sys.executable, __file__, "--hold", kind]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(json.dumps(order) + "\n")
        holder.stdin.flush()
        yield holder.pid, json.loads(holder.stdout.readline())
        holder.stdin.close()
        holder.wait(10)


@contextlib.contextmanager
def real_ssh(sshd: Sshd, remotes: list[int]) -> Iterator[tuple[int, list[int]]]:
    locals_ = [free_port() for _ in remotes]
    argv = ["ssh", "-N", "-p", str(sshd.port), "-i", str(sshd.user_key), "-o", "StrictHostKeyChecking=no"]
    argv += ["-o", f"UserKnownHostsFile={sshd.folder / 'ssh_known'}", "-o", "LogLevel=ERROR", "-F", "none"]
    for local, remote in zip(locals_, remotes, strict=True):
        argv += ["-L", f"127.0.0.1:{local}:127.0.0.1:{remote}"]
    with subprocess.Popen([*argv, f"{sshd.address.user}@127.0.0.1"]) as process:
        until(lambda: _open(locals_[-1]))
        yield process.pid, locals_
        process.terminate()


def _open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def throughput(port: int, streams: int, megabytes: int) -> float:
    """MB/s of all streams together, each read by a process of its own."""
    begun = time.monotonic()
    argv = [sys.executable, "-I", "-S", "-c", READER, str(port), str(megabytes // streams)]
    readers = [subprocess.Popen(argv) for _ in range(streams)]
    assert [reader.wait() for reader in readers] == [0] * streams
    return megabytes / (time.monotonic() - begun)


def latency_ms(port: int, times: int) -> float:
    """Median of a GET on a new connection."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/")
        connection.getresponse().read()
        took.append(time.perf_counter() - begun)
        connection.close()
    return statistics.median(took) * 1000


def idle(pid: int, seconds: float) -> tuple[float, float, int]:
    """Per cent of a core, MB resident, threads."""

    def cpu() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    time.sleep(2)
    before = cpu()
    time.sleep(seconds)
    share = 100 * (cpu() - before) / seconds
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return share, int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"])


def row(name: str, target: str, *cells: str) -> None:
    print(f"{name:<38}{target:>16}  " + "".join(f"{cell:>14}" for cell in cells), flush=True)


def compare(sshd: Sshd, stream_port: int, web_port: int, *, quick: bool) -> None:
    rounds, megabytes = (1, 200) if quick else (9, 400)
    got: dict[tuple[str, int], list[float]] = {}
    new: dict[str, list[float]] = {}
    for _ in range(rounds):
        for kind in KINDS:
            with holding(kind, sshd, 1, [stream_port, web_port]) as (_, ports):
                throughput(ports[0], 1, 20)
                for streams in (1, 8):
                    got.setdefault((kind, streams), []).append(throughput(ports[0], streams, megabytes))
                new.setdefault(kind, []).append(latency_ms(ports[1], 50 if quick else 200))
    row("", "target", *KINDS)
    for streams in (1, 8):
        speeds = {kind: statistics.median(got[kind, streams]) for kind in KINDS}
        # Each round's own ratio: what else the machine does disturbs the three of one round alike.
        pairs = {
            kind: [a / b for a, b in zip(got[kind, streams], got["ssh -L", streams], strict=True)] for kind in KINDS
        }
        name = f"{streams} stream{'s' if streams > 1 else ''}, MB/s"
        row(name, "", *(f"{speeds[kind]:.0f}" for kind in KINDS))
        row("  of ssh -L", ">= 0.9x", *(f"{statistics.median(pairs[kind]):.2f}x" for kind in KINDS))
    row("GET on a new connection, ms", "", *(f"{statistics.median(new[kind]):.2f}" for kind in KINDS))


def rest(sshd: Sshd, web_port: int, *, quick: bool) -> None:
    figures = {}
    for kind in KINDS[:2]:
        with holding(kind, sshd, 20, [web_port] * 5 if kind == "sshtunnel" else distinct(web_port)) as (pid, _):
            figures[kind] = idle(pid, 4 if quick else 15)
    row("20 links x 5 forwards, % of a core", "<= 4", *(f"{figures[kind][0]:.1f}" for kind in KINDS[:2]))
    row("  MB resident", "<= 60", *(f"{figures[kind][1]:.0f}" for kind in KINDS[:2]))
    row("  threads", "", *(f"{figures[kind][2]}" for kind in KINDS[:2]))


def distinct(port: int) -> list[int]:
    """Five remote ports, so that they are five forwards; one has a service."""
    return [port, *(port + n if port < 60000 else port - n for n in range(1, 5))]


def toggles(sshd: Sshd, web_port: int, state: Path) -> None:
    hosts = Hosts(state / "toggles", SystemClock(), owner="cli")
    link = hosts.link(sshd.instance())
    link.forward(web_port).wait(10)
    time.sleep(0.5)
    before = threading.active_count(), len(os.listdir("/dev/fd"))
    begun = time.monotonic()
    for _ in range(200):
        forward = link.forward(web_port, free_port())
        with socket.create_connection(("127.0.0.1", forward.local)):
            forward.close()
    each = (time.monotonic() - begun) / 200 * 1000
    time.sleep(0.5)
    after = threading.active_count(), len(os.listdir("/dev/fd"))
    row("200 toggles: threads, descriptors left", "0, 0", f"{after[0] - before[0]}, {after[1] - before[1]}")
    row("  ms each", "", f"{each:.1f}")
    hosts.close()


def faults(sshd: Sshd, web_port: int, state: Path) -> None:
    """With the waits of real life."""
    hosts = Hosts(state / "faults", SystemClock(), owner="cli")
    link = hosts.link(sshd.instance())
    forward = link.forward(web_port)
    forward.wait(10)
    sshd.kill()
    begun = time.monotonic()
    until(lambda: link.state is not LinkState.UP)
    row("dead server seen after, s", "<= 1", f"{time.monotonic() - begun:.2f}")
    sshd.start()
    until(lambda: link.state is LinkState.UP, 20)

    time.sleep(6)
    sshd.kill()
    threading.Timer(1.5, sshd.start).start()
    begun = time.monotonic()
    latency_ms(forward.local, 1)
    row("GET sent in a 1.5 s outage answered, s", "<= 5", f"{time.monotonic() - begun:.2f}")

    until(lambda: link.state is LinkState.UP, 20)
    sshd.freeze()
    begun = time.monotonic()
    until(lambda: link.state is not LinkState.UP, 60)
    row("stalled server seen after, s", "<= 15", f"{time.monotonic() - begun:.1f}")
    sshd.thaw()
    hosts.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of each")
    parser.add_argument("--hold", choices=KINDS[:2], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        hold(options.hold)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True) as service,
            Sshd(folder / "sshd") as sshd,
        ):
            assert service.stdout is not None
            stream_port, web_port = map(int, service.stdout.readline().split())
            compare(sshd, stream_port, web_port, quick=options.quick)
            rest(sshd, web_port, quick=options.quick)
            toggles(sshd, web_port, folder)
            faults(sshd, web_port, folder)
            service.kill()


if __name__ == "__main__":
    main()
