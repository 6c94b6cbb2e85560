"""The main job on EC2: wizard, guard, extend, stop, ready, terminate, by key, on moto, with a real OpenSSH server as the
host and the real statusd on it. After each step the `aws` command says the same; in the end nothing is left.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import moto_server
from support.aws_cloud import REGION, AwsCloud, OnLoopback, aws_cloud, raw_client
from textual.widgets import Input

from gpudash.clock import SystemClock
from gpudash.config import Config, Defaults
from gpudash.fleet import readiness
from gpudash.fleet.fleet import Fleet
from gpudash.fleet.session import Session
from gpudash.model.guard import GuardLevel
from gpudash.model.instance import InstanceState
from gpudash.ui.app import GpudashApp, Options
from tests.support.imds import Imds
from tests.support.links import Greeter, Service
from tests.support.sshd import Sshd, free_port
from tests.support.waiting import PATIENCE_S
from tests.ui.test_sandbox import until

pytestmark = [pytest.mark.needs("sshd", "ssh-keygen")]


class Box:
    """The machine behind the instance: an OpenSSH server, a service, statusd once pushed. Off is off."""

    def __init__(self, folder: Path, imds: Imds) -> None:
        tools = folder / "bin"
        tools.mkdir(parents=True)
        for name in ("systemctl", "shutdown", "poweroff", "sudo"):
            (tools / name).write_text("#!/bin/sh\n")  # nothing here may end the machine that runs the test
            (tools / name).chmod(0o755)
        root = folder / "root"
        (root / "run/systemd/system").mkdir(parents=True)
        for real in ("proc", "sys"):
            (root / real).symlink_to(f"/{real}")
        path = f"{tools}:{Path(sys.executable).parent}:/usr/bin:/bin"
        self.port = free_port()
        facts = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url, "GPUDASH_SYSROOT": str(root)}
        self.sshd = Sshd(folder / "sshd", environment={"PATH": path, **facts})
        self.home = self.sshd.home / ".gpudash"
        self._service: Service | None = None

    def on(self) -> None:
        """Boot; statusd is not among what starts by itself here."""
        if self._service is None:
            self.sshd.start()
            self._service = Service(("127.0.0.1", self.port), Greeter)
            threading.Thread(target=self._service.serve_forever, args=(0.02,), daemon=True).start()

    def off(self) -> None:
        """Everything on it ends."""
        if (self.home / "current").exists():
            stop = [sys.executable, str(self.home / "current"), "--home", str(self.home), "--stop"]
            subprocess.run(stop, check=True, capture_output=True)
        self.sshd.kill()
        if self._service is not None:
            self._service.shutdown()
            self._service.server_close()
            self._service = None

    def statusd(self) -> dict[str, Any]:
        """What the daemon says itself, asked on its own port with its own token."""
        port = json.loads((self.home / "run.json").read_text())["port"]
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/status",
            headers={"Authorization": f"Bearer {(self.home / 'token').read_text().strip()}"},
        )
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return json.load(answer)


@pytest.fixture
def cloud() -> Iterator[AwsCloud]:
    with aws_cloud(SystemClock()) as found, moto_server.slow_transitions(0.5):
        yield found


@pytest.fixture
def box(cloud: AwsCloud, tmp_path: Path) -> Iterator[Box]:
    """It is on while EC2 says so."""
    with Imds() as imds:
        made = Box(tmp_path / "box", imds)
        for action, effect in (("RunInstances", made.on), ("StartInstances", made.on), ("StopInstances", made.off),
                               ("TerminateInstances", made.off)):  # fmt: skip
            cloud.wire.after[f"ec2:{action}"] = lambda name, parsed, effect=effect: effect()
        yield made
        made.off()


@pytest.fixture
def open_session(cloud: AwsCloud, box: Box) -> Iterator[Callable[[str], Session]]:
    """Sessions of as many programs as are wanted, over one ledger."""
    defaults = Defaults(refresh=timedelta(seconds=1), service_port=box.port)
    config = Config(defaults, {"aws": cloud.account})
    opened: list[Session] = []

    def make(actor: str) -> Session:
        provider = OnLoopback(cloud.account, cloud.clock, address_source=lambda: "203.0.113.7",
                              session_factory=cloud.wire.session, visible_after_s=0.0)  # fmt: skip
        provider.address = box.sshd.address
        opened.append(Session.open(config, accounts=["aws"], actor=actor, providers={"aws": provider}))
        return opened[-1]

    yield make
    for session in opened:
        session.close()


def aws(cloud: AwsCloud, *words: str) -> str:
    """What the aws command prints."""
    argv = [sys.executable, "-m", "awscli", *words, "--endpoint-url", str(cloud.account.base_url), "--region", REGION]
    done = subprocess.run(
        [*argv, "--output", "text"], capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def state_of(cloud: AwsCloud) -> str:
    return aws(cloud, "ec2", "describe-instances", "--query", "Reservations[].Instances[].State.Name")


@asynccontextmanager
async def dashboard(session: Session) -> AsyncIterator[tuple[GpudashApp, Any, Fleet]]:
    fleet = Fleet(session)
    app = GpudashApp(fleet, Options())
    async with app.run_test(size=(160, 48)) as pilot:
        yield app, pilot, fleet
        await app.action_quit()


async def test_the_whole_road_on_ec2(cloud: AwsCloud, box: Box, open_session: Callable[[str], Session]) -> None:
    """Launch wizard, push over real SSH, extend, stop, ready, terminate; seen by the `aws` command too."""
    mine, gateways = open_session("dashboard"), open_session("gateway")
    async with dashboard(mine) as (app, pilot, fleet):
        await pilot.press("n")
        launch: Any = app.screen
        await until(lambda: bool(launch.view.rows))
        await pilot.press(*"type:g5.xlarge spot:no")
        await until(lambda: launch.table.record is not None and launch.table.record.instance_type == "g5.xlarge")
        launch.query_one("#name", Input).value = "road"
        await pilot.press("ctrl+o")
        await until(lambda: app.screen is not launch)
        app.screen.query_one("#option-disk_gb", Input).value = "120"
        await pilot.press("enter")
        await until(lambda: app.screen is launch)
        await pilot.press("enter")
        await until(lambda: bool(fleet.store.records))
        await pilot.press("escape")

        def row() -> Any:
            return next(iter(fleet.store.records.values()))

        def is_armed() -> bool:
            verdict = row().guard(fleet.clock.now())
            return verdict is not None and verdict.level is GuardLevel.ARMED

        await until(is_armed)
        name, key = row().instance.name, row().key
        assert (name, state_of(cloud)) == ("road", "running")
        assert aws(cloud, "ec2", "describe-volumes", "--query", "Volumes[].Size") == "120"
        pid = json.loads((box.home / "run.json").read_text())["pid"]

        await until(lambda: app.screen.table.record is not None)
        await pilot.press("p")
        await until(lambda: any(op.verb.value == "push" and op.stage.value == "proved"
                                for op in fleet.store.operations.values()))  # fmt: skip
        assert json.loads((box.home / "run.json").read_text())["pid"] == pid, "what is right is left alone"

        before = row().policy.lease_deadline
        await pilot.press("+", "enter")
        await until(lambda: row().policy.lease_deadline > before and row().operation is None)
        told = f"{row().policy.lease_deadline:%Y-%m-%dT%H:%M:%SZ}"
        assert box.statusd()["lease"]["deadline"] == told
        tag = ("--query", "Tags[?Key=='gpudash:lease-deadline' && ResourceType=='instance'].Value")
        assert aws(cloud, "ec2", "describe-tags", *tag) == told

        await pilot.press("x", "right", "enter")
        await until(lambda: row().instance.state is InstanceState.STOPPED)
        assert [left.kind for left in mine.providers["aws"].list_leftovers().items] == ["disk"]

        url = await asyncio.to_thread(_ready, gateways, key)
        with urllib.request.urlopen(f"{url}/hello", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"/hello"
        await until(lambda: row().instance.state is InstanceState.RUNNING)
        await until(is_armed)

        await pilot.press("X", *"road", "enter", "enter")
        await until(lambda: not fleet.store.records)
        await until(lambda: any(event.kind == "clean-up" for event in mine.ledger.events()))
    assert state_of(cloud) == "terminated"
    assert mine.providers["aws"].list_leftovers().items == ()
    assert aws(cloud, "ec2", "describe-volumes") == ""
    groups = aws(cloud, "ec2", "describe-security-groups", "--query", "SecurityGroups[].GroupName")
    assert groups == "default"
    assert cloud.wire.count("ec2:RunInstances") == 1
    assert len(raw_client("ec2").describe_instances()["Reservations"]) == 1


def _ready(session: Session, key: Any) -> str:
    session.poll(PATIENCE_S)
    return readiness.ready(session, key, timeout_s=2 * PATIENCE_S)
