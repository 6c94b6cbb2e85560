"""Each fault of the sandbox that acts on a host, switched on and off. Those of the interface are in test_contract."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clouds import SandboxCloud, find, launched, reach, sandbox_cloud
from support.ssh import Ssh
from support.waiting import eventually

from gpudash.errors import NoCapacity, NotFound, Unreachable, UsageError
from gpudash.model.instance import Instance, InstanceState
from gpudash.providers.sandbox import control, keys
from gpudash.providers.sandbox.faults import TEXTS, Fault


@pytest.fixture
def cloud() -> Iterator[SandboxCloud]:
    with sandbox_cloud() as found:
        yield found


def banner(instance: Instance) -> bytes:
    """What the SSH server says first; nothing where it refuses."""
    assert instance.ssh is not None
    try:
        with socket.create_connection((instance.ssh.host, instance.ssh.port), timeout=1.0) as connection:
            return connection.recv(64)
    except OSError:
        return b""


def nvidia_smi(cloud: SandboxCloud, instance: Instance, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the stand-in from the host's PATH."""
    program = cloud.folder(instance.key).bin / "nvidia-smi"
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=10, check=False)


def service_answers(cloud: SandboxCloud, instance: Instance) -> bool:
    """Whether the inference service says that it is healthy."""
    port = cloud.record(instance.key).ports["8000"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=0.5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_every_fault_is_listed_with_its_text() -> None:
    """Twelve switches, all off."""
    listed = control.faults()
    assert {info.name for info in listed} == set(Fault) == set(TEXTS)
    assert not any(info.on or info.hosts for info in listed)


def test_switches_are_for_all_or_for_some(cloud: SandboxCloud) -> None:
    """Off without a host clears everything."""
    instance = launched(cloud)
    assert control.set_fault("ssh-cut", True, instance.key.id).hosts == (instance.key.id,)
    assert control.set_fault("ssh-cut", True).on
    cleared = control.set_fault("ssh-cut", False)
    assert (cleared.on, cleared.hosts) == (False, ())


def test_host_is_found_by_name_and_beginning_of_id(cloud: SandboxCloud) -> None:
    """As people write them."""
    instance = launched(cloud, name="comfy")
    for text in ("comfy", f"sandbox:{instance.key.id}", instance.key.id[:6]):
        assert control.set_fault("ssh-cut", True, text).hosts == (instance.key.id,)
    launched(cloud, name="comfy")
    with pytest.raises(NotFound, match="several"):
        control.set_fault("ssh-cut", True, "comfy")


def test_wrong_names_are_refused_with_what_there_is(cloud: SandboxCloud) -> None:
    """A typo is told, and a host that is not there."""
    with pytest.raises(UsageError, match="api-down"):
        control.set_fault("api-dwon", True)
    with pytest.raises(NotFound):
        control.set_fault("ssh-cut", True, "sb-nothere")


def test_interface_fault_of_one_host_leaves_the_rest_alone(cloud: SandboxCloud) -> None:
    """Listing works, and so does the other host."""
    sick, well = launched(cloud), launched(cloud)
    control.set_fault("api-down", True, sick.key.id)
    with pytest.raises(Unreachable):
        cloud.provider.stop(sick.key)
    cloud.provider.stop(well.key)
    assert reach(cloud, well.key, InstanceState.STOPPED)
    assert find(cloud, sick.key)


def test_empty_list_of_one_host_hides_that_host(cloud: SandboxCloud) -> None:
    """The cloud forgets one, for a while."""
    hidden, seen = launched(cloud), launched(cloud)
    control.set_fault("empty-list", True, hidden.key.id)
    assert [item.key for item in cloud.provider.list_instances(cloud.region).items] == [seen.key]
    control.set_fault("empty-list", False)
    assert find(cloud, hidden.key)


def test_no_capacity_holds_for_starts_too(cloud: SandboxCloud) -> None:
    """A stopped host may find its place taken; its disk is kept."""
    instance = launched(cloud)
    cloud.provider.stop(instance.key)
    reach(cloud, instance.key, InstanceState.STOPPED)
    control.set_fault("no-capacity", True)
    with pytest.raises(NoCapacity):
        cloud.provider.start(instance.key)
    assert find(cloud, instance.key).state is InstanceState.STOPPED  # type: ignore[union-attr]


def test_ssh_cut_drops_and_refuses_and_heals(cloud: SandboxCloud) -> None:
    """Live connections end, new ones get no banner, until it is off."""
    instance = launched(cloud)
    assert instance.ssh
    with socket.create_connection((instance.ssh.host, instance.ssh.port), timeout=10) as live:
        assert live.recv(64).startswith(b"SSH-2.0-")
        control.set_fault("ssh-cut", True, instance.key.id)
        while live.recv(4096):
            pass
    assert banner(instance) == b""
    control.set_fault("ssh-cut", False)
    assert banner(instance).startswith(b"SSH-2.0-")


def test_frozen_host_stands_still_and_goes_on(cloud: SandboxCloud) -> None:
    """The cloud says running; nothing on it answers; off, everything does."""
    instance = launched(cloud)
    control.set_fault("host-frozen", True, instance.key.id)
    assert not service_answers(cloud, instance)
    assert find(cloud, instance.key).state is InstanceState.RUNNING  # type: ignore[union-attr]
    control.set_fault("host-frozen", False, instance.key.id)
    eventually(lambda: service_answers(cloud, instance), "it goes on")


def test_fault_that_was_on_before_holds_after_a_start(cloud: SandboxCloud) -> None:
    """A host that boots reads the switches."""
    control.set_fault("ssh-cut", True)
    control.set_fault("host-frozen", True)
    instance = launched(cloud)
    eventually(lambda: not service_answers(cloud, instance), "it freezes when it has booted")
    control.set_fault("host-frozen", False)
    eventually(lambda: service_answers(cloud, instance), "it goes on")
    assert banner(instance) == b""


@pytest.mark.needs("ssh")
def test_statusd_is_killed_whenever_it_runs(cloud: SandboxCloud, tmp_path: Path) -> None:
    """What run.json names is killed again and again while the fault is on; a stranger's pid in it is not."""
    instance = launched(cloud)
    folder = cloud.folder(instance.key)
    ssh = Ssh(tmp_path)
    key = keys.public_half(folder.host_key).read_text()
    ssh.know("host", instance, " ".join(key.split()[:2]))
    (folder.home / ".gpudash").mkdir()
    (folder.home / "daemon").write_text('echo "{\\"pid\\": $$}" > ~/.gpudash/run.json; exec sleep 600\n')
    daemon = "setsid sh daemon </dev/null >/dev/null 2>&1 &"
    control.set_fault("statusd-killed", True, instance.key.id)
    for _ in range(2):
        (folder.home / ".gpudash" / "run.json").unlink(missing_ok=True)
        ssh.run("ssh", "host", daemon)
        run = eventually(lambda: _pid(folder.home), "it runs")
        eventually(lambda run=run: not _lives(run), "it is killed")  # type: ignore[misc]
    (folder.home / ".gpudash" / "run.json").write_text(json.dumps({"pid": os.getpid()}))
    control.set_fault("statusd-killed", False)
    (folder.home / ".gpudash" / "run.json").unlink()
    ssh.run("ssh", "host", daemon)
    assert _lives(eventually(lambda: _pid(folder.home), "it runs"))


def test_no_effect_reaches_the_power_button(cloud: SandboxCloud) -> None:
    """It answers yes, and the host runs on."""
    instance = launched(cloud)
    control.set_fault("no-effect", True)
    button = cloud.folder(instance.key).bin / "instance-end"
    assert subprocess.run([button, "terminate"], timeout=20, check=False).returncode == 0
    control.set_fault("no-effect", False)
    assert cloud.record(instance.key).power == "on"


def test_broken_sensor_fails_as_a_lost_driver_does(cloud: SandboxCloud) -> None:
    """Exit status 9, and the words people know."""
    instance = launched(cloud)
    control.set_fault("sensor-broken", True)
    done = nvidia_smi(cloud, instance, "--query-gpu=utilization.gpu", "--format=csv")
    assert done.returncode == 9
    assert "couldn't communicate with the NVIDIA driver" in done.stdout
    control.set_fault("sensor-broken", False)
    assert nvidia_smi(cloud, instance).returncode == 0


def test_spot_notice_is_on_the_instance_and_on_the_host(cloud: SandboxCloud) -> None:
    """Only a spot instance is taken back, and both sides say when."""
    spot, kept = launched(cloud, spot=True), launched(cloud)
    control.set_fault("spot-notice", True)
    assert "interruption" in (find(cloud, spot.key).notice or "")  # type: ignore[union-attr]
    assert find(cloud, kept.key).notice is None  # type: ignore[union-attr]
    notice = cloud.folder(spot.key).spot_notice
    assert json.loads(notice.read_text())["action"] == "terminate"
    assert not cloud.folder(kept.key).spot_notice.exists()
    control.set_fault("spot-notice", False)
    assert not notice.exists()
    assert find(cloud, spot.key).notice is None  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no spot instance"):
        control.set_fault("spot-notice", True, kept.key.id)


def _pid(home: Path) -> int:
    try:
        return int(json.loads((home / ".gpudash" / "run.json").read_text())["pid"])
    except (OSError, ValueError):
        return 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
