"""Tunnels across processes: the list everybody sees, requests to close, and the supervisor that is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpudash.errors import HostError
from gpudash.hosts import Hosts
from gpudash.hosts.supervisor import spawn
from gpudash.hosts.tunnels import CloseRequest, close_tunnels, list_tunnels
from gpudash.model.tunnel import Tunnel, TunnelState
from tests.support.sshd import Sshd, free_port, until
from tests.support.waiting import PATIENCE_S

pytest_plugins = ["tests.support.link_fixtures"]
pytestmark = pytest.mark.needs("sshd", "ssh-keygen")


@pytest.fixture
def folder(state_dir: Path) -> Iterator[Path]:
    """The tunnels folder; whatever supervisor a failing test left is ended."""
    folder = state_dir / "tunnels"
    yield folder
    for tunnel in list_tunnels(folder):
        if tunnel.owner == "supervisor":
            os.kill(tunnel.owner_pid, signal.SIGTERM)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def states(folder: Path) -> list[TunnelState]:
    return [tunnel.state for tunnel in list_tunnels(folder)]


def get(tunnel: Tunnel) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{tunnel.local}/seen", timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def test_list_follows_the_truth(hosts: Hosts, sshd: Sshd, folder: Path, service: int) -> None:
    """Up, down with the server, up again, and gone when switched off."""
    forward = hosts.link(sshd.instance()).forward(service)
    until(lambda: states(folder) == [TunnelState.UP])
    sshd.kill()
    until(lambda: states(folder) == [TunnelState.DOWN])
    sshd.start()
    until(lambda: states(folder) == [TunnelState.UP])
    [tunnel] = list_tunnels(folder)
    assert (tunnel.owner, tunnel.owner_pid, tunnel.local) == ("cli", os.getpid(), forward.local)
    forward.close()
    assert states(folder) == []


def test_closed_from_elsewhere(hosts: Hosts, sshd: Sshd, folder: Path, service: int) -> None:
    """Another process asks for one of two; the other stays."""
    link = hosts.link(sshd.instance())
    kept, closed = link.forward(service), link.forward(service + 1 if service < 65000 else service - 1)
    until(lambda: len(states(folder)) == 2)
    gone = close_tunnels(folder, CloseRequest("acct", "i-box", closed.remote), timeout=PATIENCE_S)
    assert [tunnel.remote for tunnel in gone] == [closed.remote]
    assert link.forwards == (kept,)


def test_supervisor_outlives_who_started_it_and_ends_without_a_trace(
    sshd: Sshd, state_dir: Path, folder: Path, service: int
) -> None:
    """Started by a process that ends at once; still serves; closed on request; no process and no file is left."""
    code = (
        "import sys, json; from pathlib import Path; from gpudash.hosts.supervisor import spawn\n"
        "from gpudash.model.instance import *\n"
        f"address = SshAddress('127.0.0.1', {sshd.port}, {sshd.address.user!r}, {sshd.address.identity_file!r})\n"
        "key = InstanceKey('acct', 'here', 'i-box')\n"
        "box = Instance(key, 't', 'box', InstanceState.RUNNING, '', managed=True, ssh=address)\n"
        f"print(spawn(box, [({service}, None)], state_dir=Path({str(state_dir)!r}))[0].owner_pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pid = int(done.stdout)
    until(lambda: states(folder) == [TunnelState.UP])
    [tunnel] = list_tunnels(folder)
    assert (tunnel.owner, tunnel.owner_pid) == ("supervisor", pid)
    assert os.getsid(pid) == pid
    assert get(tunnel) == "/seen"
    assert close_tunnels(folder, CloseRequest("acct", "i-box"), timeout=PATIENCE_S) == [tunnel]
    until(lambda: not alive(pid))
    assert list(folder.iterdir()) == []


def test_supervisor_survives_an_outage_on_its_port(sshd: Sshd, state_dir: Path, folder: Path, service: int) -> None:
    """Server killed and started: the same local port answers again."""
    [tunnel] = spawn(sshd.instance(), [(service, None)], state_dir=state_dir)
    until(lambda: states(folder) == [TunnelState.UP])
    sshd.kill()
    until(lambda: states(folder) == [TunnelState.DOWN])
    sshd.start()
    assert get(tunnel) == "/seen"
    os.kill(tunnel.owner_pid, signal.SIGTERM)
    until(lambda: not alive(tunnel.owner_pid))
    assert list(folder.iterdir()) == []


def test_killed_supervisor_is_pruned(sshd: Sshd, state_dir: Path, folder: Path, service: int) -> None:
    """After ``kill -9`` nobody lists its forwards, and its port is free."""
    port = free_port()
    [tunnel] = spawn(sshd.instance(), [(service, port)], state_dir=state_dir)
    os.kill(tunnel.owner_pid, signal.SIGKILL)
    until(lambda: list_tunnels(folder) == [])
    [again] = spawn(sshd.instance(), [(service, port)], state_dir=state_dir)
    assert again.local == port
    assert len(close_tunnels(folder, CloseRequest("acct", "i-box"), timeout=PATIENCE_S)) == 1


def test_busy_port_is_told_to_who_starts_it(hosts: Hosts, sshd: Sshd, state_dir: Path, service: int) -> None:
    """The supervisor ends at once and its reason reaches the caller."""
    taken = hosts.link(sshd.instance("other")).forward(service, free_port())
    with pytest.raises(HostError, match=f"Local port {taken.local}"):
        spawn(sshd.instance(), [(service, taken.local)], state_dir=state_dir)


def test_supervisor_ends_when_its_instance_is_gone(sshd: Sshd, state_dir: Path, folder: Path, service: int) -> None:
    """Out of reach for as long as it is told counts as gone."""
    [tunnel] = spawn(sshd.instance(), [(service, None)], state_dir=state_dir, gone_after_s=0.5)
    until(lambda: states(folder) == [TunnelState.UP])
    sshd.kill()
    until(lambda: not alive(tunnel.owner_pid))
    assert list(folder.iterdir()) == []


def test_nothing_secret_in_its_arguments(sshd: Sshd, state_dir: Path, folder: Path, service: int) -> None:
    """What it holds came on stdin; descriptors are for the owner only."""
    [tunnel] = spawn(sshd.instance(), [(service, None)], state_dir=state_dir)
    argv = Path(f"/proc/{tunnel.owner_pid}/cmdline").read_text()
    assert str(sshd.user_key) not in argv
    assert {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"0o600"}
    assert json.loads(next(folder.glob("*.json")).read_text())["owner"] == "supervisor"
    close_tunnels(folder, CloseRequest("acct", "i-box"), timeout=PATIENCE_S)
    until(lambda: not alive(tunnel.owner_pid))
