"""A host that is a container, behind a real OpenSSH server: no systemd, no SFTP, no forwards, no init to bring it back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gpudash.errors import StatusdError
from gpudash.hosts import Hosts, Link
from gpudash.hosts.client import StatusClient
from gpudash.hosts.push import push
from gpudash.model.host import parse_status
from gpudash.model.policy import EndAction
from tests.support.container import KEY, Container
from tests.support.end_api import EndApi
from tests.support.sshd import until

pytest_plugins = ["tests.support.link_fixtures"]
pytestmark = pytest.mark.needs("sshd", "ssh-keygen")

LEASE = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=4)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(tmp_path) as made:
        yield made


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Container]:
    """Reached through a proxy that runs commands and does nothing else."""
    with Container(tmp_path, "AllowTcpForwarding no") as made:
        yield made


def config(api_url: str = "https://cloud.example") -> dict[str, Any]:
    def step(verb: str, body: dict[str, str] | None) -> dict[str, Any]:
        return {
            "method": "http", "verb": verb, "url": f"{api_url}/instances/7/", "body": body,
            "token_env": "CONTAINER_API_KEY", "only_if_env": {"CONTAINER_ID": "7"}, "ok_json": {"success": True},
        }  # fmt: skip

    return {
        "schema": 1,
        "instance": {"account": "acct", "region": "here", "id": "7", "name": "box"},
        "provider": "vast",
        "policy": {"lease_deadline": f"{LEASE:%Y-%m-%dT%H:%M:%SZ}", "revision": 1},
        "end": {"method": "chain", "stop": [step("PUT", {"state": "stopped"})], "terminate": [step("DELETE", None)]},
        "gpus": 0,
        "wall": False,
    }


def test_push_needs_nothing_but_a_shell_and_a_python(hosts: Hosts, container: Container) -> None:
    """No systemctl on PATH, no SFTP: statusd runs, enforces, and ends the container by the container's own key."""
    link = hosts.link(container.sshd.instance())
    assert link.exec("command -v systemctl || command -v setsid", timeout=10).stdout == b""
    with EndApi([(200, {"success": True})]) as api:
        result = push(link, config(api.url))
        client = StatusClient(link)
        status = parse_status(client.status())
        assert (result.changed, result.comes_back, status.enforcing) == (True, None, True)
        assert status.can_end == {EndAction.STOP, EndAction.TERMINATE}
        client.shutdown(EndAction.STOP)
        until(lambda: api.asked)
    assert api.asked[0].headers["authorization"] == f"Bearer {KEY}"
    told = b"".join(path.read_bytes() for path in container.home.rglob("*") if path.is_file())
    assert KEY.encode() not in told


def test_proxy_that_forwards_nothing(hosts: Hosts, narrow: Container) -> None:
    """Push, status, extend, history and log go by commands alone; the token does not travel."""
    link = hosts.link(narrow.sshd.instance())
    push(link, config())
    client = StatusClient(link)
    assert parse_status(client.status()).enforcing
    assert client.extend(LEASE + timedelta(hours=1)) == LEASE + timedelta(hours=1)
    assert client.history().minutes
    assert client.log(1)
    assert not push(link, config()).changed
    os.kill(narrow.pid, signal.SIGKILL)
    with pytest.raises(StatusdError, match="Press p"):
        client.status()


def test_restart_of_the_container_by_its_start_script(hosts: Hosts, container: Container) -> None:
    """Where the cloud runs a script at each start, statusd comes back with it, with its lease; the script is kept."""
    script = container.root / "root/onstart.sh"
    script.write_text("#!/bin/bash\necho mine >> $HOME/ran\n")
    link = hosts.link(container.sshd.instance())
    assert push(link, config()).comes_back == "/root/onstart.sh"
    StatusClient(link).extend(LEASE + timedelta(hours=2))
    before = script.read_text()
    container.restart()
    status = until(lambda: answer(link))
    assert status.policy.lease_deadline == LEASE + timedelta(hours=2)
    assert (container.sshd.home / "ran").read_text() == "mine\n"
    push(link, {**config(), "port": 45680})
    assert script.read_text() == before


def answer(link: Link) -> Any:
    """What statusd says, once it and the link are there."""
    try:
        link.wait_up(5)
        return parse_status(StatusClient(link).status())
    except StatusdError:
        return None


def test_restart_of_the_container_by_another_push(hosts: Hosts, container: Container) -> None:
    """Without a start script nothing brings it back; a push does, and the extended lease is as it was."""
    link = hosts.link(container.sshd.instance())
    push(link, config())
    StatusClient(link).extend(LEASE + timedelta(hours=2))
    container.restart()
    link.wait_up(10)
    with pytest.raises(StatusdError, match="Press p"):
        StatusClient(link).status()
    assert push(link, config()).changed
    status = parse_status(StatusClient(link).status())
    assert status.policy.lease_deadline == LEASE + timedelta(hours=2)


def test_start_script_of_an_image(hosts: Hosts, container: Container) -> None:
    """Images whose start script runs /post_start.sh get one; it works when run."""
    (container.root / "start.sh").write_text("#!/bin/bash\n[ -f /post_start.sh ] && bash /post_start.sh\nsleep inf\n")
    link = hosts.link(container.sshd.instance())
    assert push(link, config()).comes_back == "/post_start.sh"
    script = container.root / "post_start.sh"
    assert script.stat().st_mode & 0o100
    assert "--daemonize" in script.read_text()


def test_home_that_moved_to_another_container_ends_nothing(hosts: Hosts, container: Container) -> None:
    """Said beforehand: this container is not the one that the configuration is for."""
    (container.root / "proc/1/environ").write_text(f"CONTAINER_API_KEY={KEY}\0CONTAINER_ID=8\0")
    link = hosts.link(container.sshd.instance())
    push(link, config())
    status = parse_status(StatusClient(link).status())
    assert (status.can_end, status.enforcing) == (frozenset(), False)
    assert "this is another machine: CONTAINER_ID is not 7" in status.end_problems[0]
