"""What to say of an instance that is in no row because it has ended: since when, why, and what brings another one."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gpudash.clock import iso
from gpudash.errors import ProviderError
from gpudash.model.capability import Verb
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.operation import Stage

if TYPE_CHECKING:
    from gpudash.ledger import Ledger


def explained(text: str, ended: Iterable[Instance], ledger: Ledger) -> ProviderError | None:
    """The error for an ended instance that `text` names (``account:id``, id or name); None where no such one is known.

    Args:
        text: what a person called it.
        ended: instances that listings showed as ended.
        ledger: whose diary knows of those that the cloud has forgotten.
    """
    fits = [machine for machine in ended if text in (str(machine.key), machine.key.id, machine.name)]
    if fits:
        newest = max(fits, key=lambda machine: iso(machine.ended_at) or "")
        return _error(newest.name, newest.key, iso(newest.ended_at), _why(newest, ledger), _launch_words(newest))
    for event in ledger.events():
        key = event.key
        if event.kind == "gone" and key is not None and text in (str(key), key.id, event.name or key.id):
            asked = _asked_by(key, ledger) or "its cloud does not list it any more"
            return _error(event.name, key, iso(event.at), asked, "gpudash launch")
    return None


def _error(name: str, key: InstanceKey, since: str | None, why: str, words: str) -> ProviderError:
    when = f" since {since}" if since else ""
    known = f"{name} ({key})" if name and name != key.id else str(key)
    return ProviderError(
        f"{known} is terminated{when}: {why}. It does not come back.", hint=f"Launch another one like it: {words}"
    )


def _why(machine: Instance, ledger: Ledger) -> str:
    reason = machine.raw.get("StateReason")
    code = f" ({reason})" if reason else ""
    return (_asked_by(machine.key, ledger) or machine.notice or "somebody asked its cloud for that") + code


def _asked_by(key: InstanceKey, ledger: Ledger) -> str | None:
    for operation in ledger.operations_of(key):
        if operation.verb is Verb.TERMINATE and operation.stage is not Stage.CANCELLED:
            return f"gpudash ({operation.actor}) was asked to terminate it at {iso(operation.requested_at)}"
    return None


def _launch_words(machine: Instance) -> str:
    words = ["gpudash", "launch", "--account", machine.key.account, "--region", machine.region]
    words += ["--type", machine.instance_type] if machine.instance_type else []
    words += ["--spot"] if machine.spot else []
    return shlex.join([*words, "--name", machine.name])
