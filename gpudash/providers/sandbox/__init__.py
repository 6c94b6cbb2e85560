"""The cloud that is no cloud: every rented machine is a real process on 127.0.0.1, with real SSH, and costs nothing.

`CAPABILITIES` is data and costs no import; the adapter comes with `create`. What a person does to the sandbox as a
whole (up, down, reset, faults) is in `control`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpudash.model.capability import Capabilities, Verb

if TYPE_CHECKING:
    from gpudash.clock import Clock
    from gpudash.config import Account
    from gpudash.providers.sandbox.adapter import SandboxProvider

CAPABILITIES = Capabilities(
    provider="sandbox",
    can_stop=True,
    can_rename=True,
    can_hibernate=False,
    has_spot=True,
    has_tags=True,
    has_idempotent_launch=True,
    lists_terminated=True,
    bills_stopped=True,
    cadence_s=2.0,
    tells_host_key=True,
    why_not={
        Verb.HIBERNATE: "The sandbox cannot keep a host's memory; stop keeps its disk, terminate ends it for good.",
    },
)

TIMEOUT_VARIABLE = "GPUDASH_SANDBOX_TIMEOUT"
"""Seconds a call hangs while the fault ``api-slow`` is on; 5 where it is not set."""


def create(account: Account, clock: Clock) -> SandboxProvider:
    """The adapter for one sandbox account; its state is in the state folder.

    Raises:
        ConfigError: the account names a region that the sandbox does not have.
    """
    from gpudash import paths
    from gpudash.providers.sandbox.adapter import SandboxProvider
    from gpudash.providers.sandbox.layout import Sandbox

    timeout_s = float(os.environ.get(TIMEOUT_VARIABLE) or 5.0)
    place = Sandbox(paths.sandbox_dir())
    return SandboxProvider(account.name, clock, place, regions=account.regions, timeout_s=timeout_s)
