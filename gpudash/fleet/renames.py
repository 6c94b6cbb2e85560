"""Another name for an instance that lives. Its id, its key and its launch stay what they are."""

from __future__ import annotations

from gpudash.errors import Unsupported
from gpudash.fleet import once
from gpudash.fleet.desk import Desk
from gpudash.fleet.endings import known
from gpudash.fleet.naming import checked_name
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation
from gpudash.providers.base import Provider, Renames

TO = "to"


def intend_rename(desk: Desk, key: InstanceKey, name: str) -> Operation:
    """Write the intent to call it that.

    Raises:
        NotFound: no such instance.
        UsageError: no name.
        Refused: read-only.
        Unsupported: the cloud renames nothing.
    """
    record = once.allowed(desk, Verb.RENAME, key)
    wanted = checked_name(name)
    return once.intend(
        desk, Verb.RENAME, record, f"asked to rename {record.instance.name or key.id} to {wanted}", {TO: wanted}
    )


def advance_rename(desk: Desk, operation: Operation) -> Operation:
    """Send it, once."""
    wanted = str(operation.params[TO])

    def rename(provider: Provider, key: InstanceKey) -> str:
        if not isinstance(provider, Renames):
            raise Unsupported(f"{provider.provider} renames nothing.")
        provider.rename(known(desk, key).instance, wanted)
        return f"its name is {wanted}"

    return once.advance(desk, operation, rename, "the next list tells its name")
