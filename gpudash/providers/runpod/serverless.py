"""Serverless endpoints and their jobs: asked for side by side, changed one at a time.

A list costs one call, and one a queue for its counts on the data plane, whose limits are wide (2000 in 10 s); an
endpoint without a queue is asked for its workers by REST.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gpudash.clock import Clock
from gpudash.errors import GpudashError
from gpudash.model.endpoint import SERVERLESS, Bounds, Endpoint, Job
from gpudash.model.instance import InstanceKey
from gpudash.model.listing import Listing
from gpudash.providers.base import Leftover
from gpudash.providers.http import segment
from gpudash.providers.parallel import side_by_side
from gpudash.providers.runpod.catalogue import Catalogue
from gpudash.providers.runpod.endpoints import parse_endpoint, parse_job, with_health, with_workers
from gpudash.providers.runpod.surfaces import Surfaces, every_page

SIDE_BY_SIDE = 6
"""Questions about endpoints at a time."""


class Serverless:
    """The serverless half of one account. Safe from any thread."""

    def __init__(self, account: str, surfaces: Surfaces, catalogue: Catalogue, clock: Clock) -> None:
        self._account, self._catalogue, self._clock = account, catalogue, clock
        self._rest, self._jobs = surfaces.rest, surfaces.jobs

    def listing(self) -> Listing[Endpoint]:
        """All endpoints with counts of workers and jobs; one whose counts did not come says why."""
        asked_at = self._clock.now()
        records, problem = every_page(self._rest, "/serverless", "endpoints", "list endpoints")
        bare = [parse_endpoint(record, self._account, self._catalogue) for record in records]
        found = [
            endpoint for start in range(0, len(bare), SIDE_BY_SIDE) for endpoint in self._counted_all(bare[start:])
        ]
        return Listing(self._account, SERVERLESS, tuple(found), problem is None, asked_at, self._clock.now(), problem)

    def one(self, key: InstanceKey) -> Endpoint:
        """One endpoint with each of its workers.

        Raises:
            ProviderError: there is no such endpoint.
        """
        path, doing = f"/serverless/{segment(key.id)}", f"look at endpoint {key.id}"
        record: dict[str, Any] = self._rest.read("GET", path, doing)
        endpoint = parse_endpoint({"id": key.id} | record, self._account, self._catalogue)
        if endpoint.has_queue:
            endpoint = self._with_queue(endpoint)
        return with_workers(endpoint, self._rest.read("GET", f"{path}/workers", doing), self._catalogue)

    def set_bounds(self, key: InstanceKey, bounds: Bounds) -> None:
        """Change what is named, and nothing else. The same again changes nothing."""
        told = {"min": bounds.low, "max": bounds.high, "idleTimeout": bounds.idle_timeout_s}
        workers = {name: value for name, value in told.items() if value is not None}
        doing = f"set {bounds} of endpoint {key.id}"
        self._rest.write("PATCH", f"/serverless/{segment(key.id)}", doing, json={"workers": workers})

    def purge(self, key: InstanceKey) -> int:
        """Take back all jobs that wait; how many."""
        doing = f"purge the queue of endpoint {key.id}"
        body: dict[str, Any] = self._jobs.write("POST", f"/{segment(key.id)}/purge-queue", doing)
        removed = body.get("removed")
        if not isinstance(removed, int):
            raise self._jobs.lost(doing, "the answer has no count", write=True)
        return removed

    def submit(self, key: InstanceKey, given: object) -> Job:
        """Queue one job. Never asked twice: a lost answer may have queued it."""
        doing = f"submit a job to endpoint {key.id}"
        body: dict[str, Any] = self._jobs.write("POST", f"/{segment(key.id)}/run", doing, json={"input": given})
        if not isinstance(body.get("id"), str):
            raise self._jobs.lost(doing, "the answer names no job", write=True)
        return parse_job(body)

    def job(self, key: InstanceKey, job_id: str) -> Job:
        """One job now.

        Raises:
            ProviderError: it is unknown, or so old that RunPod has forgotten it (30 minutes after its end).
        """
        return self._told(self._jobs.read("GET", self._of(key, "status", job_id), f"look at job {job_id}"), job_id)

    def cancel(self, key: InstanceKey, job_id: str) -> Job:
        """Take a job back, waiting or at work; one that is over stays as it is."""
        body: dict[str, Any] = self._jobs.write("POST", self._of(key, "cancel", job_id), f"cancel job {job_id}")
        return self._told(body, job_id)

    def leftovers(self) -> tuple[list[Leftover], str | None]:
        """Workers that are kept warm, and what was wrong where it is not all."""
        records, problem = every_page(self._rest, "/serverless", "endpoints", "list endpoints")
        found = [parse_endpoint(record, self._account, self._catalogue) for record in records]
        return [warm_workers(endpoint) for endpoint in found if endpoint.kept_warm], problem

    def _counted_all(self, bare: list[Endpoint]) -> list[Endpoint]:
        """The first few of them with their counts, in order."""
        few = {endpoint.key.id: endpoint for endpoint in bare[:SIDE_BY_SIDE]}
        answers = side_by_side(tuple(few), lambda identity: self._counted(few[identity]))
        return [
            replace(few[identity], problem=answer.text) if isinstance(answer, GpudashError) else answer
            for identity, answer in answers.items()
        ]

    def _counted(self, endpoint: Endpoint) -> Endpoint:
        try:
            if endpoint.has_queue:
                return self._with_queue(endpoint)
            path, doing = f"/serverless/{segment(endpoint.key.id)}/workers", f"look at endpoint {endpoint.key.id}"
            return with_workers(endpoint, self._rest.read("GET", path, doing), self._catalogue)
        except GpudashError as exc:
            return replace(endpoint, problem=exc.text)

    def _with_queue(self, endpoint: Endpoint) -> Endpoint:
        doing = f"look at the queue of endpoint {endpoint.key.id}"
        return with_health(endpoint, self._jobs.read("GET", f"/{segment(endpoint.key.id)}/health", doing))

    def _of(self, key: InstanceKey, what: str, job_id: str) -> str:
        return f"/{segment(key.id)}/{what}/{segment(job_id)}"

    def _told(self, body: Mapping[str, Any], job_id: str) -> Job:
        return parse_job({"id": job_id} | dict(body))


def warm_workers(endpoint: Endpoint) -> Leftover:
    """Workers that bill without a job."""
    return Leftover(
        account=endpoint.key.account,
        provider="runpod",
        region=SERVERLESS,
        id=endpoint.key.id,
        kind="warm worker",
        name=f"{endpoint.kept_warm}× {endpoint.name}",
        size_gb=None,
        price=endpoint.warm_price,
        instance_id=None,
    )
