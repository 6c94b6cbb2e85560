"""Is the made-up RunPod like the real one? Judged by the published file of REST v2, and by RunPod's own clients.

| judge | of |
|---|---|
| ``runpod.json`` (REST v2 of 2026-08-18) | every request and answer of pods, catalogue, keys, volumes, endpoints |
| ``@runpod/mcp-server`` 4.0.0 | REST v2 and the data plane, as RunPod's own code uses them |
| ``runpod`` 1.12.0 | GraphQL and jobs |
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.clouds import launched, listing
from support.http_cloud import Reply, Request
from support.published import published
from support.runpod_cloud import KEY, RunpodCloud, runpod_cloud
from support.vendor_clients import node_client, python_client

from gpudash.clock import SystemClock
from gpudash.errors import GpudashError
from gpudash.model.endpoint import Bounds
from gpudash.model.offer import OfferFilter

OTHER_SURFACES = ("/graphql", "/run", "/health", "/purge-queue", "/status/", "/cancel/")
"""Not described by the file of REST v2."""
CLIENT_S = 60
INSTALLS = pytest.mark.timeout(400)
"""The first run fetches the client."""


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    """RunPod by the real clock, for programs of others."""
    with runpod_cloud(SystemClock()) as found:
        yield found


def test_every_exchange_is_as_published(cloud: RunpodCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that our adapter asks, and all that the fake answers, refusals too."""
    judge, findings = published("runpod.json"), list[str]()
    cloud.fake.page_size = None

    def saw(request: Request, reply: Reply) -> None:
        if not any(part in request.path for part in OTHER_SURFACES):
            findings.extend(judge.findings(request, reply))

    monkeypatch.setattr(cloud.fake, "saw", saw)
    cloud.fake.volumes = [{"id": "v", "name": "data", "size": 20, "dataCenter": "EU-RO-1", "type": "STANDARD"}]
    cloud.fake.templates["tpl_1"] = TEMPLATE
    cloud.fake.boot_s = 0.2
    _everything(cloud)
    assert findings == []
    assert cloud.fake.count() > 15


def _everything(cloud: RunpodCloud) -> None:
    pod = launched(cloud)
    provider = cloud.provider
    for order in (
        cloud.order(options={"template": "tpl_1", "network_volume": "v", "min_cuda": "12.8", "jupyter": "true"}),
        cloud.order(instance_type="2x-rtx-4090-community", region="any", options={"args": "sleep 9", "registry": "r"}),
    ):
        provider.launch(order)
    listing(cloud)
    provider.list_offers(OfferFilter(gpus=2))
    provider.rename(pod, "other")
    for act in (provider.restart, provider.stop, provider.stop, provider.start, provider.terminate, provider.terminate):
        act(pod.key)
    provider.list_leftovers()
    _all_of_serverless(cloud)
    with pytest.raises(GpudashError):
        provider.start(pod.key)
    with cloud.trouble("no capacity"), pytest.raises(GpudashError):
        provider.launch(cloud.order())


def _all_of_serverless(cloud: RunpodCloud) -> None:
    """Lists, one endpoint with its workers, changes, and refusals; the data plane is judged by RunPod's clients."""
    queue, balancer = cloud.fake.add_endpoint(low=1, high=3), cloud.fake.add_endpoint(kind="LOAD_BALANCER", high=2)
    found = cloud.provider.endpoints.listing()
    assert {endpoint.key.id for endpoint in found.items} == {queue.id, balancer.id}
    for key in (endpoint.key for endpoint in found.items):
        cloud.provider.endpoints.one(key)
        cloud.provider.endpoints.set_bounds(key, Bounds(low=0, high=2))
    cloud.provider.endpoints.set_bounds(found.items[0].key, Bounds(idle_timeout_s=20))
    nowhere = replace(found.items[0].key, id="never-was")
    for ask in (cloud.provider.endpoints.one, lambda key: cloud.provider.endpoints.set_bounds(key, Bounds(high=1))):
        with pytest.raises(GpudashError):
            ask(nowhere)


TEMPLATE: dict[str, Any] = {
    "id": "tpl_1", "name": "ours", "image": "example/tpl:2", "args": "", "disk": 30, "mounts": {},
    "ports": ["8888/http"], "env": {"MODE": "slow"}, "registry": None, "serverless": False, "public": False,
    "category": "NVIDIA", "startSsh": True, "startJupyter": False, "allowedCudaVersions": [],
}  # fmt: skip


@INSTALLS
def test_runpods_mcp_server(cloud: RunpodCloud) -> None:
    """RunPod's own code lists, stops and asks for queues, and finds what it expects."""
    pod = cloud.fake.add_pod(name="train")
    endpoint = cloud.fake.add_endpoint(high=0)
    cloud.fake.run(Request("POST", "", {}, {}, b'{"input": 1}'), endpoint.id)
    server = McpServer(cloud)
    try:
        tools = {tool["name"] for tool in server.ask("tools/list", {})["tools"]}
        assert {"list-pods", "pod-action", "list-gpu-types", "endpoint-health", "purge-endpoint-queue"} <= tools
        assert "train" in server.call("list-pods", {})
        assert "RTX 4090" in server.call("list-gpu-types", {})
        server.call("pod-action", {"id": pod.id, "body": {"action": "stop"}})
        assert not pod.is_up
        assert '"inQueue": 1' in server.call("endpoint-health", {"endpointId": endpoint.id})
        server.call("purge-endpoint-queue", {"endpointId": endpoint.id})
        assert endpoint.jobs == []
    finally:
        server.close()


class McpServer:
    """JSON-RPC on the pipes of RunPod's own server."""

    def __init__(self, cloud: RunpodCloud) -> None:
        url = cloud.fake.url
        names = {
            "RUNPOD_API_BASE_URL": url, "RUNPOD_SERVERLESS_API_URL": f"{url}/v2", "RUNPOD_API_KEY": KEY,
            "RUNPOD_AUTHED_GRAPHQL_URL": f"{url}/graphql", "RUNPOD_PUBLIC_GRAPHQL_URL": f"{url}/graphql",
        }  # fmt: skip
        command = node_client("@runpod/mcp-server@4.0.0", "@runpod/mcp-server/dist/stdio.mjs")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=os.environ | names
        )
        self._number = 0
        told = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
        self.ask("initialize", told)
        self._say({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """The text that a tool answers."""
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments})
        text = "\n".join(part["text"] for part in answer["content"])
        assert not answer.get("isError"), text
        return text

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One question and its answer."""
        self._number += 1
        self._say({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if told.get("id") == self._number:
                assert "error" not in told, told
                return dict(told["result"])
        raise AssertionError(f"the server ended before it answered {method}")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate(timeout=20)

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


SDK = """
import json, os, sys, time
import runpod
runpod.api_key = os.environ["RUNPOD_TEST_KEY"]
pod, endpoint_id = sys.argv[1:]
told = {"pods": [p["name"] for p in runpod.get_pods()], "gpus": [g["id"] for g in runpod.get_gpus()]}
told["stopped"] = runpod.stop_pod(pod)["desiredStatus"]
told["endpoints"] = [e["id"] for e in runpod.get_endpoints()]
endpoint = runpod.Endpoint(endpoint_id)
told["health"] = endpoint.health()["workers"]
job = endpoint.run({"input": {"prompt": "hello"}})
told["job"] = job.status()
told["output"] = job.output(timeout=20)
told["cancel"] = endpoint.run({"input": 2}).cancel()["status"]
told["purged"] = endpoint.purge_queue()["status"]
print(json.dumps(told))
"""


@INSTALLS
def test_runpods_python_client(cloud: RunpodCloud) -> None:
    """RunPod's own client lists and stops pods by GraphQL, and runs a job to its end."""
    pod = cloud.fake.add_pod(name="train")
    endpoint = cloud.fake.add_endpoint(job_s=0.2, high=1)
    url = cloud.fake.url
    names = {"RUNPOD_API_BASE_URL": url, "RUNPOD_ENDPOINT_BASE_URL": f"{url}/v2", "RUNPOD_TEST_KEY": KEY}
    command = [str(python_client("runpod==1.12.0")), "-c", SDK, pod.id, endpoint.id]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=CLIENT_S, env=os.environ | names, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["pods"] == ["train"]
    assert "NVIDIA A100 80GB PCIe" in told["gpus"]
    assert (told["stopped"], pod.is_up) == ("EXITED", False)
    assert told["endpoints"] == [endpoint.id]
    assert told["output"] == {"echo": {"prompt": "hello"}}
    assert (told["cancel"], told["purged"]) == ("CANCELLED", "completed")
