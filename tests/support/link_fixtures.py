"""Fixtures of the link tests, as a plugin: an OpenSSH server, links with short waits, a web service behind them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpudash.clock import SystemClock
from gpudash.hosts import Hosts
from tests.support.links import QUICK, Greeter, Service
from tests.support.sshd import Sshd


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A running OpenSSH server."""
    with Sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Where host keys and tunnel descriptors of the test go."""
    return tmp_path / "state"


@pytest.fixture
def hosts(state_dir: Path) -> Iterator[Hosts]:
    """Links of one process."""
    held = Hosts(state_dir, SystemClock(), owner="cli", limits=QUICK)
    yield held
    held.close()


@pytest.fixture
def service() -> Iterator[int]:
    """The port of a small web service."""
    server = Service(("127.0.0.1", 0), Greeter)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()
