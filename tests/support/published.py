"""Is a fake faithful? Each exchange is held against the OpenAPI file that the vendor publishes.

The files lie beside the repository and are never copied into it; where they are not, tests that need them skip and say
so. A schema is read as JSON Schema of that OpenAPI version; anything the file does not describe is a finding, unless
the test says why the live service does it all the same.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS30Validator, OAS31Validator

from support.http_cloud import Reply, Request
from tests.conftest import ROOT

FOLDER = ROOT.parent / "shared" / "providers" / "openapi"
WHY_NOT = f"the vendors' API files are not in {FOLDER.parent.parent.name}/providers/openapi beside the repository"
LIVE_ONLY = frozenset({429, 500, 502, 503, 504})
"""Statuses that any service answers, described or not."""


def published(name: str) -> Published:
    """The file of that name; the test is skipped where it is not there."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(WHY_NOT)
    return _load(path)


@cache
def _load(path: Path) -> Published:
    text = path.read_text()
    return Published(json.loads(text) if path.suffix == ".json" else yaml.safe_load(text))


class Published:
    """One vendor's description of its API."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._validator = OAS30Validator if document["openapi"].startswith("3.0") else OAS31Validator
        self._paths = [
            (re.compile(re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(path))), path, item)
            for path, item in document["paths"].items()
        ]

    def findings(self, request: Request, reply: Reply, *, prefix: str = "", closed: bool = False) -> list[str]:
        """What does not fit in one exchange.

        Args:
            prefix: what stands before the file's paths on the wire, or, with a leading ``-``, what the file has more.
            closed: fields of a request that the file does not name are findings, whether or not it says so.
        """
        path = request.path.removeprefix(prefix)
        operation = self._operation(request.method, path)
        if operation is None:
            return [f"{request.method} {path}: no such operation"]
        where = f"{request.method} {path}"
        return [
            *self._query(request, operation, where),
            *self._request_body(request, operation, where, closed),
            *self._reply(reply, operation, f"{where} → {reply.status}"),
        ]

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        fitting = [(name, item) for pattern, name, item in self._paths if pattern.fullmatch(path)]
        exact = [item for name, item in fitting if name == path] or [item for _, item in fitting]
        for item in exact:
            if method.lower() in item:
                shared = item.get("parameters", [])
                found: dict[str, Any] = item[method.lower()]
                return {**found, "parameters": [*shared, *found.get("parameters", [])]}
        return None

    def _query(self, request: Request, operation: dict[str, Any], where: str) -> list[str]:
        told = [self._resolve(part) for part in operation["parameters"]]
        known = {part["name"]: part for part in told if part["in"] == "query"}
        unknown = [f"{where}: no parameter {name}" for name in request.query if name not in known]
        missing = [
            f"{where}: parameter {name} is missing"
            for name, part in known.items()
            if part.get("required") and name not in request.query
        ]
        return unknown + missing

    def _request_body(self, request: Request, operation: dict[str, Any], where: str, closed: bool) -> list[str]:
        described = self._resolve(operation.get("requestBody") or {})
        schema = _json_schema(described)
        if not request.content:
            return [f"{where}: a body is missing"] if described.get("required") else []
        if schema is None:
            return [f"{where}: a body where none is described"]
        named = set(self._resolve(schema).get("properties") or {})
        extra = [f"{where}: body has {name}" for name in (request.json if closed else ()) if name not in named]
        return extra + self._check(schema, request.json, f"{where} body")

    def _reply(self, reply: Reply, operation: dict[str, Any], where: str) -> list[str]:
        responses = operation["responses"]
        described = responses.get(str(reply.status)) or responses.get(f"{reply.status // 100}XX")
        described = described or responses.get("default")
        if described is None:
            return [] if reply.status in LIVE_ONLY else [f"{where}: no such answer"]
        schema = _json_schema(self._resolve(described))
        if schema is None or not reply.content:
            return [] if schema is None else [f"{where}: an empty answer"]
        return self._check(schema, json.loads(reply.content), where)

    def _check(self, schema: dict[str, Any], value: Any, where: str) -> list[str]:
        whole = {**self._document, "allOf": [schema]}
        whole.pop("$schema", None)
        errors = self._validator(whole).iter_errors(value)
        return [f"{where}: {'/'.join(map(str, error.absolute_path)) or '.'}: {_told(error)}" for error in errors]

    def _resolve(self, part: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in part:
            found: Any = self._document
            for step in part["$ref"].removeprefix("#/").split("/"):
                found = found[step.replace("~1", "/").replace("~0", "~")]
            part = found
        return part


def _json_schema(described: dict[str, Any]) -> dict[str, Any] | None:
    for kind, content in (described.get("content") or {}).items():
        if "json" in kind and "schema" in content:
            return content["schema"]  # type: ignore[no-any-return]
    return None


def _told(error: Any) -> str:
    deepest = error
    while deepest.context:
        deepest = min(deepest.context, key=lambda inner: len(inner.context or ()))
    return str(deepest.message)[:300]
