"""The answer to one question put to a cloud: what came, whether it is all, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """Items of one account and region. An incomplete listing may add and change; it never removes."""

    account: str
    region: str
    items: tuple[T, ...]
    complete: bool
    """Every page came and could be read."""
    asked_at: datetime
    """When the request left. Proof of absence counts only from here."""
    fetched_at: datetime
    """When the last byte was there; ages are counted from here."""
    problem: str | None = None
    """What was wrong with it, where it is not complete."""
    gone: frozenset[object] = frozenset()
    """Keys it does not name and of which the cloud, asked for each by its id, said that there is no such thing."""
