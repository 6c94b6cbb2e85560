"""What is left in accounts that are paid in advance, for `doctor`. Asked side by side; a silent cloud is a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpudash.cli.jsonview import balance_fields
from gpudash.clock import SystemClock
from gpudash.errors import GpudashError

if TYPE_CHECKING:
    from gpudash.config import Account, Config
    from gpudash.model.balance import Balance


def told(config: Config, findings: list[str]) -> list[dict[str, Any]]:
    """The balance of each account that `ls` uses and that has one; what is wrong or short goes into `findings`."""
    from gpudash.providers import registry
    from gpudash.providers.parallel import side_by_side

    known = [account for account in config.selected() if account.provider in registry.names()]
    asked = {account.name: account for account in known if registry.capabilities(account.provider).has_balance}
    found: list[dict[str, Any]] = []
    for name, answer in side_by_side(tuple(asked), lambda name: _balance(asked[name])).items():
        if isinstance(answer, GpudashError):
            findings.append(f"account {name}: {answer}")
            continue
        if answer is None:
            continue
        if answer.is_short:
            findings.append(f"account {name}: {answer}; at zero its cloud stops or deletes what runs, so add credit")
        found.append({"account": name, "text": str(answer)} | balance_fields(answer))
    return found


def _balance(account: Account) -> Balance | None:
    from gpudash.providers import registry
    from gpudash.providers.base import HasBalance

    provider = registry.create(account, SystemClock())
    try:
        return provider.balance() if isinstance(provider, HasBalance) else None
    finally:
        provider.close()
