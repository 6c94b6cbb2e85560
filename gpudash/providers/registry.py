"""Finds the adapter of a cloud by name and imports it only then. One line a cloud."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from gpudash.errors import ConfigError

if TYPE_CHECKING:
    from gpudash.clock import Clock
    from gpudash.config import Account
    from gpudash.model.capability import Capabilities
    from gpudash.model.offer import LaunchOrder
    from gpudash.providers.base import Examination, Provider

_PACKAGES = {
    "aws": "gpudash.providers.aws",
    "lambda": "gpudash.providers.lambda_cloud",
    "runpod": "gpudash.providers.runpod",
    "sandbox": "gpudash.providers.sandbox",
    "vast": "gpudash.providers.vast",
}
"""Each package offers `CAPABILITIES` without importing an SDK, and `create(account, clock)`; it may offer `check(order)`,
`doctor(account, clock)` and `documents()`."""


def names() -> tuple[str, ...]:
    """Every cloud there is an adapter for."""
    return tuple(_PACKAGES)


def capabilities(provider: str) -> Capabilities:
    """What a cloud can do, without credentials and without its SDK."""
    return cast("Capabilities", import_module(_package(provider)).CAPABILITIES)


def create(account: Account, clock: Clock) -> Provider:
    """The adapter for one account.

    Raises:
        ConfigError: no such cloud.
        AuthRefused: no credentials can be found for it.
    """
    return cast("Provider", import_module(_package(account.provider)).create(account, clock))


def check(provider: str, order: LaunchOrder) -> None:
    """Refuse an order that this cloud would refuse, as far as it can be told without asking. Instant.

    Raises:
        UsageError: an option that there is not, or a senseless value.
        Unsupported: that type cannot do what the order wants.
    """
    package = import_module(_PACKAGES[provider]) if provider in _PACKAGES else None
    if package is not None and hasattr(package, "check"):
        package.check(order)


def examine(account: Account, clock: Clock) -> Examination | None:
    """What the account may do there; None at a cloud whose keys may do everything. Blocking; changes nothing.

    Raises:
        GpudashError: it cannot be asked.
    """
    package = import_module(_package(account.provider))
    return cast("Examination", package.doctor(account, clock)) if hasattr(package, "doctor") else None


def documents(provider: str) -> dict[str, dict[str, Any]]:
    """What to paste at that cloud so that gpudash may do its work and no more; empty where keys have no limits."""
    package = import_module(_package(provider))
    return cast("dict[str, dict[str, Any]]", package.documents()) if hasattr(package, "documents") else {}


def readme_table() -> str:
    """What each cloud can do, as Markdown, made from the same data that dialogs and keys ask."""
    lines = [
        "| cloud | stop | hibernate | spot | limits in tags | launch is idempotent | host key told | polled every |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name in sorted(_PACKAGES):
        can = capabilities(name)
        facts = (
            can.can_stop,
            can.can_hibernate,
            can.has_spot,
            can.has_tags,
            can.has_idempotent_launch,
            can.tells_host_key,
        )
        cells = " | ".join("yes" if fact else "no" for fact in facts)
        lines.append(f"| {name} | {cells} | {can.cadence_s:g} s |")
    return "\n".join(lines) + "\n"


def _package(provider: str) -> str:
    try:
        return _PACKAGES[provider]
    except KeyError:
        known = ", ".join(sorted(_PACKAGES))
        raise ConfigError(f"provider {provider!r} is not known.", hint=f"Use one of: {known}.") from None
