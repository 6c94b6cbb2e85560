"""The command line of the real `ssh` for one instance, for shells and for people to copy. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpudash.errors import LinkDown
from gpudash.hosts.hostkeys import alias_of
from gpudash.model.instance import Instance


def ssh_argv(instance: Instance, *, command: Sequence[str] | None = None, state_dir: Path) -> list[str]:
    """What to run. It trusts the same host keys as our links do, by the same name.

    Args:
        instance: as listed.
        command: to run there instead of a shell; handed to ssh word by word.
        state_dir: where our known_hosts is.

    Raises:
        LinkDown: its cloud has told no address.
    """
    address = instance.ssh
    if address is None:
        raise LinkDown(f"{instance.name} has no SSH address yet.")
    # A fingerprint that the cloud told is checked by our link, which records the key; ssh itself can only ask.
    is_vouched = instance.managed and address.host_key_fingerprint is None
    argv = ["ssh", "-p", str(address.port), "-l", address.user]
    if address.identity_file:
        argv += ["-i", address.identity_file]
    for option in (
        f"HostKeyAlias={alias_of(instance)}",
        f"UserKnownHostsFile={_quoted(state_dir / 'known_hosts')}",
        "GlobalKnownHostsFile=/dev/null",
        "HashKnownHosts=no",
        "UpdateHostKeys=no",
        f"StrictHostKeyChecking={'accept-new' if is_vouched else 'ask'}",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
    ):
        argv += ["-o", option]
    argv += [address.host]
    return argv + (["--", *command] if command else [])


def _quoted(path: Path) -> str:
    """ssh splits this option at blanks and expands percent signs and ``${…}``."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if " " in text else text
