"""Serverless endpoints and jobs as JSON and as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gpudash.cli import jsonview, words
from gpudash.clock import iso
from gpudash.model.endpoint import DAY, Endpoint, Job, Worker
from gpudash.model.instance import InstanceKey
from gpudash.model.money import NOTHING_SPENT, Accrual, Amount

Spent = Mapping[InstanceKey, Accrual]


def endpoint_json(endpoint: Endpoint, spent: Spent, now: datetime) -> dict[str, Any]:
    """One endpoint, in the manner of an instance."""
    counts, jobs, warm = endpoint.counts, endpoint.jobs, endpoint.warm_price
    return {
        "account": endpoint.key.account,
        "provider": endpoint.provider,
        "id": endpoint.key.id,
        "name": endpoint.name,
        "kind": endpoint.kind,
        "gpu": endpoint.gpu,
        "min_workers": endpoint.bounds.low,
        "max_workers": endpoint.bounds.high,
        "idle_timeout_s": endpoint.bounds.idle_timeout_s,
        "workers": None
        if counts is None
        else {
            "running": counts.running,
            "idle": counts.idle,
            "initializing": counts.initializing,
            "throttled": counts.throttled,
            "unhealthy": counts.unhealthy,
            "other": counts.other,
            "total": counts.total,
        },
        "jobs": None
        if jobs is None
        else {
            "in_queue": jobs.in_queue,
            "in_progress": jobs.in_progress,
            "completed": jobs.completed,
            "failed": jobs.failed,
            "retried": jobs.retried,
        },
        "price_usd_per_worker_hour": jsonview.price(endpoint.worker_price),
        "price_usd_per_hour": jsonview.price(endpoint.price_now),
        "warm_usd_per_hour": jsonview.price(warm),
        "warm_usd_per_day": None if warm is None else float(warm.usd_per_hour * DAY),
        "maybe_billed_workers": None if counts is None else endpoint.maybe_billed,
        "accrued_usd": jsonview.usd(_spent(endpoint, spent, now)),
        "created_at": iso(endpoint.created_at),
        "warning": endpoint.warning,
        "problem": endpoint.problem,
        "worker_list": None if endpoint.workers is None else [_worker_json(worker) for worker in endpoint.workers],
    }


def job_json(endpoint: Endpoint, job: Job) -> dict[str, Any]:
    """One job."""
    return {
        "account": endpoint.key.account,
        "endpoint": endpoint.key.id,
        "id": job.id,
        "state": job.state,
        "over": job.is_over,
        "waited_s": job.waited_s,
        "ran_s": job.ran_s,
        "output": job.output,
        "error": job.error,
    }


def endpoint_table(found: Sequence[Endpoint], spent: Spent, now: datetime) -> list[str]:
    """Endpoints as lines of text."""
    titles = ("NAME", "ACCOUNT", "GPU", "MIN–MAX", "IDLE", "WORKERS", "QUEUE", "AT WORK", "$/H", "WARM $/DAY", "SPENT")
    rows = [_row(endpoint, spent, now) for endpoint in found]
    return words.table(titles, rows, right=frozenset({6, 7, 8, 9, 10}))


def shown(endpoint: Endpoint, spent: Spent, now: datetime) -> list[str]:
    """One endpoint in full."""
    jobs, counts = endpoint.jobs, endpoint.counts
    pairs = [
        ("id", f"{endpoint.key}"),
        ("kind", f"{endpoint.kind} of {endpoint.provider}"),
        ("gpu", endpoint.gpu or words.UNKNOWN),
        ("bounds", str(endpoint.bounds) or words.UNKNOWN),
        ("workers", words.UNKNOWN if counts is None else counts_words(endpoint) or "none"),
        (
            "jobs",
            words.UNKNOWN
            if jobs is None
            else f"{jobs.in_queue} wait, {jobs.in_progress} at work, {jobs.completed} completed, {jobs.failed} failed",
        ),
        ("a worker", f"${words.price(endpoint.worker_price)}/h"),
        ("now", f"${words.price(endpoint.price_now)}/h{_maybe(endpoint)}"),
        ("spent", words.amount(_spent(endpoint, spent, now))),
        ("warning", endpoint.warning or "none"),
    ]
    if endpoint.problem:
        pairs.append(("problem", endpoint.problem))
    lines = [endpoint.name, *(f"  {name:<9}{value}" for name, value in pairs)]
    for worker in endpoint.workers or ():
        stale = ", older configuration" if worker.is_stale else ""
        since = f" for {words.length(now - worker.started_at)}" if worker.started_at else ""
        lines.append(f"  worker   {worker.id} {worker.state}{since} on {worker.gpu or words.UNKNOWN}{stale}")
    return [words.printable(line) for line in lines]


def counts_words(endpoint: Endpoint) -> str:
    """``2 running, 1 idle``; states without a worker are left out."""
    counts = endpoint.counts
    if counts is None:
        return ""
    states = ("running", "idle", "initializing", "throttled", "unhealthy", "other")
    return ", ".join(f"{getattr(counts, state)} {state}" for state in states if getattr(counts, state))


def job_line(job: Job) -> str:
    """A job's state for people."""
    times = [f"waited {job.waited_s:.1f} s"] if job.waited_s is not None else []
    times += [f"ran {job.ran_s:.1f} s"] if job.ran_s is not None else []
    told = f"{job.id}: {job.state.casefold().replace('_', ' ')}"
    return f"{told} ({', '.join(times)})" if times else told


def _row(endpoint: Endpoint, spent: Spent, now: datetime) -> tuple[str, ...]:
    bounds, jobs, warm = endpoint.bounds, endpoint.jobs, endpoint.warm_price
    low, high = ("?" if value is None else str(value) for value in (bounds.low, bounds.high))
    return (
        words.printable(endpoint.name),
        endpoint.key.account,
        endpoint.gpu or words.UNKNOWN,
        f"{low}–{high}",
        "–" if bounds.idle_timeout_s is None else f"{bounds.idle_timeout_s} s",
        words.UNKNOWN if endpoint.counts is None else counts_words(endpoint) or "none",
        words.UNKNOWN if jobs is None else str(jobs.in_queue),
        words.UNKNOWN if jobs is None else str(jobs.in_progress),
        words.price(endpoint.price_now),
        words.UNKNOWN if warm is None else words.digits(warm.usd_per_hour * DAY),
        words.amount(_spent(endpoint, spent, now)),
    )


def _maybe(endpoint: Endpoint) -> str:
    some = endpoint.maybe_billed
    return f" ({some} of the workers may be free: RunPod's texts disagree)" if some else ""


def _worker_json(worker: Worker) -> dict[str, Any]:
    return {
        "id": worker.id,
        "state": worker.state,
        "gpu": worker.gpu,
        "region": worker.place,
        "started_at": iso(worker.started_at),
        "stale": worker.is_stale,
    }


def _spent(endpoint: Endpoint, spent: Spent, now: datetime) -> Amount:
    return spent.get(endpoint.key, NOTHING_SPENT).at(now)
