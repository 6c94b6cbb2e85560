"""What one process remembers of pods between listings, because single records do not tell it.

* The price while running: RunPod's `cost` of a stopped pod is 0 or stale, and a start costs what it cost before.
* The address of the start before: after stop and start the first answers can still carry the old public port for about
  90 s, and whoever has that port by now is a stranger (runpod/runpod-plugins-official, `runpod-usage` gotchas).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpudash.model.instance import Instance, InstanceState
from gpudash.model.money import Price

OLD_PORT_FOR = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class _Memory:
    price: Price | None
    started_at: datetime | None
    address: tuple[str, int] | None
    """Where it was reached in the start that is told of now, or last."""
    before: tuple[str, int] | None = None
    """Where it was reached in the start before that one."""


class Seen:
    """Pods by id. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pods: dict[str, _Memory] = {}

    def complete(self, instance: Instance, now: datetime) -> Instance:
        """The instance with the price it had when it ran, and without an address that is most likely the old one."""
        with self._lock:
            memory = self._remember(instance)
        if instance.price is None and memory.price is not None:
            instance = replace(instance, price=memory.price)
        address = instance.ssh
        if address is None or memory.before is None or (address.host, address.port) != memory.before:
            return instance
        if instance.started_at is not None and now - instance.started_at < OLD_PORT_FOR:
            return replace(instance, ssh=None)
        return instance

    def keep_only(self, ids: Iterable[str]) -> None:
        """Forget pods that are gone."""
        kept = set(ids)
        with self._lock:
            for gone in self._pods.keys() - kept:
                del self._pods[gone]

    def _remember(self, instance: Instance) -> _Memory:
        memory = self._pods.get(instance.key.id)
        address = (instance.ssh.host, instance.ssh.port) if instance.ssh is not None else None
        if memory is None:
            memory = _Memory(instance.price, instance.started_at, address)
        runs = instance.state is InstanceState.RUNNING
        if runs and instance.started_at is not None and instance.started_at != memory.started_at:
            memory = replace(memory, before=memory.address, started_at=instance.started_at, address=None)
        memory = replace(
            memory,
            price=instance.price if instance.price is not None else memory.price,
            address=address or memory.address,
        )
        self._pods[instance.key.id] = memory
        return memory
