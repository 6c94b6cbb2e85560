"""The parent of a launch. What goes with another instance names one that is known, ours and alive, at every cloud alike."""

from __future__ import annotations

from gpudash.errors import UsageError


def check_parent(parent: str, region: str, *, managed: bool | None, ended: bool) -> None:
    """Refuse a parent whose end would never take its child along, or would at once.

    Args:
        parent: the id that the order names.
        region: of the order; a parent elsewhere is unknown here.
        managed: whether it is ours; None where the region has no such instance.
        ended: it is over, or on its way out.

    Raises:
        UsageError: it cannot be one.
    """
    if managed is None:
        hint = "Parent and child stand in one region; `gpudash ls` shows the ids."
        raise UsageError(f"parent: {region} has no instance {parent!r}.", hint=hint)
    if not managed:
        raise UsageError(f"parent: {parent} is not managed by gpudash.", hint=f"First: gpudash adopt {parent}")
    if ended:
        raise UsageError(f"parent: {parent} has ended, and what goes with it would end at once.", hint="Leave it out.")
