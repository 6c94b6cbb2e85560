"""What one update changed, by key, so that only that is drawn again."""

from __future__ import annotations

from dataclasses import dataclass

from gpudash.model.instance import InstanceKey


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Keys, not rows. Empty and false where nothing that can be seen changed."""

    added: frozenset[InstanceKey] = frozenset()
    changed: frozenset[InstanceKey] = frozenset()
    removed: frozenset[InstanceKey] = frozenset()
    health: bool = False
    """A provider's health changed."""
    operations: bool = False
    """An operation moved on."""
    endpoints: bool = False
    """A serverless endpoint changed, or one came or went."""

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed or self.health or self.operations or self.endpoints)

    def __or__(self, other: ChangeSet) -> ChangeSet:
        added = (self.added | other.added) - other.removed
        return ChangeSet(
            added,
            (self.changed | other.changed) - added - other.removed,
            (self.removed | other.removed) - other.added,
            self.health or other.health,
            self.operations or other.operations,
            self.endpoints or other.endpoints,
        )
