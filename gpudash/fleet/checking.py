"""Do these accounts work? Asked live, side by side, each in a lane of its own; changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpudash.clock import Clock
from gpudash.errors import GpudashError
from gpudash.fleet.lanes import Lanes
from gpudash.providers import registry

if TYPE_CHECKING:
    from gpudash.config import Account


@dataclass(frozen=True, slots=True)
class Checked:
    """What one account's cloud answered."""

    works: bool
    instances: int | None = None
    """How many it has; None where that takes more than one question, or it did not answer."""
    problem: str | None = None
    """Why it does not work, with the next step."""


def check_accounts(accounts: Sequence[Account], clock: Clock, timeout_s: float) -> list[Checked]:
    """One answer an account, in their order; who is silent so long does not work."""
    lanes = Lanes()
    try:
        pending = [lanes["check", account.name].submit(_check, account, clock) for account in accounts]
        wait(pending, timeout=timeout_s)
        silent = Checked(False, problem=f"no answer within {timeout_s:g} s")
        return [future.result() if future.done() else silent for future in pending]
    finally:
        lanes.close()


def _check(account: Account, clock: Clock) -> Checked:
    try:
        provider = registry.create(account, clock)
        try:
            regions = provider.regions()
            found = provider.list_instances(regions[0]).items if regions else ()
            return Checked(True, len(found) if len(regions) < 2 else None)
        finally:
            provider.close()
    except GpudashError as exc:
        return Checked(False, problem=str(exc))
