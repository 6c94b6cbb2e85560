"""The main job at RunPod, Vast and Lambda by command: launch, guard, tunnel, extend, end.

The cloud is a fake over real HTTP; the machine that it lets is a container behind a real OpenSSH server, without
systemd, open to the keys that the launch named, with the variables that this cloud puts into its containers.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import lambda_server, runpod_cloud, vast_fake
from support.http_cloud import HttpCloud
from support.waiting import PATIENCE_S, eventually

from gpudash.clock import SystemClock, parse_iso
from gpudash.config.settings import CONSENT_SENTENCE
from tests.support.cli import Cli
from tests.support.container import KEY as OWN_KEY
from tests.support.container import Container
from tests.support.links import Greeter, Service
from tests.support.sshd import NSS_WRAPPER, free_port, make_key, own_name

pytestmark = [pytest.mark.needs("sshd", "ssh-keygen")]

CONSENT = f'key_on_hosts = "{CONSENT_SENTENCE}"\n'


@dataclass
class Road:
    """A cloud, the one machine that it lets, and a person with a command line."""

    cloud: Any
    box: Container
    cli: Cli
    clock_file: Path
    type: str

    def rows(self) -> list[dict[str, Any]]:
        """What `ls` lists of ours."""
        return [item for item in self.cli.ok("ls")["instances"] if item["managed"]]

    def statusd(self) -> dict[str, Any]:
        """What the daemon says itself, asked on its own port with its own token."""
        port = json.loads((self.box.home / "run.json").read_text())["port"]
        token = (self.box.home / "token").read_text().strip()
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/status", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def let_pass(self, hours: float) -> None:
        """The machine's clock goes on by that much, at once."""
        now = time.time()
        draft = self.clock_file.with_suffix(".tmp")
        draft.write_text(json.dumps({"real0": now, "virtual0": now + hours * 3600, "speed": 1.0}))
        draft.replace(self.clock_file)


@contextmanager
def road(folder: Path, cloud: HttpCloud, name: str, key: tuple[str, str], kind: str, user: str, settings: str = "",
         at: tuple[str, int] | None = None) -> Iterator[Road]:  # fmt: skip
    """All of it for a while; afterwards no process is left."""
    if user != own_name() and NSS_WRAPPER is None:
        pytest.skip(f"needs libnss-wrapper, for the user {user}")
    folder.mkdir()
    clock_file = folder / "clock.json"
    box = Container(folder / "box", at=at, user=user, environment={"GPUDASH_CLOCK_FILE": str(clock_file)})
    cli = Cli(folder / "person")
    cli.env[key[0]] = key[1]
    cli.config(f'[defaults]\nrefresh = "1s"\n[accounts.{name}]\nbase_url = "{cloud.url}"\n{settings}')
    (cli.home / ".ssh").mkdir(mode=0o700)
    make_key(cli.home / ".ssh" / "id_ed25519")
    try:
        yield Road(cloud, box, cli, clock_file, kind)
    finally:
        box.off()
        cloud.close()
        end_what_is_left(folder)


@contextmanager
def runpod(folder: Path) -> Iterator[Road]:
    cloud = runpod_cloud.FakeRunpod(SystemClock())
    cloud.boot_s = 0.3
    with road(folder, cloud, "runpod", ("RUNPOD_API_KEY", runpod_cloud.KEY), "1x-rtx-4090", "root") as made:

        def boot(pod: Any) -> None:
            own = {"RUNPOD_API_KEY": runpod_cloud.POD_KEY, "RUNPOD_POD_ID": pod.id}
            made.box.boot(pod.body["env"] | own, pod.body["env"]["PUBLIC_KEY"].splitlines())
            pod.host, pod.port = made.box.sshd.host, made.box.sshd.port

        cloud.on_made, cloud.on_end = boot, lambda pod: made.box.off()
        yield made


@contextmanager
def vast(folder: Path) -> Iterator[Road]:
    cloud = vast_fake.FakeVast(SystemClock())
    cloud.load_s = cloud.stop_s = 0.3
    with road(folder, cloud, "vast", ("VAST_API_KEY", vast_fake.KEY), "1x_RTX_4090", "root") as made:

        def boot(contract: Any) -> None:
            made.box.boot(
                {"CONTAINER_API_KEY": OWN_KEY, "CONTAINER_ID": str(contract.id)}, [key["key"] for key in cloud.keys]
            )
            contract.own_key, contract.ssh_port = OWN_KEY, made.box.sshd.port

        cloud.on_made, cloud.on_end = boot, lambda contract: made.box.off()
        yield made


@contextmanager
def lambda_(folder: Path, address: str, settings: str = "") -> Iterator[Road]:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, 22))
    except OSError as exc:
        pytest.skip(f"Lambda's SSH is always on port 22, and that cannot be bound here: {exc}")
    cloud = lambda_server.FakeLambda(SystemClock())
    cloud.boot_s = cloud.end_s = 0.3
    account = ("LAMBDA_API_KEY", lambda_server.KEY)
    with road(folder, cloud, "lambda", account, "gpu_1x_a10", "ubuntu", settings, (address, 22)) as made:

        def boot(machine: Any) -> None:
            named = machine.order["ssh_key_names"]
            made.box.boot({}, [key["public_key"] for key in cloud.keys if key["name"] in named])
            machine.address = address
            machine.tells_private_ip = False
            machine.order["hostname"] = socket.gethostname()  # by which the host knows the record for its own

        cloud.on_made, cloud.on_end = boot, lambda machine: made.box.off()
        yield made


Start = Callable[..., Road]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Begin a road; it is ended with the test."""
    with ExitStack() as stack:

        def begin(cloud: Callable[..., Any], *words: str) -> Road:
            return stack.enter_context(cloud(tmp_path / cloud.__name__, *words))

        yield begin


def end_what_is_left(folder: Path) -> None:
    """Nothing should be: what ran with this folder in its words or its environment is over by now."""
    try:
        eventually(lambda: not processes(folder), "no process is left")
    finally:
        for pid in processes(folder):
            os.kill(pid, signal.SIGKILL)


def processes(folder: Path) -> list[int]:
    """What runs with this folder in its words or its environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in told and path.name != str(os.getpid()):
            found.append(int(path.name))
    return found


@contextmanager
def service() -> Iterator[int]:
    """A web service on the machine; its port."""
    port = free_port()
    server = Service(("127.0.0.1", port), Greeter)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()


def up(road: Road, guard: str) -> dict[str, Any]:
    """Launch by command, and the row as `ls` has it then."""
    launched = road.cli.ok("launch", "--type", road.type, "--name", "road", "--lease", "4h", "--yes")
    assert (launched["ok"], launched["proved"]) == (True, True)
    (row,) = road.rows()
    assert (row["name"], row["state"], row["managed"], row["guard"]) == ("road", "running", True, guard), row
    address = {"host": road.box.sshd.host, "port": road.box.sshd.port, "user": road.box.sshd.user}
    assert (row["ssh"], row["price_usd_per_hour"] > 0, row["accrued_usd"] > 0) == (address, True, True)
    assert road.cloud.alive() == {row["id"]}
    assert road.statusd()["lease"]["deadline"] == row["lease_deadline"]
    return row


def down(road: Road) -> None:
    """Terminate by command; nothing is left."""
    assert road.cli.ok("terminate", "road", "--yes")["proved"]
    assert (road.cloud.alive(), road.rows(), road.cli.ok("leftovers")["leftovers"]) == (set(), [], [])


def drive(road: Road) -> None:
    """From the launch to the proof of the end; each step through the command line, and checked beside it."""
    before = up(road, "armed")["lease_deadline"]
    with service() as port:
        (tunnel,) = road.cli.ok("tunnel", "road", "-L", str(port), "--detach")["tunnels"]
        with urllib.request.urlopen(f"http://127.0.0.1:{tunnel['local']}/hello", timeout=PATIENCE_S) as answer:
            assert answer.read() == b"/hello"
        assert road.cli.ok("extend", "road", "2h")["proved"]
        later = road.statusd()["lease"]["deadline"]
        assert parse_iso(later) - parse_iso(before) == timedelta(hours=2)
        (row,) = road.rows()
        assert (row["lease_deadline"], [told["state"] for told in row["tunnels"]]) == (later, ["up"])
        down(road)


def test_runpod(start: Start) -> None:
    """Through the mapped port of a pod, guarded by the key of the pod alone."""
    drive(start(runpod))


def test_vast(start: Start) -> None:
    """Through the mapped port of an instance, guarded by the key that Vast puts into it."""
    drive(start(vast))


def test_lambda_with_consent(start: Start) -> None:
    """Guarded by the account's key, in the one file that was agreed to."""
    road = start(lambda_, "127.0.0.78", CONSENT)
    drive(road)


def test_lambda_without_consent(start: Start) -> None:
    """statusd reports, and the row says that the end comes from outside."""
    road = start(lambda_, "127.0.0.77")
    row = up(road, "degraded")
    assert row["guard_reason"] == "cannot end itself: the watchdog must"
    assert not (road.box.home / "account.key").exists()
    down(road)


def test_machines_end_themselves(start: Start) -> None:
    """When the lease is over and nobody looks; the lists prove it, by one command after another.

    A pod with the key of the pod alone, an instance of Vast's with the key that can end it alone.
    """
    pod, instance = start(runpod), start(vast)
    past_the_lease(pod, pod.cloud.add_pod, runpod_cloud.POD_KEY)
    past_the_lease(instance, instance.cloud.add, OWN_KEY)
    for road in (pod, instance):
        eventually(lambda road=road: not road.rows(), "it leaves the list", every_s=2)
        assert road.cli.ok("events")["events"][0]["kind"] == "gone"


def past_the_lease(road: Road, somebody_else: Callable[[], Any], key: str) -> None:
    """Launch beside somebody else's, look away until it has ended itself, and look once."""
    row = up(road, "armed")
    assert "terminate itself" in row["guard_reason"]
    road.cloud.on_made = lambda machine: None
    somebody_else()
    hers = road.cloud.alive() - {row["id"]}
    seen = len(road.cloud.log)
    road.let_pass(hours=4.1)
    eventually(lambda: not road.box.is_on, "it ended itself")
    assert {request.headers["authorization"] for request in road.cloud.log[seen:]} == {f"Bearer {key}"}
    assert road.cloud.alive() == hers
    assert [item["guard"] for item in road.rows()] == ["armed"], "one list without it proves nothing"
