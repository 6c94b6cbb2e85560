"""Launches and verbs: what is sent, keys of the account, templates, refusals in RunPod's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.clouds import find, launched, listing
from support.http_cloud import Fault, Reply, changed
from support.runpod_cloud import POD_KEY, RunpodCloud, problem, runpod_cloud

from gpudash import statusd
from gpudash.errors import Ambiguous, NoCapacity, ProviderError, Unreachable, UsageError

CREATE = r"^/v2/pods$"


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    """The account over real HTTP, and its adapter."""
    with runpod_cloud() as found:
        yield found


def sent(cloud: RunpodCloud, **changes: Any) -> dict[str, Any]:
    """The body of the create that an order led to."""
    cloud.provider.launch(cloud.order(**changes))
    (body,) = [request.json for request in cloud.fake.log if request.method == "POST"]
    return dict(body)


def test_what_is_sent_by_default(cloud: RunpodCloud) -> None:
    """Direct SSH, a volume that survives a stop, the token and our key in variables; nothing open to the world."""
    body = sent(cloud, token="0123abcd", service_port=8000)
    assert body["gpu"] == {"id": "NVIDIA GeForce RTX 4090", "count": 1}
    assert (body["cloud"], body["dataCenterIds"]) == ("SECURE", ["EU-RO-1"])
    assert (body["disk"], body["mounts"]) == (50, {"persistent": {"size": 20, "path": "/workspace"}})
    assert (body["ports"], body["startSsh"]) == (["22/tcp"], True)
    assert body["env"]["GPUDASH_LAUNCH_TOKEN"] == "0123abcd"
    assert body["env"]["GPUDASH_SERVICE_PORT"] == "8000"
    assert body["env"]["PUBLIC_KEY"].startswith("ssh-ed25519 ")


def test_options(cloud: RunpodCloud) -> None:
    """Everything a person may want is there by name."""
    options = {
        "image": "example/train:1", "args": "bash -c 'sleep 9'", "disk_gb": "80", "network_volume": "vol_1",
        "volume_path": "/data", "ports": "8000/http, 5432/tcp", "env.MODE": "fast", "min_cuda": "12.8",
        "data_center": "US-KS-2", "jupyter": "true", "registry": "reg_1",
    }  # fmt: skip
    body = sent(cloud, instance_type="2x-rtx-4090-community", options=options)
    assert body["gpu"] == {"id": "NVIDIA GeForce RTX 4090", "count": 2, "minCudaVersion": "12.8"}
    assert (body["image"], body["args"], body["disk"]) == ("example/train:1", "bash -c 'sleep 9'", 80)
    assert body["mounts"] == {"network": [{"volumeId": "vol_1", "path": "/data"}]}
    assert body["ports"] == ["22/tcp", "8000/http", "5432/tcp"]
    assert (body["env"]["MODE"], body["cloud"], body["dataCenterIds"]) == ("fast", "COMMUNITY", ["US-KS-2"])
    assert (body["startJupyter"], body["registry"]) == (True, "reg_1")


@pytest.mark.parametrize("region", ["any", "all"])
def test_any_data_centre(cloud: RunpodCloud, region: str) -> None:
    """RunPod enforces what it calls a preference, so nothing is named unless somebody wants it."""
    assert "dataCenterIds" not in sent(cloud, region=region)


def test_a_template(cloud: RunpodCloud) -> None:
    """Its own settings hold; its ports and variables are sent again with ours, which would replace them otherwise."""
    cloud.fake.templates["tpl_1"] = {
        "id": "tpl_1", "image": "example/tpl:2", "disk": 30, "mounts": {}, "args": "", "ports": ["8888/http"],
        "env": {"MODE": "slow", "LEVEL": "3"},
    }  # fmt: skip
    body = sent(cloud, options={"template": "tpl_1", "env.MODE": "fast"})
    assert body["templateId"] == "tpl_1"
    assert not {"image", "disk", "mounts"} & body.keys()
    assert body["ports"] == ["8888/http", "22/tcp"]
    assert (body["env"]["MODE"], body["env"]["LEVEL"]) == ("fast", "3")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"colour": "red"}, "knows no option 'colour'"),
        ({"disk_gb": "many"}, "whole number"),
        ({"volume_gb": "5"}, "smallest volume"),
        ({"volume_gb": "20", "network_volume": "v"}, "not both"),
        ({"ports": "8000/udp"}, "no port"),
        ({"public_key": "/nowhere.pub"}, "holds no Ed25519 or RSA public key"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_asked(cloud: RunpodCloud, options: Any, says: str) -> None:
    """A create is the one call that must not go wrong."""
    with pytest.raises(UsageError, match=says):
        cloud.provider.launch(cloud.order(options=options))
    assert cloud.fake.count("POST") == 0


def test_our_key_is_uploaded_once_and_others_stay(cloud: RunpodCloud) -> None:
    """RunPod replaces all keys at once, so those that are there are sent again."""
    cloud.fake.keys = ["ssh-ed25519 AAAAC3colleague colleague"]
    cloud.provider.launch(cloud.order())
    cloud.provider.launch(cloud.order())
    assert cloud.fake.count("PUT") == 1
    assert cloud.fake.keys[0] == "ssh-ed25519 AAAAC3colleague colleague"
    assert len(cloud.fake.keys) == 2


def test_a_key_without_rights_on_ssh_keys_launches_all_the_same(cloud: RunpodCloud) -> None:
    """Ours then reaches the pod by its variable."""
    with cloud.fake.fault(Fault("restricted", problem(403, "forbidden"), path="ssh-keys")):
        pod = launched(cloud)
    assert pod.ssh is not None
    assert pod.ssh.identity_file is not None


def test_keys_that_were_lost_stop_the_launch(cloud: RunpodCloud) -> None:
    """An upload that took a colleague's key away is said before a pod is made."""
    cloud.fake.keys = ["ssh-ed25519 AAAAC3colleague colleague"]
    with cloud.trouble("no effect"), pytest.raises(ProviderError, match="SSH keys of the RunPod account"):
        cloud.provider.launch(cloud.order())
    assert cloud.fake.count("POST") == 0


def test_keys_of_another_form_are_not_replaced(cloud: RunpodCloud) -> None:
    """What cannot be read cannot be sent again, and RunPod would drop it."""
    odd = changed(lambda body: {"keys": [{"publicKey": key} for key in ("one", "two")]})
    with cloud.fake.fault(Fault("odd", odd, path="ssh-keys")), pytest.raises(Unreachable, match="another form"):
        cloud.provider.launch(cloud.order())
    assert cloud.fake.count("PUT") == cloud.fake.count("POST") == 0


def test_an_answer_without_an_id_is_ambiguous(cloud: RunpodCloud) -> None:
    """Something may have been made; its token tells."""
    with (
        cloud.fake.fault(Fault("odd", Reply(201, {"name": "x"}), method="POST", path=CREATE)),
        pytest.raises(Ambiguous),
    ):
        cloud.provider.launch(cloud.order())


def test_no_balance(cloud: RunpodCloud) -> None:
    """402 is a definite no with the way out."""
    with (
        cloud.fake.fault(Fault("poor", problem(402, "balance too low"), method="POST", path=CREATE)),
        pytest.raises(ProviderError, match=r"balance too low.*add credit"),
    ):
        cloud.provider.launch(cloud.order())


def test_the_missing_field_is_said_first(cloud: RunpodCloud) -> None:
    """One missing field makes RunPod call all the others unexpected."""
    odd = problem(
        422, "validation failed", "unexpected property gpu", "unexpected property env", "missing property name"
    )
    with (
        cloud.fake.fault(Fault("odd", odd, method="POST", path=CREATE)),
        pytest.raises(ProviderError, match="validation failed: missing property name; unexpected"),
    ):
        cloud.provider.launch(cloud.order())


def test_a_start_without_a_free_gpu(cloud: RunpodCloud) -> None:
    """A stopped pod is tied to its host; it stays stopped."""
    pod = launched(cloud)
    cloud.provider.stop(pod.key)
    with cloud.trouble("no capacity"), pytest.raises(NoCapacity, match="not enough free GPUs"):
        cloud.provider.start(pod.key)


def test_a_locked_pod_cannot_be_stopped(cloud: RunpodCloud) -> None:
    """A 409 is a no unless the pod is what was wanted."""
    pod = launched(cloud)
    cloud.fake.pods[pod.key.id].locked = True
    with pytest.raises(ProviderError, match="not valid in status RUNNING"):
        cloud.provider.stop(pod.key)


def test_a_restart_maps_another_port(cloud: RunpodCloud) -> None:
    """The container is a new one, on the same pod."""
    before = launched(cloud)
    cloud.provider.restart(before.key)
    after = find(cloud, before.key)
    assert after is not None
    assert before.ssh is not None
    assert cloud.fake.pods[before.key.id].port != before.ssh.port


def test_pods_of_clusters_are_refused_in_runpods_words(cloud: RunpodCloud) -> None:
    """Their verbs are the cluster's; 409 is no success."""
    pod = cloud.fake.add_pod(name="member")
    pod.cluster = {"id": "c1", "rank": 0}
    (member,) = listing(cloud).items
    with pytest.raises(ProviderError, match="belongs to a cluster"):
        cloud.provider.terminate(member.key)


def test_the_switched_off_api_is_said(cloud: RunpodCloud) -> None:
    """410 Gone is no sign that a pod ended."""
    pod = launched(cloud)
    with (
        cloud.fake.fault(Fault("gone", problem(410, "gone"), path=r"/v2/pods/")),
        pytest.raises(ProviderError, match="switched that API off"),
    ):
        cloud.provider.terminate(pod.key)


def test_a_pod_ends_itself_with_its_own_key(cloud: RunpodCloud) -> None:
    """By the key in the pod, on that pod only; no secret stands in the settings of the daemon."""
    pod = launched(cloud)
    spec = cloud.provider.end_spec(pod.key)
    stop: Any = spec["stop"]
    assert stop[0]["url"] == f"{cloud.fake.url}/graphql"
    assert {step["token_env"] for step in stop} == {"RUNPOD_API_KEY"}
    assert all(step["only_if_env"] == {"RUNPOD_POD_ID": pod.key.id} for step in stop)
    assert "test-key" not in repr(spec)


@pytest.mark.parametrize("action", ["stop", "terminate"])
def test_statusd_ends_its_pod_with_these_steps(
    cloud: RunpodCloud, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """The pushed daemon's own code takes them, ends this pod with the key of the pod, and no other one."""
    pod, other = launched(cloud), launched(cloud)
    end = dict(cloud.provider.end_spec(pod.key)) | {"hibernate": None, "poweroff": None}
    errors: list[str] = []
    statusd.check_end(end, errors, errors)
    assert errors == []
    monkeypatch.setenv("RUNPOD_API_KEY", POD_KEY)
    monkeypatch.setenv("RUNPOD_POD_ID", other.key.id)
    assert "another machine" in statusd.end_by_http(end[action][0], "/nowhere")
    monkeypatch.setenv("RUNPOD_POD_ID", pod.key.id)
    assert statusd.end_by_http(end[action][0], "/nowhere") == ""
    left = cloud.fake.pods.get(pod.key.id)
    assert left is None if action == "terminate" else left is not None and not left.is_up
    assert cloud.fake.pods[other.key.id].is_up
