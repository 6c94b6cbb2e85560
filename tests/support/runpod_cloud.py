"""A RunPod account over real HTTP: REST v2, GraphQL and the data plane on one origin, with state, time and faults."""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gpudash.clock import Clock, ManualClock
from gpudash.config import Account
from gpudash.model.instance import EVERYWHERE
from gpudash.model.offer import LaunchOrder
from gpudash.model.policy import Policy
from gpudash.providers.http import Timeouts
from gpudash.providers.runpod.provider import RunpodProvider
from support.aws_cloud import PUBLIC_KEY
from support.http_cloud import Fault, HttpCloud, Reply, Request, route
from support.runpod_state import CATALOGUE, PLACES, Endpoint, Job, Pod

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = "test-key-of-the-account"
POD_KEY = "test-key-of-one-pod"
"""Good for stopping and terminating by GraphQL only, as recorded."""
BODY_FIELDS = frozenset({
    "name", "image", "templateId", "args", "disk", "env", "ports", "registry", "cloud", "cpu", "gpu", "dataCenterIds",
    "globalNetworking", "mounts", "startJupyter", "startSsh",
})  # fmt: skip
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)


def problem(status: int, detail: str, *errors: str, **headers: str) -> Reply:
    """A refusal as REST v2 makes them (RFC 9457)."""
    body: dict[str, Any] = {"title": "Error", "status": status, "detail": detail}
    if errors:
        body["errors"] = list(errors)
    told = {"Content-Type": "application/problem+json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return Reply(status, body, told)


class FakeRunpod(HttpCloud):
    """The account's side of RunPod."""

    def __init__(self, clock: Clock) -> None:
        self.pods: dict[str, Pod] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.volumes: list[dict[str, Any]] = []
        self.templates: dict[str, dict[str, Any]] = {}
        self.keys: list[str] = []
        self.boot_s = self.old_port_s = 0.0
        self.create_lag_s = self.end_lag_s = 0.0
        """How long lists lack what is new, and still have what has ended."""
        self.ended: list[tuple[datetime, dict[str, Any]]] = []
        self.balance = 12.34
        self.has_capacity = True
        self.has_effect = True
        self.ignores_ends = False
        self.page_size: int | None = None
        """Newer servers answer in pages."""
        self._ports = 22000
        super().__init__(clock)

    def refuse(self, request: Request) -> Reply | None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if given == KEY or (given == POD_KEY and request.path == "/graphql"):
            return None
        return problem(403 if given == POD_KEY else 401, "Unauthorized")

    def not_found(self, request: Request) -> Reply:
        return problem(404, "not found")

    def answer(self, request: Request) -> Reply:
        """The true answer; without `has_effect` everything is as before afterwards."""
        before = None if self.has_effect else copy.deepcopy((self.pods, self.endpoints, self.keys))
        reply = super().answer(request)
        if before is not None:
            self.pods, self.endpoints, self.keys = before
        return reply

    def record(self, pod: Pod) -> dict[str, Any]:
        """A pod as it is told now."""
        return pod.record(self.clock.now(), self.boot_s, self.old_port_s)

    def alive(self) -> set[str]:
        """Ids of pods that bill."""
        return set(self.pods)

    def _age_s(self, since: datetime) -> float:
        return (self.clock.now() - since).total_seconds()

    # -- pods ---------------------------------------------------------------------------------------------------

    @route("GET", "/v2/pods")
    def list_pods(self, request: Request) -> Reply:
        whole = request.one("includeClusterPods") == "true"
        pods = [pod for pod in self.pods.values() if self._age_s(pod.created_at) >= self.create_lag_s]
        records = [self.record(pod) for pod in pods if whole or pod.cluster is None]
        records += [record for at, record in self.ended if self._age_s(at) < self.end_lag_s]
        if self.page_size is None:
            return Reply(200, {"pods": records})
        at = int(request.one("cursor") or 0)
        end = at + self.page_size
        more = end < len(records)
        pagination = {"nextCursor": str(end) if more else None, "hasNextPage": more}
        return Reply(200, {"pods": records[at:end], "pagination": pagination})

    @route("POST", "/v2/pods")
    def create_pod(self, request: Request) -> Reply:
        body = request.json
        unknown = sorted(body.keys() - BODY_FIELDS)
        if unknown:
            return problem(422, "validation failed", *[f"unexpected property {name}" for name in unknown])
        template = self.templates.get(body.get("templateId", ""))
        if "templateId" in body and template is None:
            return problem(404, "template not found")
        body = {k: v for k, v in (template or {}).items() if k in ("image", "disk", "mounts", "args")} | body
        if "disk" not in body:
            return problem(400, "provide a template id or pod configuration parameters")
        if body["gpu"]["id"] not in [gpu["id"] for gpu in CATALOGUE]:
            return problem(400, f"gpu {body['gpu']['id']} is not known")
        if not self.has_capacity:
            return problem(400, NO_CAPACITY)
        return Reply(201, self.record(self.add_pod(**body)))

    def add_pod(self, **body: Any) -> Pod:
        """A pod, as one made by somebody else where only a name is given."""
        whole = {
            "name": "somebody-elses", "image": "example/image:1", "disk": 20, "ports": ["22/tcp"], "env": {},
            "mounts": {}, "cloud": "SECURE", "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1},
        } | body  # fmt: skip
        (gpu,) = [gpu for gpu in CATALOGUE if gpu["id"] == whole["gpu"]["id"]]
        cost = gpu["price"][whole.get("cloud", "SECURE").lower()] * whole["gpu"].get("count", 1)
        now = self.clock.now()
        pod = Pod(secrets.token_hex(7), whole, now, now, round(cost, 4), self._next_port())
        self.pods[pod.id] = pod
        self.on_made(pod)
        return pod

    @route("GET", r"/v2/pods/(?P<id>[^/]+)")
    def get_pod(self, request: Request, id: str) -> Reply:
        pod = self.pods.get(id)
        return problem(404, "pod not found") if pod is None else Reply(200, self.record(pod))

    @route("PATCH", r"/v2/pods/(?P<id>[^/]+)")
    def update_pod(self, request: Request, id: str) -> Reply:
        pod = self.pods.get(id)
        if pod is None:
            return problem(404, "pod not found")
        pod.body.update(request.json)
        return Reply(200, self.record(pod))

    @route("DELETE", r"/v2/pods/(?P<id>[^/]+)")
    def delete_pod(self, request: Request, id: str) -> Reply:
        pod = self.pods.get(id)
        if pod is None:
            return problem(404, "pod not found")
        if pod.cluster:
            return problem(409, "pod belongs to a cluster")
        if not self.ignores_ends:
            self.ended.append((self.clock.now(), self.record(self.pods.pop(id))))
            self.on_end(pod)
        return Reply(204)

    @route("POST", r"/v2/pods/(?P<id>[^/]+)/action")
    def act(self, request: Request, id: str) -> Reply:
        pod, action = self.pods.get(id), request.json["action"]
        if pod is None:
            return problem(404, "pod not found")
        if action not in self.record(pod)["actions"] or (action == "stop" and pod.locked) or pod.cluster:
            return problem(409, f"action {action} is not valid in status {self.record(pod)['status']}")
        if action == "terminate":
            self.on_end(self.pods.pop(id))
            return Reply(204)
        if action == "start" and not self.has_capacity:
            return problem(400, "There are not enough free GPUs on the host machine to start this pod.")
        self._turn(pod, up=action != "stop")
        return Reply(200, self.record(pod))

    def _turn(self, pod: Pod, *, up: bool) -> None:
        if up:
            pod.started_at, pod.old_port, pod.port = self.clock.now(), pod.port, self._next_port()
        pod.is_up = up
        if not up:
            self.on_end(pod)

    def _next_port(self) -> int:
        self._ports += 1
        return self._ports

    # -- catalogue, keys, volumes, templates ----------------------------------------------------------------------

    @route("GET", "/v2/catalog/gpus")
    def gpus(self, request: Request) -> Reply:
        stock = "HIGH" if self.has_capacity else "NONE"
        found = []
        for gpu in CATALOGUE:
            entry = {"manufacturer": "NVIDIA", "secure": True, "community": True} | gpu
            if request.one("include") == "AVAILABILITY":
                if request.one("product") is None:
                    return problem(400, "include and product must be sent together")
                entry["availability"] = stock
                entry["dataCenters"] = [{"id": place, "name": place, "availability": stock} for place in PLACES]
                entry["cudaVersions"] = [{"version": "12.8", "available": self.has_capacity}]
            found.append(entry)
        return Reply(200, {"gpus": found})

    @route("GET", "/v2/account/ssh-keys")
    def get_keys(self, request: Request) -> Reply:
        return Reply(200, {"keys": self.keys})

    @route("PUT", "/v2/account/ssh-keys")
    def put_keys(self, request: Request) -> Reply:
        self.keys = list(request.json["keys"])
        return Reply(200, {"keys": self.keys})

    @route("GET", "/v2/network-volumes")
    def list_volumes(self, request: Request) -> Reply:
        return Reply(200, {"networkVolumes": self.volumes})

    @route("GET", r"/v2/templates/(?P<id>[^/]+)")
    def template(self, request: Request, id: str) -> Reply:
        found = self.templates.get(id)
        return problem(404, "template not found") if found is None else Reply(200, found)

    # -- serverless -----------------------------------------------------------------------------------------------

    def add_endpoint(self, **fields: Any) -> Endpoint:
        """An endpoint, idle unless told otherwise."""
        whole = {"id": secrets.token_hex(7), "name": "chat", "created_at": self.clock.now()} | fields
        endpoint = self.endpoints[whole["id"]] = Endpoint(**whole)
        return endpoint

    @route("GET", "/v2/serverless")
    def list_endpoints(self, request: Request) -> Reply:
        return Reply(200, {"endpoints": [endpoint.record(self.url) for endpoint in self.endpoints.values()]})

    @route("GET", r"/v2/serverless/(?P<id>[^/]+)")
    def get_endpoint(self, request: Request, id: str) -> Reply:
        endpoint = self.endpoints.get(id)
        return problem(404, "endpoint not found") if endpoint is None else Reply(200, endpoint.record(self.url))

    @route("PATCH", r"/v2/serverless/(?P<id>[^/]+)")
    def patch_endpoint(self, request: Request, id: str) -> Reply:
        endpoint, workers = self.endpoints.get(id), request.json.get("workers", {})
        if endpoint is None:
            return problem(404, "endpoint not found")
        low, high = workers.get("min", endpoint.low), workers.get("max", endpoint.high)
        if low > high:
            return problem(400, "workers.min must not exceed workers.max")
        endpoint.low, endpoint.high, endpoint.idle_s = low, high, workers.get("idleTimeout", endpoint.idle_s)
        endpoint.settle(self.clock.now())
        return Reply(200, endpoint.record(self.url))

    @route("GET", r"/v2/serverless/(?P<id>[^/]+)/workers")
    def workers(self, request: Request, id: str) -> Reply:
        endpoint, now = self.endpoints.get(id), self.clock.now()
        if endpoint is None:
            return problem(404, "endpoint not found")
        endpoint.settle(now)
        records = [worker.record(now) for worker in endpoint.workers]
        statuses = [record["status"] for record in records]
        words = ("running", "idle", "initializing", "throttled", "unhealthy")
        summary = {word: statuses.count(word.upper()) for word in words} | {"total": len(records)}
        return Reply(200, {"workers": records, "summary": summary, "endpointVersion": 1})

    @route("GET", r"/v2/(?P<id>[0-9a-f]{14})/health")
    def health(self, request: Request, id: str) -> Reply:
        endpoint = self.endpoints.get(id)
        return Reply(404, {"error": "not found"}) if endpoint is None else Reply(200, endpoint.health(self.clock.now()))

    @route("POST", r"/v2/(?P<id>[0-9a-f]{14})/run")
    def run(self, request: Request, id: str) -> Reply:
        endpoint = self.endpoints.get(id)
        if endpoint is None or "input" not in request.json:
            return Reply(404 if endpoint is None else 400, {"error": "not found" if endpoint is None else "no input"})
        job = Job(f"{secrets.token_hex(8)}-e1", request.json["input"], self.clock.now())
        endpoint.jobs.append(job)
        return Reply(200, {"id": job.id, "status": "IN_QUEUE"})

    @route("GET", r"/v2/(?P<id>[0-9a-f]{14})/status/(?P<job>[^/]+)")
    def status(self, request: Request, id: str, job: str) -> Reply:
        found = self._job(id, job)
        return Reply(404, {"error": "job not found"}) if found is None else Reply(200, found.record())

    @route("POST", r"/v2/(?P<id>[0-9a-f]{14})/cancel/(?P<job>[^/]+)")
    def cancel(self, request: Request, id: str, job: str) -> Reply:
        found = self._job(id, job)
        if found is None:
            return Reply(404, {"error": "job not found"})
        if found.status in ("IN_QUEUE", "IN_PROGRESS"):
            found.status = "CANCELLED"
            for worker in self.endpoints[id].workers:
                worker.job = None if worker.job is found else worker.job
        return Reply(200, {"id": found.id, "status": found.status})

    @route("POST", r"/v2/(?P<id>[0-9a-f]{14})/purge-queue")
    def purge(self, request: Request, id: str) -> Reply:
        endpoint = self.endpoints.get(id)
        if endpoint is None:
            return Reply(404, {"error": "not found"})
        waiting = [job for job in endpoint.jobs if job.status == "IN_QUEUE"]
        endpoint.jobs = [job for job in endpoint.jobs if job not in waiting]
        return Reply(200, {"removed": len(waiting), "status": "completed"})

    def _job(self, endpoint_id: str, job_id: str) -> Job | None:
        endpoint = self.endpoints.get(endpoint_id)
        if endpoint is None:
            return None
        endpoint.settle(self.clock.now())
        return next((job for job in endpoint.jobs if job.id == job_id), None)

    # -- GraphQL --------------------------------------------------------------------------------------------------

    @route("POST", "/graphql")
    def graphql(self, request: Request) -> Reply:
        query, variables = request.json["query"], request.json.get("variables") or {}
        verb = re.search(r"pod(Stop|Terminate|Resume)", query)
        if verb is not None:
            written = re.search(r'podId:\s*"([^"]+)"', query)
            pod = self.pods.get(written[1] if written else variables.get("id", ""))
            if pod is None:
                return Reply(200, {"errors": [{"message": "pod not found"}], "data": None})
            if verb[1] == "Terminate":
                self.on_end(self.pods.pop(pod.id))
                return Reply(200, {"data": {"podTerminate": None}})
            self._turn(pod, up=verb[1] == "Resume")
            told = {"id": pod.id, "desiredStatus": "RUNNING" if pod.is_up else "EXITED"}
            return Reply(200, {"data": {f"pod{verb[1]}": told}})
        if "gpuTypes" in query:
            types = [{"id": g["id"], "displayName": g["name"], "memoryInGb": g["memory"]} for g in CATALOGUE]
            return Reply(200, {"data": {"gpuTypes": types}})
        return Reply(200, {"data": {"myself": self._myself()}})

    def _myself(self) -> dict[str, Any]:
        spending = sum(pod.cost for pod in self.pods.values() if pod.is_up)
        return {
            "id": "user_test", "email": "person@example.com", "clientBalance": self.balance,
            "currentSpendPerHr": round(spending, 4), "spendLimit": 80, "pubKey": "\n".join(self.keys),
            "pods": [
                {"id": pod.id, "name": pod.body["name"], "desiredStatus": "RUNNING" if pod.is_up else "EXITED",
                 "costPerHr": pod.cost, "runtime": None, "machine": {"gpuDisplayName": pod.body["gpu"]["id"]}}
                for pod in self.pods.values()
            ],
            "endpoints": [
                {"id": e.id, "name": e.name, "workersMin": e.low, "workersMax": e.high, "idleTimeout": e.idle_s}
                for e in self.endpoints.values()
            ],
        }  # fmt: skip


class RunpodCloud:
    """RunPod in the contract tests."""

    region = EVERYWHERE

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or ManualClock(NOON)
        self.fake = FakeRunpod(self.clock)
        self._made: list[RunpodProvider] = []
        self.provider: RunpodProvider = self.again()

    def again(self, *, url: str | None = None, timeouts: Timeouts | None = None) -> RunpodProvider:
        """Another adapter of the account, or of one at another origin."""
        account = replace(self.account, base_url=url) if url else self.account
        self._made.append(RunpodProvider(account, self.clock, timeouts=timeouts))
        return self._made[-1]

    def close(self) -> None:
        """Let go of everything."""
        for provider in self._made:
            provider._catalogue._under_way.wait(10)  # what is asked right now has a connection open
            provider.close()
        self.fake.close()

    @property
    def account(self) -> Account:
        """The account as settings would have it."""
        return Account("runpod", "runpod", api_key_env="RUNPOD_TEST_KEY", base_url=self.fake.url)

    def order(self, **changes: Any) -> LaunchOrder:
        token = f"test-{secrets.token_hex(6)}"
        given: dict[str, Any] = {
            "token": token, "account": "runpod", "region": PLACES[0], "instance_type": "1x-rtx-4090", "name": token,
            "spot": False, "policy": Policy(),
        }  # fmt: skip
        return LaunchOrder(**{**given, **changes})

    def trouble(self, what: str) -> AbstractContextManager[None]:
        return self._trouble(what)

    @contextmanager
    def _trouble(self, what: str) -> Iterator[None]:
        with ExitStack() as stack:
            if what == "lost reply":
                for method, path in (("POST", "/v2/pods"), ("DELETE", "/v2/pods")):
                    lost = Fault(what, takes_effect=True, wire="drop", method=method, path=path)
                    stack.enter_context(self.fake.fault(lost))
            elif what == "unreachable":
                stack.enter_context(self.fake.refusing())
            elif what == "busy":
                busy = problem(429, "rate limit exceeded for the minute window", Retry_After="12")
                stack.enter_context(self.fake.fault(Fault(what, busy)))
            elif what == "empty list":
                empty = Fault(what, Reply(200, {"pods": []}), method="GET", path=r"^/v2/pods$")
                stack.enter_context(self.fake.fault(empty))
            else:
                switch = {"no capacity": "has_capacity", "no effect": "has_effect"}[what]
                stack.callback(setattr, self.fake, switch, True)
                setattr(self.fake, switch, False)
            yield


@contextmanager
def runpod_cloud(clock: Clock | None = None) -> Iterator[RunpodCloud]:
    """RunPod for a while, and a person with an SSH key."""
    ssh = Path.home() / ".ssh"
    ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
    (ssh / "id_ed25519.pub").write_text(PUBLIC_KEY)
    (ssh / "id_ed25519").write_text("the private half is never read\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNPOD_TEST_KEY", KEY)
        cloud = RunpodCloud(clock)
        try:
            yield cloud
        finally:
            cloud.close()
