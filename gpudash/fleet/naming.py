"""What an instance may be called. Apart from `renames`, so that a dialog can ask without loading the actions."""

from __future__ import annotations

from gpudash.errors import UsageError


def checked_name(name: str) -> str:
    """The name without blanks around it.

    Raises:
        UsageError: it is none.
    """
    wanted = name.strip()
    if not wanted or not wanted.isprintable():
        raise UsageError(f"{name!r} is no name.", hint="Write letters, digits and what is on the keyboard.")
    return wanted
