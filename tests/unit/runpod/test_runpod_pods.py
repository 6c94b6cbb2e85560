"""A pod's record becomes an instance: states, prices, addresses, notices."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gpudash.cli.ending import question
from gpudash.fleet.record import Record
from gpudash.model.instance import EVERYWHERE, InstanceKey, InstanceState, SshAddress
from gpudash.model.money import Price
from gpudash.model.policy import EndAction
from gpudash.providers.runpod.pods import PROXY_ONLY, TOKEN, Around, moment, parse_pod

DIRECT = {"host": "203.0.113.9", "port": 22017, "username": "root", "command": "ssh root@203.0.113.9 -p 22017"}
PROXY = {"host": "ssh.runpod.io", "port": 22, "username": "p1-64411eb2", "command": "ssh p1-64411eb2@ssh.runpod.io"}
UP = {"uptime": 40, "gpus": [{"util": 0, "memoryUtil": 0}], "ports": []}
RUNNING: dict[str, Any] = {
    "id": "p1", "name": "train", "status": "RUNNING", "actions": ["stop", "restart", "terminate"],
    "image": "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404", "args": "", "disk": 50, "ports": ["22/tcp"],
    "env": {"HF_TOKEN": "hidden-word", TOKEN: "abcd1234"}, "registry": None,
    "mounts": {"persistent": {"size": 20, "path": "/workspace"}}, "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 2},
    "cloud": "COMMUNITY", "dataCenterId": "US-KS-2", "cudaVersion": "12.8", "ssh": {"proxy": PROXY, "direct": DIRECT},
    "template": None, "cost": Decimal("0.62"), "locked": False, "globalNetworking": {"enabled": False}, "runtime": UP,
    "createdAt": "2026-06-01T12:00:00Z", "startedAt": "2026-06-01T13:00:00Z",
}  # fmt: skip
"""In the form of the published example (REST v2 of 2026-08-18), running."""
AROUND = Around("work")
STARTED = datetime(2026, 6, 1, 13, tzinfo=UTC)


def test_a_running_pod() -> None:
    """Everything that the record tells is there, and secrets of its variables are not."""
    pod = parse_pod(RUNNING, AROUND)
    assert pod.key == InstanceKey("work", EVERYWHERE, "p1")
    assert (pod.state, pod.provider_state) == (InstanceState.RUNNING, "RUNNING")
    assert (pod.instance_type, pod.gpu_count, pod.place) == ("2x-rtx-4090-community", 2, "US-KS-2")
    assert pod.price == Price(Decimal("0.62"), "instance")
    assert pod.ssh == SshAddress("203.0.113.9", 22017, "root", host_key_since=STARTED)
    assert (pod.managed, pod.launch_token) == (True, "abcd1234")
    assert pod.started_at == STARTED
    assert pod.lost_on_terminate == "20 GB volume and 50 GB container disk"
    assert "hidden-word" not in repr(pod.raw)
    assert pod.raw["env"] == ["GPUDASH_LAUNCH_TOKEN", "HF_TOKEN"]


@pytest.mark.parametrize(
    ("status", "runtime", "state"),
    [
        ("PROVISIONING", {}, InstanceState.PENDING),
        ("STARTING", None, InstanceState.STARTING),
        ("RUNNING", None, InstanceState.STARTING),
        ("RUNNING", UP, InstanceState.RUNNING),
        ("EXITED", None, InstanceState.STOPPED),
        ("ERROR", None, InstanceState.ERROR),
        ("TERMINATED", None, InstanceState.TERMINATED),
        ("RESTARTING", None, InstanceState.STARTING),
        ("PAUSED", UP, InstanceState.UNKNOWN),
        (None, None, InstanceState.UNKNOWN),
    ],
)
def test_states(status: str | None, runtime: object, state: InstanceState) -> None:
    """RUNNING alone is a promise; a container with a runtime keeps it. New words are unknown."""
    pod = parse_pod(RUNNING | {"status": status, "runtime": runtime}, AROUND)
    assert pod.state is state
    assert (pod.ssh is not None) == (state is InstanceState.RUNNING)


def test_a_stopped_pod_bills_its_volume_double() -> None:
    """$0.20 a GB and month for the volume, nothing for the container disk, and no address that is still told."""
    pod = parse_pod(RUNNING | {"status": "EXITED", "runtime": UP, "cost": Decimal(0)}, AROUND)
    running = parse_pod(RUNNING, AROUND)
    assert pod.storage_price is not None
    assert running.storage_price is not None
    assert pod.storage_price.usd_per_hour == (Decimal("0.20") * 20 / 730).quantize(Decimal("0.000001"))
    assert running.storage_price.usd_per_hour == (Decimal("0.10") * 70 / 730).quantize(Decimal("0.000001"))
    assert pod.storage_price.estimated
    assert (pod.ssh, pod.price, pod.disk_gb) == (None, None, 20)


def test_the_proxy_is_a_shell_and_nothing_else() -> None:
    """A pod that exposes no port 22 is told with the proxy, which has no SFTP; the row says what that means."""
    pod = parse_pod(RUNNING | {"ports": [], "ssh": {"proxy": PROXY, "direct": None}}, AROUND)
    assert pod.ssh == SshAddress("ssh.runpod.io", 22, "p1-64411eb2", only_a_shell=PROXY_ONLY)
    assert pod.notice is not None
    assert PROXY_ONLY in pod.notice


def test_direct_ssh_is_waited_for() -> None:
    """Where port 22 is exposed and not mapped yet there is no address, not the proxy's."""
    assert parse_pod(RUNNING | {"ssh": {"proxy": PROXY, "direct": None}}, AROUND).ssh is None


def test_ssh_from_mapped_ports() -> None:
    """A record without a word on SSH still has its mapped ports; internal addresses are none."""
    ports = [
        {"private": 8888, "public": 60001, "type": "http", "ip": "100.65.0.3"},
        {"private": 22, "public": 22050, "type": "tcp", "ip": "203.0.113.4"},
    ]
    bare = {name: value for name, value in RUNNING.items() if name != "ssh"}
    assert parse_pod(bare | {"runtime": UP | {"ports": ports}}, AROUND).ssh == SshAddress(
        "203.0.113.4", 22050, "root", host_key_since=STARTED
    )


def test_a_record_of_almost_nothing() -> None:
    """Missing fields are unknown, never zero."""
    pod = parse_pod({"id": "p1"}, AROUND)
    assert (pod.name, pod.state, pod.price, pod.storage_price) == ("p1", InstanceState.UNKNOWN, None, None)
    assert (pod.gpu_count, pod.instance_type, pod.ssh, pod.managed) == (None, None, None, False)


def test_a_cost_of_zero_while_running_is_no_price() -> None:
    """What bills and says 0 is unknown."""
    assert parse_pod(RUNNING | {"cost": Decimal(0)}, AROUND).price is None


def test_the_key_that_fits_is_named() -> None:
    """Of the public keys in the pod, the one whose private half is here is offered."""
    env = {"PUBLIC_KEY": "ssh-rsa AAAAother a\nssh-ed25519 AAAAmine b"}
    pod = parse_pod(RUNNING | {"env": env}, Around("work", own_keys={"AAAAmine": "/home/me/.ssh/id_ed25519"}))
    assert pod.ssh is not None
    assert pod.ssh.identity_file == "/home/me/.ssh/id_ed25519"
    assert pod.notice is None


def test_a_key_that_does_not_fit_is_said() -> None:
    """Nobody waits for a login that cannot succeed."""
    env = {"PUBLIC_KEY": "ssh-ed25519 AAAAother a"}
    pod = parse_pod(RUNNING | {"env": env}, Around("work", own_keys={"AAAAmine": "/home/me/.ssh/id_ed25519"}))
    assert pod.notice is not None
    assert "none of your SSH keys is in it" in pod.notice


def test_notices() -> None:
    """Zero GPUs after a start, a lock, a cluster."""
    record = RUNNING | {"runtime": UP | {"gpus": []}, "locked": True, "cluster": {"id": "c7", "rank": 0}}
    notice = parse_pod(record, AROUND).notice or ""
    assert "without a GPU" in notice
    assert "locked" in notice
    assert "cluster c7" in notice


def test_a_network_volume_stays() -> None:
    """It bills on after the pod, and is none of the pod's own disks."""
    mounts = {"network": [{"volumeId": "vol_1", "path": "/workspace"}]}
    pod = parse_pod(RUNNING | {"mounts": mounts}, AROUND)
    assert pod.stays_after_terminate == "network volume vol_1"
    assert pod.lost_on_terminate == "50 GB container disk"


def test_a_public_port_has_an_address() -> None:
    """A service that is exposed by HTTP is reached at RunPod's web proxy."""
    record = RUNNING | {"ports": ["22/tcp", "8000/http"], "env": {"GPUDASH_SERVICE_PORT": "8000"}}
    assert parse_pod(record, AROUND).service_url == "https://p1-8000.proxy.runpod.net"
    assert parse_pod(record | {"ports": ["22/tcp"]}, AROUND).service_url is None


def test_times_of_both_forms() -> None:
    """ISO, and what older answers have; nonsense is unknown."""
    expected = datetime(2026, 8, 20, 6, 16, 19, 436000, tzinfo=UTC)
    assert moment("2026-08-20T06:16:19.436Z") == moment("2026-08-20 06:16:19.436 +0000 UTC") == expected
    assert moment("yesterday") is moment(None) is moment(7) is None


def test_a_cpu_pod() -> None:
    """No GPU is a number, not unknown."""
    record = {k: v for k, v in RUNNING.items() if k != "gpu"} | {"cpu": {"id": "cpu5c", "vcpuCount": 4, "memory": 8}}
    pod = parse_pod(record, AROUND)
    assert (pod.instance_type, pod.gpu_count, pod.gpu) == ("cpu5c-4", 0, None)


def test_a_stop_says_what_it_wipes_and_what_doubles() -> None:
    """The container disk goes, the volume stays at twice the rate; without a volume nothing stays."""
    now = datetime(2026, 6, 1, 14, tzinfo=UTC)
    told = "\n".join(question(Record(parse_pod(RUNNING, AROUND), now), EndAction.STOP, now))
    assert "what runs on it, and its 50 GB container disk" in told
    assert "20 GB volume, $~0.0055/h" in told
    bare = "\n".join(question(Record(parse_pod(RUNNING | {"mounts": {}}, AROUND), now), EndAction.STOP, now))
    assert "bills on nothing" in bare


@pytest.mark.parametrize(("status", "missing"), [("EXITED", "mounts"), ("RUNNING", "mounts"), ("RUNNING", "disk")])
def test_a_disk_that_is_not_told_of_costs_an_unknown_amount(status: str, missing: str) -> None:
    """Not nothing: a stopped pod's volume bills double."""
    record = {name: value for name, value in RUNNING.items() if name != missing} | {"status": status}
    assert parse_pod(record, AROUND).storage_price is None
