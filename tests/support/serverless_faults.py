"""The same faults for RunPod's serverless side: its list, its queue and jobs, and bounds that are changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from gpudash.errors import Ambiguous, GpudashError
from gpudash.model.endpoint import Bounds, JobState
from gpudash.model.instance import InstanceKey
from gpudash.providers.base import Endpoints
from support.http_cloud import Fault, Reply, changed
from support.http_faults import HASTY, ROWS, Row, told, warnings_said, with_values
from support.runpod_cloud import RunpodCloud, problem, runpod_cloud
from support.runpod_state import Endpoint, Job
from support.runpod_words import RUNPOD_WORDS, second_page_fails

NAME = "runpod serverless"
LOW = 1
WAITING = "job-that-waits"


@dataclass(frozen=True)
class Call:
    """One call of this side."""

    like: str
    """Which rows of the other tables it goes through: those of ``list``, ``launch`` or ``end``."""
    method: str
    path: str
    ask: Callable[[Endpoints, InstanceKey], Any]
    happened: Callable[[Endpoint], bool]
    """Whether RunPod's own books have it."""
    looked_up: Callable[[Endpoints, InstanceKey], bool] | None = None
    """Whether a look says so, after an answer that was lost; None: nothing can be looked up."""


def _waits(endpoint: Endpoint) -> bool:
    return any(job.status == "IN_QUEUE" for job in endpoint.jobs)


def _is_empty(endpoints: Endpoints, key: InstanceKey) -> bool:
    jobs = endpoints.one(key).jobs
    assert jobs is not None
    return jobs.in_queue == 0


CALLS: dict[str, Call] = {
    "list": Call("list", "GET", r"^/v2/serverless$", lambda side, key: side.listing(), lambda endpoint: False),
    "submit": Call(
        "launch", "POST", r"^/v2/[^/]+/run$", lambda side, key: side.submit(key, 1), lambda e: len(e.jobs) > 1
    ),
    "set bounds": Call(
        "end",
        "PATCH",
        r"^/v2/serverless/[^/]+$",
        lambda side, key: side.set_bounds(key, Bounds(low=LOW)),
        lambda endpoint: endpoint.low == LOW,
        lambda side, key: side.one(key).bounds.low == LOW,
    ),
    "purge queue": Call(
        "end",
        "POST",
        r"^/v2/[^/]+/purge-queue$",
        lambda side, key: side.purge(key),
        lambda endpoint: not _waits(endpoint),
        _is_empty,
    ),
    "cancel job": Call(
        "end",
        "POST",
        r"^/v2/[^/]+/cancel/[^/]+$",
        lambda side, key: side.cancel(key, WAITING),
        lambda endpoint: endpoint.jobs[0].status == JobState.CANCELLED,
        lambda side, key: side.job(key, WAITING).state == JobState.CANCELLED,
    ),
}
VERBS = tuple(CALLS)


def _newer(body: Any) -> Any:
    for record in body["endpoints"]:
        record |= {"type": "STREAM", "region": "moon", "workers": {**record["workers"], "standby": 2}}
    return {**body, "pagination": {"nextCursor": None, "hasNextPage": False}}


def _with_new_words(health: Any) -> Any:
    return {"jobs": {**health["jobs"], "delayed": 1}, "workers": {**health["workers"], "napping": 2}, "version": 3}


_WORDS = replace(
    RUNPOD_WORDS,
    empty=Reply(200, {"endpoints": []}),
    newer=_newer,
    sparse=lambda body: {"endpoints": [{"id": record["id"]} for record in body["endpoints"]]},
    garbled=lambda body: {"endpoints": [*body["endpoints"], {"name": "without an id"}]},
    partial=second_page_fails(),
)
WITHOUT_EFFECT = "accepted and not done"


def _own(name: str, call: str, fault: Fault) -> Row:
    return Row(name, (call,), lambda words, verb: fault)


def _health(answer: Reply | Callable[[Reply], Reply]) -> Fault:
    return Fault("health", answer, method="GET", path=r"/health$")


def _rows() -> Iterator[Row]:
    for row in ROWS:
        if row.name == WITHOUT_EFFECT:
            yield replace(row, around=lambda fake: with_values(fake, has_effect=False))
        elif not row.name.startswith("the list lags"):
            yield row
    for form, reply in _WORDS.refused_keys.items():
        yield Row(f"refused key: {form}", ("list", "launch", "end"), lambda words, verb, no=reply: Fault("key", no))  # type: ignore[misc]
    bare = Reply(200, {"jobs": {}, "workers": {}})
    yield _own("counts of workers and jobs do not come", "list", _health(problem(500, "Internal error")))
    yield _own("counts of workers and jobs missing", "list", _health(bare))
    yield _own("workers in a new state, jobs too", "list", _health(changed(_with_new_words)))
    yield _own("yes without an id", "submit", Fault("bare", Reply(200, {}), takes_effect=True))
    yield _own("yes without a count", "purge queue", Fault("bare", Reply(200, {}), takes_effect=True))
    yield _own("the job was over before", "cancel job", Fault("late", Reply(200, {"id": WAITING, "status": "FAILED"})))


FAULTS = list(_rows())


def run(row: Row, verb: str) -> str:
    """What is seen of one fault by one call, in a few words; `–` where it does not apply."""
    call = CALLS[verb]
    fault = row.fault(_WORDS, call.like)
    if fault is None or not {call.like, verb} & set(row.verbs):
        return "–"
    fault = replace(fault, method=fault.method or call.method, path=fault.path or call.path)
    with _endpoint(high=3 if verb == "set bounds" else 0) as (cloud, key), row.origin() as origin:
        adapter = cloud.again(url=origin, timeouts=HASTY if row.hasty else None)
        with row.around(cloud.fake), cloud.fake.fault(fault), warnings_said() as said:
            asked = cloud.fake.count(call.method, call.path)
            outcome = _list(adapter.endpoints, key, row) if verb == "list" else _change(cloud, adapter, key, row, call)
            assert cloud.fake.count(call.method, call.path) - asked <= (1 if verb != "list" else 2), "asked again"
    assert _WORDS.key not in "".join(said)
    return outcome + (", and the clock is noticed" if any("clock" in line for line in said) else "")


@contextmanager
def _endpoint(high: int) -> Iterator[tuple[RunpodCloud, InstanceKey]]:
    """An endpoint with one job in its queue, which waits while there may be no worker."""
    with runpod_cloud() as cloud:
        fake = cloud.fake.add_endpoint(high=high)
        fake.jobs.append(Job(WAITING, {"n": 1}, cloud.clock.now()))
        (seen,) = cloud.provider.endpoints.listing().items
        yield cloud, seen.key


def _change(cloud: RunpodCloud, adapter: Any, key: InstanceKey, row: Row, call: Call) -> str:
    try:
        call.ask(adapter.endpoints, key)
    except GpudashError as exc:
        happened = call.happened(cloud.fake.endpoints[key.id])
        outcome = told(exc, _WORDS, write=True)
        if not isinstance(exc, Ambiguous):
            assert not happened, "a definite no, and yet it happened"
            return outcome
        if call.looked_up is None:
            return outcome + (", and it did" if happened else "")
        assert call.looked_up(cloud.again().endpoints, key) == happened, "a look tells something else"
        return outcome + (": a look says that it did" if happened else ": a look says that it did not")
    if call.happened(cloud.fake.endpoints[key.id]):
        return "done"
    assert call.looked_up is None or not call.looked_up(cloud.again().endpoints, key), "a look believes it"
    assert row.name in (WITHOUT_EFFECT, "the job was over before"), "a yes, and nothing happened"
    return "accepted, and a look finds nothing"


def _list(side: Endpoints, key: InstanceKey, row: Row) -> str:
    try:
        found = side.listing()
    except GpudashError as exc:
        return told(exc, _WORDS, write=False)
    seen = [item for item in found.items if item.key == key]
    assert not found.complete or seen or row.may_hide, "a complete list lacks an endpoint"
    if not found.complete:
        assert found.problem
        return "incomplete, 1 of 1 there" if seen else "incomplete"
    if not seen:
        return "complete and empty: proves nothing alone"
    if seen[0].counts is None or seen[0].jobs is None:
        assert seen[0].problem or not seen[0].has_queue
        assert seen[0].counts is not None or seen[0].burn.unknown, "unknown counts, and yet a price"
    return "complete" if seen[0].counts is not None else "complete, counts unknown"
