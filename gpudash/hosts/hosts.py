"""All links of this process: one for each instance, made on demand, closed together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from gpudash.clock import Clock
from gpudash.hosts.forward import Acceptor
from gpudash.hosts.hostkeys import KnownHosts, alias
from gpudash.hosts.link import Link
from gpudash.hosts.states import Limits
from gpudash.hosts.tunnels import CloseRequest, Registry
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.tunnel import Tunnel


class Hosts:
    """Links by instance key. Safe to use from any thread."""

    def __init__(
        self,
        state_dir: Path,
        clock: Clock,
        *,
        owner: str,
        on_change: Callable[[InstanceKey], None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Nothing connects yet, and nothing is written before a forward is switched on.

        Args:
            state_dir: where host keys and tunnel descriptors are.
            clock: the clock of this session.
            owner: ``dashboard``, ``cli`` or ``supervisor``; stands beside our tunnels in every list.
            on_change: called from a thread of a link whenever its state or that of a forward changed.
            limits: how patient links are.
        """
        self._known = KnownHosts(state_dir / "known_hosts")
        self._registry = Registry(state_dir / "tunnels", owner, self._close_requested)
        self._clock = clock
        self._on_change = on_change
        self._limits = limits
        self._acceptor = Acceptor()
        self._lock = threading.Lock()
        self._links: dict[InstanceKey, Link] = {}

    def link(self, instance: Instance) -> Link:
        """The link of an instance: the same object for the same key, aimed at the newest address."""
        with self._lock:
            link = self._links.get(instance.key)
            if link is None:
                link = self._links[instance.key] = Link(
                    instance,
                    self._known,
                    self._clock,
                    acceptor=self._acceptor,
                    limits=self._limits,
                    on_change=self._changed,
                )
                return link
        link.retarget(instance)
        return link

    def peek(self, key: InstanceKey) -> Link | None:
        """The link of that key, if there is one."""
        with self._lock:
            return self._links.get(key)

    def drop(self, key: InstanceKey) -> None:
        """Close the link of an instance and its forwards. Nothing happens if there is none."""
        with self._lock:
            link = self._links.pop(key, None)
        if link is not None:
            link.close()
            self._publish()

    def forget(self, key: InstanceKey) -> None:
        """The instance is gone for good: close its link, and drop its host key."""
        self.drop(key)
        self._known.forget(alias(key))

    def tunnels(self) -> tuple[Tunnel, ...]:
        """Forwards held by this process."""
        with self._lock:
            links = list(self._links.values())
        return tuple(self._registry.describe(link, forward) for link in links for forward in link.forwards)

    def close(self) -> None:
        """Close everything at once; takes as long as the slowest link."""
        with self._lock:
            links, self._links = list(self._links.values()), {}
        threads = [threading.Thread(target=link.close, daemon=True) for link in links]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(3.0)
        self._registry.close()

    def _changed(self, key: InstanceKey) -> None:
        self._publish()
        if self._on_change is not None:
            self._on_change(key)

    def _close_requested(self, request: CloseRequest) -> None:
        with self._lock:
            links = list(self._links.values())
        for link in links:
            for forward in link.forwards:
                if request.fits_key(link.key, forward.remote):
                    forward.close()

    def _publish(self) -> None:
        self._registry.publish(self.tunnels)
