"""How RunPod says on the wire what can go wrong, for the fault tests."""

from __future__ import annotations

import json
from typing import Any

from support.fault_words import Words
from support.http_cloud import Fault, Reply, changed
from support.runpod_cloud import KEY, NO_CAPACITY, problem


def _newer(body: Any) -> Any:
    for record in body["pods"]:
        record |= {"status": "HOVERING", "machineId": "m1", "networking": {"mode": "new"}}
    return {**body, "pagination": {"nextCursor": None, "hasNextPage": False}}


def _sparse(body: Any) -> Any:
    kept = ("id", "status", "env")
    return {"pods": [{name: record[name] for name in kept} for record in body["pods"]]}


def _garbled(body: Any) -> Any:
    return {"pods": [*body["pods"], {"status": "RUNNING"}]}


def second_page_fails() -> Fault:
    """The first answer says that there is more, and the next one fails; for one use."""

    def answer(whole: Reply) -> Reply:
        seen.append(whole)
        body = json.loads(whole.content)
        more = {"pagination": {"nextCursor": "page-2", "hasNextPage": True}}
        return Reply(200, body | more) if len(seen) == 1 else problem(500, "Internal error")

    seen: list[Reply] = []
    return Fault("second page", answer)


RUNPOD_WORDS = Words(
    key=KEY,
    calls={
        "list": ("GET", r"^/v2/pods$"),
        "launch": ("POST", r"^/v2/pods$"),
        "end": ("DELETE", r"^/v2/pods/[^/]+$"),
    },
    refusal=lambda status: problem(status, "As the test wants it."),
    refused_keys={
        "error 1010 of the edge": Reply(403, b"error code: 1010", {"Content-Type": "text/plain"}),
        "the envelope of the old API": Reply(401, {"error": "unauthorized"}),
        "repeated in the answer": problem(401, f"{KEY} is not valid"),
    },
    no_capacity={
        "no longer any instances": problem(400, NO_CAPACITY),
        "does not have the resources": problem(400, "This machine does not have the resources to deploy your pod"),
    },
    empty=Reply(200, {"pods": []}),
    newer=_newer,
    sparse=_sparse,
    garbled=_garbled,
    partial=second_page_fails(),
    own={
        "410, the API is switched off": ("end", Fault("410", problem(410, "gone"))),
        "pods without variables": ("list", Fault("bare", changed(lambda body: _without(body, "env")))),
        "yes without an id": ("launch", Fault("x", Reply(201, {"name": "x"}), takes_effect=True)),
        "member of a cluster": ("end", Fault("x", problem(409, "pod belongs to a cluster"))),
    },
)
"""How RunPod says things."""


def _without(body: Any, field: str) -> Any:
    return {"pods": [{name: value for name, value in pod.items() if name != field} for pod in body["pods"]]}
