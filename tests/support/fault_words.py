"""How one cloud says on the wire what can go wrong; the fault tests put it through all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.http_cloud import Fault, Reply


@dataclass(frozen=True)
class Words:
    """How one cloud says things on the wire."""

    key: str
    """The secret; it must be nowhere."""
    calls: Mapping[str, tuple[str, str]]
    """Method and pattern of the path of the call behind ``list``, ``launch`` and ``end``."""
    refusal: Callable[[int], Reply]
    """A no with that status, in its own envelope."""
    refused_keys: Mapping[str, Reply]
    """The odd forms of a refused key: what is odd → the answer."""
    no_capacity: Mapping[str, Reply]
    """Its ways to say that there is none left: the words → the answer."""
    empty: Reply
    """A list of nothing."""
    newer: Callable[[Any], Any]
    """Edits a list: fields and a state that nobody has seen before."""
    sparse: Callable[[Any], Any]
    """Edits a list: every field that the cloud may leave out is left out."""
    garbled: Callable[[Any], Any]
    """Edits a list: one more record, which cannot be read."""
    partial: Fault | None = None
    """A later page that fails; None for clouds without pages."""
    own: Mapping[str, tuple[str, Fault]] = field(default_factory=dict)
    """Faults only this cloud has: name → the verb it hits, and the fault."""
