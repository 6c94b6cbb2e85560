"""The key pair of a person who has none: a launch that needs one offers to make it, and takes no yes for granted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from gpudash.cli.output import Output, can_ask
from gpudash.model.capability import LaunchOption

NAMED_BY = frozenset({"public_key", "key_name", "ssh_key_name"})
"""Launch options that name a key; then the person's own is not needed."""


def offer_one(out: Output, known: Collection[LaunchOption], chosen: Mapping[str, str]) -> None:
    """Ask whether to make ``~/.ssh/id_ed25519`` where the cloud takes the person's own key and there is none.

    After a no, or where nobody can be asked, the launch itself says what is missing.

    Raises:
        UsageError: it could not be made.
    """
    if NAMED_BY & chosen.keys() or not any(option.name == "public_key" for option in known) or not can_ask():
        return
    from gpudash.providers import sshkeys

    if any(key.kind in sshkeys.KINDS for key in sshkeys.own_keys()):
        return
    path = Path.home() / ".ssh" / "id_ed25519"
    out.talk("You have no SSH key that a cloud takes, in the agent or in ~/.ssh; without one nobody could log in.")
    if out.ask(f"Make {path}, without a pass phrase? [y/N] ").casefold() in {"y", "yes"}:
        sshkeys.make_key(path)
        out.talk(f"Made {path}; its public half goes to the cloud.")
