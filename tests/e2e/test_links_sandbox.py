"""The same links, forwards and pushes against the sandbox's own SSH server and its faults."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from gpudash import paths
from gpudash.clock import SystemClock, iso
from gpudash.hosts import Hosts, Link, LinkState
from gpudash.hosts.client import StatusClient
from gpudash.hosts.push import push
from gpudash.model.host import parse_status
from gpudash.model.instance import Instance
from gpudash.model.tunnel import TunnelState
from gpudash.providers.sandbox import control
from tests.support.clouds import SandboxCloud, launched, sandbox_cloud
from tests.support.links import STRICT
from tests.support.sshd import until
from tests.support.waiting import PATIENCE_S


@pytest.fixture
def cloud() -> Iterator[SandboxCloud]:
    """A sandbox that is gone afterwards."""
    with sandbox_cloud(SystemClock()) as cloud:
        yield cloud


@pytest.fixture
def box(cloud: SandboxCloud) -> Instance:
    """A running host of it."""
    return launched(cloud, options={"load": "idle"})


@pytest.fixture
def link(box: Instance) -> Iterator[Link]:
    """A link to it."""
    hosts = Hosts(paths.state_dir(), SystemClock(), owner="cli", limits=STRICT)
    yield hosts.link(box)
    hosts.close()


def config(cloud: SandboxCloud, box: Instance) -> dict[str, Any]:
    lease = SystemClock().now() + timedelta(hours=2)
    return {
        "schema": 1,
        "instance": {"account": box.key.account, "region": box.key.region, "id": box.key.id, "name": box.name},
        "policy": {"lease_deadline": iso(lease), "idle_timeout_s": 1800, "revision": 1},
        "end": dict(cloud.provider.end_spec(box.key)),
    }


def get(port: int, path: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
        return int(answer.status)


def test_told_fingerprint_is_the_one_it_shows(link: Link, box: Instance) -> None:
    """The cloud's word and the server's key agree."""
    link.wait_up(PATIENCE_S)
    assert box.ssh is not None
    assert link.fingerprint == box.ssh.host_key_fingerprint


def test_push_and_extend(link: Link, cloud: SandboxCloud, box: Instance) -> None:
    """The real daemon runs there, enforces, and does as it is told; a second push changes nothing."""
    order = config(cloud, box)
    assert push(link, order).changed
    client = StatusClient(link)
    status = parse_status(client.status())
    assert status.enforcing
    assert status.policy.lease_deadline is not None
    later = status.policy.lease_deadline + timedelta(hours=1)
    assert client.extend(later) == later
    assert not push(link, order).changed


def test_forward_to_its_service_survives_a_cut(link: Link, box: Instance) -> None:
    """Every connection cut by the fault switch: the forward comes back on the same port."""
    assert box.service_port is not None
    forward = link.forward(box.service_port)
    assert forward.wait(PATIENCE_S) is TunnelState.UP
    assert get(forward.local, "/health") == 200
    control.set_fault("ssh-cut", True, box.key.id)
    until(lambda: link.state is not LinkState.UP)
    control.set_fault("ssh-cut", False, box.key.id)
    until(lambda: forward.state is TunnelState.UP)
    assert get(forward.local, "/health") == 200


def test_frozen_host_is_noticed(link: Link, box: Instance) -> None:
    """Its connections stay open and silent; the link does not wait for ever, and is back once it thaws."""
    link.wait_up(PATIENCE_S)
    control.set_fault("host-frozen", True, box.key.id)
    until(lambda: link.state is not LinkState.UP)
    control.set_fault("host-frozen", False, box.key.id)
    until(lambda: link.state is LinkState.UP)
