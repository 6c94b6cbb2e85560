"""Serverless records as an `Endpoint`, its workers and jobs. Pure; tolerant of what is missing or new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from gpudash.model.endpoint import (
    SERVERLESS,
    Bounds,
    Endpoint,
    Job,
    JobCounts,
    Worker,
    WorkerCounts,
    times,
)
from gpudash.model.instance import InstanceKey
from gpudash.model.money import Price
from gpudash.providers.runpod.catalogue import Catalogue
from gpudash.providers.runpod.pods import moment, without_secrets

_WORDS = frozenset({"running", "idle", "ready", "initializing", "throttled", "unhealthy", "total"})
"""What counts of workers are known by; the last sums the others."""
_KINDS = {"QUEUE": "queue", "LOAD_BALANCER": "load balancer"}


def parse_endpoint(record: Mapping[str, Any], account: str, catalogue: Catalogue) -> Endpoint:
    """One endpoint as ``GET /serverless`` tells it: bounds and price, no workers yet. The record has an `id`."""
    workers, gpu = _mapping(record.get("workers")), _mapping(record.get("gpu"))
    pools = [str(pool) for pool in gpu.get("pools") or ()]
    told = record.get("type")
    kind = _KINDS.get(str(told), str(told).casefold()) if told else _kind_by_urls(record)
    return Endpoint(
        key=InstanceKey(account, SERVERLESS, str(record["id"])),
        provider="runpod",
        name=str(record.get("name") or record["id"]),
        kind=kind,
        gpu=_gpu_words(pools, _whole(gpu.get("count")) or 1),
        bounds=Bounds(_whole(workers.get("min")), _whole(workers.get("max")), _whole(workers.get("idleTimeout"))),
        worker_price=_worker_price(pools, _whole(gpu.get("count")) or 1, catalogue),
        created_at=moment(record.get("createdAt")),
        raw=without_secrets(record),
    )


def with_health(endpoint: Endpoint, health: Mapping[str, Any]) -> Endpoint:
    """The endpoint with the data plane's counts of workers and jobs."""
    workers, jobs = health.get("workers"), health.get("jobs")
    if (
        not isinstance(workers, dict)
        or not isinstance(jobs, dict)
        or not _has_any(workers, ("running", "idle", "ready"))
        or _whole(jobs.get("inQueue")) is None
    ):
        return replace(endpoint, problem="RunPod's health has another form than expected")
    return replace(
        endpoint,
        counts=_counts({str(word): _whole(count) or 0 for word, count in workers.items()}),
        jobs=JobCounts(
            in_queue=_whole(jobs.get("inQueue")) or 0,
            in_progress=_whole(jobs.get("inProgress")) or 0,
            completed=_whole(jobs.get("completed")) or 0,
            failed=_whole(jobs.get("failed")) or 0,
            retried=_whole(jobs.get("retried")) or 0,
        ),
    )


def with_workers(endpoint: Endpoint, body: Mapping[str, Any], catalogue: Catalogue) -> Endpoint:
    """The endpoint with each worker of ``GET /serverless/{id}/workers``, counted anew.

    Where all workers sit on known GPUs, the dearest of those is the price of a worker instead of an estimate by pool.
    """
    records = body.get("workers")
    if not isinstance(records, list):
        return replace(endpoint, problem="RunPod's list of workers has another form than expected")
    workers = [_worker(record) for record in records if isinstance(record, dict) and record.get("id")]
    states = [worker.state for worker in workers]
    counts = _counts(Counter(states))
    placed = [_placed_price(record, catalogue) for record in records if isinstance(record, dict)]
    known = [price for price in placed if price is not None]
    price = max(known, key=lambda p: p.usd_per_hour) if known and len(known) == len(placed) else endpoint.worker_price
    return replace(endpoint, workers=tuple(workers), counts=counts, worker_price=price)


def _has_any(record: Mapping[str, Any], names: Iterable[str]) -> bool:
    return any(_whole(record.get(name)) is not None for name in names)


def parse_job(body: Mapping[str, Any]) -> Job:
    """One job as ``/run``, ``/status`` and ``/cancel`` answer. The body has an `id`."""
    error = body.get("error")
    return Job(
        id=str(body["id"]),
        state=str(body.get("status") or "?").upper(),
        waited_s=_seconds(body.get("delayTime")),
        ran_s=_seconds(body.get("executionTime")),
        output=body.get("output"),
        error=error if isinstance(error, str) else None,
    )


def _kind_by_urls(record: Mapping[str, Any]) -> str:
    urls = _mapping(record.get("requestUrls"))
    return "load balancer" if "base" in urls else "queue"


def _gpu_words(pools: Iterable[str], count: int) -> str | None:
    names = ", ".join(pools)
    return (f"{count}× {names}" if count > 1 else names) or None


def _worker_price(pools: list[str], count: int, catalogue: Catalogue) -> Price | None:
    return times(catalogue.serverless_price(pools), count) if pools else None


def _placed_price(record: Mapping[str, Any], catalogue: Catalogue) -> Price | None:
    gpu = record.get("gpuTypeId")
    return times(catalogue.serverless_price((), gpu), _whole(record.get("gpuCount")) or 1) if gpu else None


def _worker(record: Mapping[str, Any]) -> Worker:
    return Worker(
        id=str(record["id"]),
        state=str(record.get("status") or "?").casefold(),
        gpu=_text(record.get("gpuTypeId")),
        place=_text(record.get("dataCenterId")),
        started_at=moment(record.get("startedAt")),
        is_stale=record.get("isStale") is True,
    )


def _counts(by_word: Mapping[str, int]) -> WorkerCounts:
    """`ready` is another word for `idle`; where both are told they overlap, so the larger one counts.

    Words that are new stand for workers all the same.
    """
    return WorkerCounts(
        running=by_word.get("running", 0),
        idle=max(by_word.get("idle", 0), by_word.get("ready", 0)),
        initializing=by_word.get("initializing", 0),
        throttled=by_word.get("throttled", 0),
        unhealthy=by_word.get("unhealthy", 0),
        other=sum(count for word, count in by_word.items() if word not in _WORDS),
    )


def _seconds(milliseconds: object) -> float | None:
    is_number = isinstance(milliseconds, int | Decimal) and not isinstance(milliseconds, bool)
    return float(milliseconds) / 1000 if is_number else None  # type: ignore[arg-type]  # checked the line above


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _text(found: object) -> str | None:
    return found if isinstance(found, str) and found else None


def _whole(found: object) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
