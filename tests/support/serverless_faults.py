"""The same faults for RunPod's serverless side: its list, a job that is submitted, and bounds that are changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gpudash.errors import Ambiguous, GpudashError
from gpudash.model.endpoint import Bounds
from gpudash.model.instance import InstanceKey
from support.http_cloud import Reply
from support.http_faults import HASTY, ROWS, Row, told, warnings_said
from support.runpod_cloud import runpod_cloud
from support.runpod_words import RUNPOD_WORDS

NAME = "runpod serverless"
VERBS = {"list": "list", "launch": "submit", "end": "set bounds"}
"""Which call of this side goes through the faults of a list, a launch and an end."""
_WORDS = replace(
    RUNPOD_WORDS,
    calls={
        "list": ("GET", r"^/v2/serverless$"),
        "launch": ("POST", r"^/v2/[^/]+/run$"),
        "end": ("PATCH", r"^/v2/serverless/[^/]+$"),
    },
    empty=Reply(200, {"endpoints": []}),
)
_OF_PODS = {"new fields and a new state", "optional fields missing", "a record that cannot be read",
            "a later page fails", "accepted and not done", "the list lags after a launch",
            "the list lags after an end"}  # fmt: skip
FAULTS = [row for row in ROWS if row.name not in _OF_PODS]
LOW = 1


def run(row: Row, verb: str) -> str:
    """What is seen of one fault by one call, in a few words; `–` where it does not apply."""
    fault = row.fault(_WORDS, verb)
    if fault is None or verb not in row.verbs:
        return "–"
    with runpod_cloud() as cloud:
        endpoint = cloud.fake.add_endpoint(high=3)
        (seen,) = cloud.provider.endpoints.listing().items
        method, path = _WORDS.calls[verb]
        fault = replace(fault, method=fault.method or method, path=fault.path or path)
        with row.origin() as origin:
            adapter = cloud.again(url=origin, timeouts=HASTY if row.hasty else None)
            with row.around(cloud.fake), cloud.fake.fault(fault), warnings_said() as said:
                asked = cloud.fake.count(method, path)
                outcome = _ask(adapter, seen.key, endpoint, verb, row)
                assert cloud.fake.count(method, path) - asked <= (1 if verb != "list" else 2), "asked again by itself"
        assert _WORDS.key not in "".join(said)
        return outcome


def _ask(adapter: Any, key: InstanceKey, endpoint: Any, verb: str, row: Row) -> str:
    if verb == "list":
        return _list(adapter, key, row)
    try:
        if verb == "launch":
            adapter.endpoints.submit(key, {"n": 1})
        else:
            adapter.endpoints.set_bounds(key, Bounds(low=LOW))
    except GpudashError as exc:
        happened = _happened(endpoint, verb)
        if not isinstance(exc, Ambiguous):
            assert not happened, "a definite no, and yet it happened"
        return told(exc, _WORDS, write=True) + (", and it did" if happened else "")
    assert _happened(endpoint, verb), "a yes, and nothing happened"
    return "done"


def _list(adapter: Any, key: InstanceKey, row: Row) -> str:
    try:
        found = adapter.endpoints.listing()
    except GpudashError as exc:
        return told(exc, _WORDS, write=False)
    is_there = any(item.key == key for item in found.items)
    assert not found.complete or is_there or row.may_hide, "a complete list lacks an endpoint"
    if not found.complete:
        return "incomplete"
    return "complete" if is_there else "complete and empty: proves nothing alone"


def _happened(endpoint: Any, verb: str) -> bool:
    return bool(endpoint.jobs) if verb == "launch" else bool(endpoint.low == LOW)
