"""The real command line against an account at RunPod, over real HTTP."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.http_cloud import Fault, Reply
from support.runpod_cloud import KEY, FakeRunpod

from gpudash.clock import SystemClock
from tests.support.cli import Cli


@pytest.fixture
def fake() -> Iterator[FakeRunpod]:
    """The cloud, with pods that boot at once."""
    cloud = FakeRunpod(SystemClock())
    cloud.boot_s = 0.0
    yield cloud
    cloud.close()


@pytest.fixture
def cli(fake: FakeRunpod, tmp_path: Path) -> Cli:
    """A home with an API key in the usual variable."""
    program = Cli(tmp_path / "home")
    program.env["RUNPOD_API_KEY"] = KEY
    program.config(f'[defaults]\nrefresh = "1s"\n[accounts.runpod]\nbase_url = "{fake.url}"\n')
    return program


def test_a_pod_behind_the_proxy_is_not_tried_in_vain(cli: Cli, fake: FakeRunpod) -> None:
    """Each command says at once what the proxy cannot do and how to expose port 22; nobody connects to it."""
    pod = fake.add_pod(name="typed", ports=["8888/http"])
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        pod.proxy = proxy.getsockname()
        cli.ok("adopt", "typed")
        commands = ("push typed", "tunnel typed -L 8000", "ready typed --timeout 60s", "keepalive typed")
        for command in (*commands, "ssh typed -- nvidia-smi"):
            began = time.monotonic()
            answer = cli(*command.split())
            assert (answer.code, time.monotonic() - began < 20) == (4, True), answer
            assert "Add 22/tcp to its TCP ports" in answer.err
        (row,) = cli.ok("ls")["instances"]
        assert (row["guard"], row["guard_reason"]) == (
            "none",
            "no statusd can be put there: its SSH is a typed shell only",
        )
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_doctor_tells_what_is_left(cli: Cli, fake: FakeRunpod) -> None:
    """Balance and runway; a night's sleep that is not covered is a problem, and so is no answer."""
    fake.add_pod()
    fake.balance = 8.8
    assert "balance    runpod: balance $8.80, 20h left" in cli("doctor").out
    fake.balance = 0.22
    short = cli("doctor", "--json")
    assert short.code == 1
    assert (short.doc["balances"][0]["balance_usd"], short.doc["balances"][0]["runway_s"]) == (0.22, 1800)
    assert any("30m left" in problem for problem in short.doc["problems"])
    with fake.fault(Fault("gone", Reply(410, {"error": "gone"}), path="graphql")):
        silent = cli("doctor", "--json")
    assert (silent.code, silent.doc["balances"]) == (1, [])
    assert any("account runpod" in problem for problem in silent.doc["problems"])
