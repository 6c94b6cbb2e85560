"""Two judges of our fake of Lambda, and through it of our adapter: the API file Lambda publishes, and another client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clouds import find, launched, listing
from support.lambda_cloud import LambdaCloud, lambda_cloud
from support.lambda_server import KEY
from support.published import published
from support.waiting import eventually

from gpudash.errors import AuthRefused, ProviderError
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.offer import OfferFilter


@pytest.fixture
def cloud() -> Iterator[LambdaCloud]:
    """An account whose machines boot and end at once."""
    with lambda_cloud() as found:
        found.fake.boot_s = found.fake.end_s = 0.0
        yield found


def findings(cloud: LambdaCloud) -> list[str]:
    """Every exchange so far against the published file; ours must not send a field that it lacks."""
    judge = published("lambda.json")
    return [
        finding
        for request, reply in cloud.fake.exchanges
        for finding in judge.findings(
            request, reply, closed=request.headers.get("user-agent", "").startswith("gpudash/")
        )
        if "is_reserved" not in finding
    ]


def test_all_that_we_send_and_the_fake_answers_is_as_published(
    cloud: LambdaCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launch with everything, look, refuse, end; each request and each answer fits the file."""
    cloud.fake.add_filesystem("data", "us-west-1")
    told = {"file_system": "data", "hostname": "head-1", "image": "lambda-stack-22-04", "user_data": "#!/bin/sh\n"}
    instance = launched(cloud, options={**told, "tag.team": "vision"})
    provider = cloud.provider
    provider.list_offers(OfferFilter())
    provider.list_leftovers()
    with pytest.raises(ProviderError):
        provider.launch(cloud.order(options={"ssh_key_name": "nobody"}))
    cloud.fake.stock["gpu_1x_a10"] = ()
    with pytest.raises(ProviderError):
        cloud.again().launch(cloud.order())
    provider.terminate(instance.key)
    provider.terminate(instance.key)
    provider.terminate(InstanceKey("lambda", "all", "0" * 32))
    monkeypatch.setenv("LAMBDA_API_KEY", "another-test-key")
    with pytest.raises(AuthRefused):
        cloud.again().list_instances("all")
    asked = {(request.method, request.path.rpartition("/")[2]) for request, _ in cloud.fake.exchanges}
    assert {("POST", "launch"), ("POST", "terminate"), ("POST", "ssh-keys"), ("GET", "file-systems")} <= asked
    assert findings(cloud) == []


def test_the_judge_finds_what_is_wrong(cloud: LambdaCloud) -> None:
    """A request with a field of old, and an answer with a number for a text, are both named."""
    launched(cloud)
    judge = published("lambda.json")
    request, reply = next((q, a) for q, a in cloud.fake.exchanges if q.path.endswith("/launch"))
    old = type(request)(
        request.method, request.path, {}, request.headers, json.dumps({**request.json, "quantity": 1}).encode()
    )
    assert judge.findings(old, reply, closed=True) == ["POST /api/v1/instance-operations/launch: body has quantity"]
    wrong = type(reply)(200, {"data": {"instance_ids": [7]}})
    assert "7 is not of type 'string'" in judge.findings(request, wrong)[0]


def lai(cloud: LambdaCloud, *argv: str) -> Any:
    """Run the vendor-neutral client against the fake."""
    told = {"LAMBDA_CLOUD_BASE_URL": cloud.fake.url, "LAMBDA_CLOUD_API_TOKEN": KEY, "COLUMNS": "200"}
    done = subprocess.run(
        [Path(sys.executable).with_name("lai"), *argv], env={**os.environ, **told}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if "--json" in argv else done.stdout


@pytest.fixture
def other_client(without: Any) -> None:
    """The client `lai` (lambda-ai-cloud-api-client), where it is installed."""
    if not Path(sys.executable).with_name("lai").exists():
        without("lai of lambda-ai-cloud-api-client")


@pytest.mark.usefixtures("other_client")
def test_another_client_sees_what_we_launched(cloud: LambdaCloud) -> None:
    """Name, type, price, key and address, as it reads them; renamed by it, we still know our launch."""
    order = cloud.order(name="train")
    instance = launched(cloud, token=order.token, name="train")
    (seen,) = lai(cloud, "ls", "--json")
    assert (seen["id"], seen["ip"], seen["status"]) == (instance.key.id, instance.ssh.host, "active")  # type: ignore[union-attr]
    assert seen["name"] == f"train gpudash#{order.token}"
    assert seen["instance_type"]["price_cents_per_hour"] / 100 == float(instance.price.usd_per_hour)  # type: ignore[union-attr]
    (key,) = lai(cloud, "keys", "--json")
    assert seen["ssh_key_names"] == [key["name"]]
    lai(cloud, "rename", instance.key.id, "other")
    renamed = find(cloud, instance.key)
    assert renamed is not None
    assert (renamed.name, renamed.launch_token) == ("other", order.token)
    assert findings(cloud) == []


@pytest.mark.usefixtures("other_client")
def test_we_see_what_another_client_launched_and_ended(cloud: LambdaCloud) -> None:
    """Somebody else's machine is listed with its price, is not managed, and its end is seen."""
    launched(cloud)
    name = cloud.fake.keys[0]["name"]
    lai(cloud, "start", "--instance-type", "gpu_1x_gh200", "--region", "us-east-1", "--ssh-key", name, "--name", "hers")
    hers = eventually(
        lambda: next((i for i in listing(cloud).items if i.name == "hers" and i.ssh), None), "hers is listed"
    )
    assert (hers.managed, hers.launch_token, hers.instance_type) == (False, None, "gpu_1x_gh200")
    lai(cloud, "stop", hers.key.id)
    ended = eventually(
        lambda: (i := find(cloud, hers.key)) is not None and i.state is InstanceState.TERMINATED, "her end is listed"
    )
    assert ended
    assert findings(cloud) == []
