"""The chosen accounts and their adapters, each made when it is first used, in the lane that uses it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from gpudash.clock import Clock
from gpudash.errors import UsageError
from gpudash.model.capability import Capabilities
from gpudash.model.offer import LaunchOrder
from gpudash.providers import registry
from gpudash.providers.base import Provider

if TYPE_CHECKING:
    from gpudash.config import Config


class Accounts(Mapping[str, Provider]):
    """Adapters by account name. Asking for one may raise `AuthRefused`; the next ask tries again."""

    def __init__(
        self, config: Config, names: Sequence[str], clock: Clock, made: Mapping[str, Provider] | None = None
    ) -> None:
        """`made`: adapters to use as they are; the others are made from the settings."""
        unknown = [name for name in names if name not in config.accounts]
        if unknown:
            known = ", ".join(sorted(config.accounts))
            raise UsageError(f"account {unknown[0]!r} is not configured.", hint=f"There is: {known}.")
        self._config = config
        self._names = tuple(names)
        self._clock = clock
        self._made: dict[str, Provider] = dict(made or {})
        self._locks = {name: threading.Lock() for name in names}

    def __getitem__(self, name: str) -> Provider:
        with self._locks[name]:
            provider = self._made.get(name)
            if provider is None:
                provider = self._made[name] = registry.create(self._config.accounts[name], self._clock)
            return provider

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def capabilities(self, name: str) -> Capabilities:
        """What that account's cloud can do; needs no credentials."""
        made = self._made.get(name)
        return made.capabilities if made else registry.capabilities(self._config.accounts[name].provider)

    def check(self, order: LaunchOrder) -> None:
        """Refuse what that account's cloud would refuse, as far as it can be told without asking; see `registry.check`."""
        registry.check(self.capabilities(order.account).provider, order)

    def read_only(self, name: str) -> bool:
        """The settings forbid any change in that account."""
        account = self._config.accounts.get(name)
        return self._config.defaults.read_only or (account is not None and bool(account.read_only))

    def close(self) -> None:
        """Let go of the connections of those that were used."""
        made, self._made = list(self._made.values()), {}
        for provider in made:
            provider.close()
