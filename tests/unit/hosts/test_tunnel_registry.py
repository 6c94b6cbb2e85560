"""Who holds which forward, across processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gpudash.hosts.supervisor import Wanted
from gpudash.hosts.tunnels import CloseRequest, Registry, close_tunnels, list_tunnels
from gpudash.model.instance import SshAddress
from gpudash.model.tunnel import Tunnel, TunnelState
from tests.conftest import NOON
from tests.support.sshd import until
from tests.support.waiting import PATIENCE_S

TUNNEL = Tunnel("work", "i-1", "trainer", 8000, 18000, TunnelState.UP, 1, "cli", NOON)

HOLDER = """
import sys
from pathlib import Path
from gpudash.hosts.tunnels import Registry
from gpudash.model.tunnel import Tunnel, TunnelState
registry = Registry(Path(sys.argv[1]), "cli")
registry.publish(lambda: (Tunnel("work", "i-2", "other", 1, 2, TunnelState.UP, 3, "cli"),))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tunnels"


@pytest.fixture
def other(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a forward."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield holder
        holder.kill()


def test_what_is_published_is_listed_whole(folder: Path) -> None:
    """Every field comes back, times included."""
    registry = Registry(folder, "cli")
    registry.publish(lambda: (TUNNEL,))
    assert list_tunnels(folder) == [TUNNEL]
    registry.close()
    assert list_tunnels(folder) == []
    assert list(folder.iterdir()) == []


def test_nothing_is_written_before_there_is_a_forward(folder: Path) -> None:
    """A process without forwards leaves no trace."""
    registry = Registry(folder, "cli")
    registry.publish(tuple)
    registry.close()
    assert not folder.exists()


def test_killed_owner_is_pruned(folder: Path, other: subprocess.Popen[str]) -> None:
    """After ``kill -9`` of the owner its forwards and its files are gone."""
    assert [tunnel.instance_id for tunnel in list_tunnels(folder)] == ["i-2"]
    other.kill()
    other.wait()
    assert list_tunnels(folder) == []
    assert list(folder.iterdir()) == []


def test_living_owner_with_a_torn_file_is_kept(folder: Path, other: subprocess.Popen[str]) -> None:
    """A descriptor that cannot be read says nothing; it is no proof of death."""
    descriptor = next(folder.glob("*.json"))
    descriptor.write_text('{"tunnels": [{"acc')
    assert list_tunnels(folder) == []
    assert descriptor.exists()


def test_close_request_reaches_the_owner(folder: Path) -> None:
    """Asked from anywhere, closed by the one who holds it, and waited for."""
    held = [TUNNEL]

    def close(request: CloseRequest) -> None:
        held[:] = [tunnel for tunnel in held if not request.fits(tunnel)]
        registry.publish(lambda: tuple(held))

    registry = Registry(folder, "cli", close)
    registry.publish(lambda: tuple(held))
    assert close_tunnels(folder, CloseRequest("work", "i-1", 9), timeout=0.1) == []
    assert close_tunnels(folder, CloseRequest("work", "i-1"), timeout=PATIENCE_S) == [TUNNEL]
    assert list_tunnels(folder) == []
    registry.close()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "tunnel-requests"])


def test_deaf_owner_is_not_waited_for_longer_than_asked(folder: Path, other: subprocess.Popen[str]) -> None:
    """What it did not close is not said to be closed."""
    assert close_tunnels(folder, CloseRequest("work", "i-2"), timeout=0.3) == []
    assert len(list_tunnels(folder)) == 1


def test_no_folder_is_no_tunnels(folder: Path) -> None:
    """Nothing was ever forwarded on this machine."""
    assert list_tunnels(folder) == []
    assert close_tunnels(folder, CloseRequest("work", "i-1"), timeout=PATIENCE_S) == []


@pytest.mark.parametrize("since", [None, datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)])
def test_what_a_supervisor_is_told_arrives_whole(since: datetime | None) -> None:
    """A pod's address tells since when its host key counts."""
    address = SshAddress("127.0.0.1", 22, "root", host_key_since=since)
    wanted = Wanted("acct", "here", "i-1", "box", "runpod", True, address, ((8000, None), (8001, 9001)), "/state")
    assert Wanted.read(json.loads(wanted.text())) == wanted
