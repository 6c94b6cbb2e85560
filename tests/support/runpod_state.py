"""What the made-up RunPod knows: pods, endpoints with their workers, jobs. Nothing changes but by requests and the clock.

A pod is RUNNING from its creation on; its container (`runtime`, `ssh.direct`) comes `boot_s` later, as recorded from the
real service. Each start maps another public port, and for `old_port_s` the port of the start before is still told.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from gpudash.clock import iso

CATALOGUE: tuple[dict[str, Any], ...] = (
    {
        "id": "NVIDIA GeForce RTX 4090", "name": "RTX 4090", "pool": "ADA_24", "memory": 24,
        "price": {"secure": 0.44, "community": 0.31, "serverless": 1.1}, "maxCount": {"secure": 8, "community": 4},
    },
    {
        "id": "NVIDIA A100 80GB PCIe", "name": "A100 PCIe", "pool": "AMPERE_80", "memory": 80,
        "price": {"secure": 1.64, "community": 1.19, "serverless": 2.72}, "maxCount": {"secure": 8, "community": 8},
    },
    {
        "id": "NVIDIA H100 80GB HBM3", "name": "H100 SXM", "pool": "HOPPER_141", "memory": 80,
        "price": {"secure": 2.99, "community": 2.69, "serverless": 4.18}, "maxCount": {"secure": 8, "community": 8},
    },
)  # fmt: skip
PLACES = ("EU-RO-1", "US-KS-2")


@dataclass
class Pod:
    """One pod."""

    id: str
    body: dict[str, Any]
    created_at: datetime
    started_at: datetime
    cost: float
    port: int
    old_port: int | None = None
    host: str = "203.0.113.9"
    proxy: tuple[str, int] = ("ssh.runpod.io", 22)
    is_up: bool = True
    locked: bool = False
    cluster: dict[str, Any] | None = None

    def record(self, now: datetime, boot_s: float, old_port_s: float) -> dict[str, Any]:
        """As REST v2 answers."""
        age = (now - self.started_at).total_seconds()
        runs = self.is_up and age >= boot_s
        port = self.old_port if self.old_port and age < old_port_s else self.port
        exposed = "22/tcp" in self.body["ports"]
        record = {
            "id": self.id, "name": self.body["name"], "status": "RUNNING" if self.is_up else "EXITED",
            "actions": (["stop", "restart"] if self.is_up else ["start"]) + ["terminate"],
            "image": self.body["image"], "args": self.body.get("args", ""), "disk": self.body["disk"],
            "mounts": self.body["mounts"], "ports": self.body["ports"], "env": self.body["env"],
            "registry": self.body.get("registry"), "cloud": self.body.get("cloud", "SECURE"),
            "dataCenterId": (self.body.get("dataCenterIds") or [PLACES[0]])[0], "cudaVersion": "12.8",
            "ssh": {
                "proxy": {"host": self.proxy[0], "port": self.proxy[1], "username": f"{self.id}-64411eb2",
                          "command": f"ssh {self.id}-64411eb2@ssh.runpod.io"},
                "direct": {"host": self.host, "port": port, "username": "root",
                           "command": f"ssh root@{self.host} -p {port}"} if runs and exposed else None,
            },
            "template": self.body.get("templateId"), "cost": self.cost if self.is_up else 0.0, "locked": self.locked,
            "runtime": {
                "uptime": int(age - boot_s),
                "gpus": [{"util": 0, "memoryUtil": 0}] * self.body["gpu"].get("count", 1),
                "cpu": {"util": 3}, "memory": {"util": 5},
                "ports": [{"private": 22, "public": port, "type": "tcp", "ip": self.host}] if exposed else [],
            } if runs else None,
            "createdAt": iso(self.created_at), "startedAt": iso(self.started_at),
            "globalNetworking": {"enabled": False},
            "gpu": {"id": self.body["gpu"]["id"], "count": self.body["gpu"].get("count", 1)},
        }  # fmt: skip
        return record | ({"cluster": self.cluster} if self.cluster else {})


@dataclass
class Job:
    """One job of an endpoint."""

    id: str
    input: Any
    asked_at: datetime
    status: str = "IN_QUEUE"
    begun_at: datetime | None = None
    ended_at: datetime | None = None

    def record(self) -> dict[str, Any]:
        """As the data plane answers."""
        told: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.begun_at is not None:
            told["delayTime"] = int((self.begun_at - self.asked_at) / timedelta(milliseconds=1))
        if self.ended_at is not None and self.begun_at is not None:
            told["executionTime"] = int((self.ended_at - self.begun_at) / timedelta(milliseconds=1))
        return told | ({"output": {"echo": self.input}} if self.status == "COMPLETED" else {})


@dataclass
class Worker:
    """One worker of an endpoint."""

    id: str
    started_at: datetime
    job: Job | None = None
    idle_since: datetime | None = None
    status: str | None = None
    """Said instead of what follows from the job."""

    def record(self, now: datetime) -> dict[str, Any]:
        """As REST v2 answers."""
        status = self.status or ("RUNNING" if self.job else "IDLE")
        return {
            "id": self.id, "status": status, "isStale": False, "version": 1, "gpuCount": 1, "image": "example/worker:1",
            "uptimeSeconds": int((now - self.started_at).total_seconds()), "gpuTypeId": "NVIDIA GeForce RTX 4090",
            "dataCenterId": PLACES[0], "startedAt": iso(self.started_at),
        }  # fmt: skip


@dataclass
class Endpoint:
    """One serverless endpoint. Jobs take `job_s`; workers come at once and go after the idle timeout."""

    id: str
    name: str
    created_at: datetime
    kind: str = "QUEUE"
    low: int = 0
    high: int = 3
    idle_s: int = 10
    job_s: float = 30.0
    pools: tuple[str, ...] = ("ADA_24",)
    workers: list[Worker] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    failed: int = 0

    def settle(self, now: datetime) -> None:
        """What the autoscaler has done by now."""
        for worker in self.workers:
            job = worker.job
            if job is not None and job.begun_at is not None and now - job.begun_at >= timedelta(seconds=self.job_s):
                job.status, job.ended_at = "COMPLETED", job.begun_at + timedelta(seconds=self.job_s)
                worker.job, worker.idle_since = None, job.ended_at
        del self.workers[self.high :]
        for job in [job for job in self.jobs if job.status == "IN_QUEUE"]:
            free = next((worker for worker in self.workers if worker.job is None and worker.status is None), None)
            if free is None and len(self.workers) < self.high:
                free = self._hire(now)
            if free is None:
                break
            free.job, job.status, job.begun_at = job, "IN_PROGRESS", now
        while len(self.workers) < min(self.low, self.high):
            self._hire(now)
        spare = [
            worker for worker in self.workers
            if worker.job is None and worker.idle_since and now - worker.idle_since >= timedelta(seconds=self.idle_s)
        ]  # fmt: skip
        for worker in spare[: max(len(self.workers) - self.low, 0)]:
            self.workers.remove(worker)

    def _hire(self, now: datetime) -> Worker:
        worker = Worker(secrets.token_hex(7), now, idle_since=now)
        self.workers.append(worker)
        return worker

    def record(self, data_plane: str) -> dict[str, Any]:
        """As REST v2 answers; its request URLs are on `data_plane`."""
        base = f"{data_plane}/v2/{self.id}"
        if self.kind == "QUEUE":
            urls = {
                "run": f"{base}/run", "runSync": f"{base}/runsync", "status": f"{base}/status/{{job_id}}",
                "stream": f"{base}/stream/{{job_id}}", "cancel": f"{base}/cancel/{{job_id}}",
                "retry": f"{base}/retry/{{job_id}}", "purgeQueue": f"{base}/purge-queue", "health": f"{base}/health",
            }  # fmt: skip
            scaling: dict[str, Any] = {"type": "QUEUE_DELAY", "queueDelay": 4}
        else:
            urls = {"base": f"https://{self.id}.api.runpod.ai", "health": f"https://{self.id}.api.runpod.ai/ping"}
            scaling = {"type": "REQUEST_COUNT", "requestCount": 4}
        return {
            "id": self.id, "name": self.name, "type": self.kind, "requestUrls": urls, "image": "example/worker:1",
            "args": "", "disk": 20, "ports": [], "env": {"MODEL": "test-model"}, "registry": None,
            "gpu": {"pools": list(self.pools), "count": 1, "allowedCudaVersions": [], "minCudaVersion": None},
            "workers": {"min": self.low, "max": self.high, "idleTimeout": self.idle_s}, "scaling": scaling,
            "dataCenterIds": [], "networkVolumes": [], "timeout": 0, "flashboot": "OFF",
            "createdAt": iso(self.created_at),
        }  # fmt: skip

    def health(self, now: datetime) -> dict[str, Any]:
        """As the data plane answers."""
        self.settle(now)
        statuses = [worker.record(now)["status"] for worker in self.workers]
        usual = {"running", "idle", "initializing", "throttled"}
        words = usual | {status.casefold() for status in statuses}
        count = {word: statuses.count(word.upper()) for word in sorted(words)}
        by_status = [job.status for job in self.jobs]
        return {
            "jobs": {
                "completed": by_status.count("COMPLETED"), "failed": self.failed, "retried": 0,
                "inProgress": by_status.count("IN_PROGRESS"), "inQueue": by_status.count("IN_QUEUE"),
            },
            "workers": count | {"ready": count["idle"], "unhealthy": statuses.count("UNHEALTHY")},
        }  # fmt: skip
