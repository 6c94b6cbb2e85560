"""Which key on this machine would open a host that refused those that were shown, and how to let one in."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from gpudash.model.instance import SshAddress
from gpudash.model.sshkey import key_name


def advice(address: SshAddress, tried: Collection[str], home: Path) -> str:
    """What to do about a refusal, in two or three sentences.

    Args:
        address: names the key that the cloud gave to the instance, where it tells that.
        tried: paths of the private keys that were shown.
        home: where ``.ssh`` is.
    """
    pairs = _pairs(home / ".ssh")
    given = address.given_key
    told = ""
    fits = next((path for path, blob in pairs.items() if given in (key_name(blob), path.stem)), None)
    if given and fits is None:
        told = f"Its cloud gave it the key {given}, and no key in ~/.ssh is that one. "
    elif given and fits is not None:
        told = f"Its cloud gave it the key {given}, which is {fits}{_load(fits, tried)}. "
    others = [path for path in pairs if str(path.with_suffix("")) not in tried and path != fits]
    if fits is None and others:
        first = others[0].with_suffix("")
        told += f"Not tried: {', '.join(map(str, others))}; to show one: ssh-add {first}. "
    mine = next((path for path in pairs if str(path.with_suffix("")) in tried), next(iter(pairs), None))
    let_in = (
        f"To let this machine in, put the line of {mine}"
        if mine
        else "Make a key (ssh-keygen -t ed25519), put its line"
    )
    where = f"into ~{address.user}/.ssh/authorized_keys there, by its cloud's console"
    return f"{told}{let_in} {where}. Check the user name, too: {address.user}."


def _load(public: Path, tried: Collection[str]) -> str:
    private = public.with_suffix("")
    if str(private) in tried:
        return ", and refuses it all the same"
    return f": ssh-add {private}" if private.exists() else ", but its private half is not beside it"


def _pairs(folder: Path) -> dict[Path, str]:
    """The body of each public key there."""
    found = {}
    for path in sorted(folder.glob("*.pub")):
        try:
            words = path.read_text(encoding="utf-8", errors="replace").split()
        except OSError:
            continue
        if len(words) >= 2 and not words[0].endswith("-cert-v01@openssh.com"):
            found[path] = words[1]
    return found
