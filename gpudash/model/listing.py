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
    lacks: tuple[str, ...] = ()
    """What nobody may ask of its items (prices, disks …), each a sentence with the way out. The list itself is whole."""
    gone: frozenset[object] = frozenset()
    """Keys it does not name and of which the cloud, asked for each by its id, said that there is no such thing."""

    @property
    def trouble(self) -> str | None:
        """What a person should hear of it: why it is not whole, else what nobody may ask."""
        return self.problem or " ".join(self.lacks) or None
