"""What the contract tests need of a cloud beside its adapter: orders that fit it, time, and things that go wrong."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

from gpudash.clock import Clock, ManualClock
from gpudash.config import Account
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder
from gpudash.model.policy import Policy
from gpudash.providers import sandbox
from gpudash.providers.base import Provider
from gpudash.providers.sandbox import control
from gpudash.providers.sandbox import record as records
from gpudash.providers.sandbox.layout import HostDir
from support.aws_cloud import aws_cloud
from support.lambda_cloud import lambda_cloud
from support.runpod_cloud import runpod_cloud
from support.vast_cloud import vast_cloud
from support.waiting import eventually

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
"""When contract tests begin."""


class Cloud(Protocol):
    """One cloud under test. A new cloud joins with a class like this and a line in `CLOUDS`."""

    provider: Provider
    region: str

    def again(self) -> Provider:
        """A second adapter of the same account, as another process would make it."""
        ...

    def order(self, **changes: Any) -> LaunchOrder:
        """The cheapest launch, with a token of its own."""
        ...

    def trouble(self, what: str) -> AbstractContextManager[None]:
        """While it lasts: ``lost reply``, ``unreachable``, ``busy``, ``no capacity``, ``empty list``, ``no effect``."""
        ...


def find(cloud: Cloud, key: InstanceKey) -> Instance | None:
    """The instance in a fresh listing."""
    return next((item for item in listing(cloud).items if item.key == key), None)


def listing(cloud: Cloud) -> Listing[Instance]:
    """A fresh listing of the region under test."""
    return cloud.provider.list_instances(cloud.region)


def reach(cloud: Cloud, key: InstanceKey, state: InstanceState) -> Instance:
    """Wait until the instance is listed in that state."""

    def seen() -> Instance | None:
        instance = find(cloud, key)
        return instance if instance is not None and instance.state is state else None

    return eventually(seen, f"{key} becomes {state}")


def ended(cloud: Cloud, key: InstanceKey) -> None:
    """Wait until the cloud shows that it ended: listed as terminated, or absent where ended ones are not listed."""
    if cloud.provider.capabilities.lists_terminated:
        reach(cloud, key, InstanceState.TERMINATED)
    else:
        eventually(lambda: find(cloud, key) is None, f"{key} is gone")


def launched(cloud: Cloud, **changes: Any) -> Instance:
    """A running instance."""
    return reach(cloud, cloud.provider.launch(cloud.order(**changes)), InstanceState.RUNNING)


class SandboxCloud:
    """The sandbox in the state folder of the test."""

    _TROUBLE: ClassVar = {
        "lost reply": "lost-reply",
        "unreachable": "api-down",
        "busy": "rate-limit",
        "no capacity": "no-capacity",
        "empty list": "empty-list",
        "no effect": "no-effect",
    }

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or ManualClock(NOON)
        self.provider: Provider = self.again()
        self.region = "sandbox-east"

    def again(self) -> Provider:
        return sandbox.create(Account("sandbox", "sandbox"), self.clock)

    def order(self, **changes: Any) -> LaunchOrder:
        token = f"test-{secrets.token_hex(6)}"
        given: dict[str, Any] = {
            "token": token,
            "account": "sandbox",
            "region": self.region,
            "instance_type": "1x-t4",
            "name": token,
            "spot": False,
            "policy": Policy(),
        }
        return LaunchOrder(**{**given, **changes})

    @contextmanager
    def trouble(self, what: str) -> Iterator[None]:
        control.set_fault(self._TROUBLE[what], True)
        try:
            yield
        finally:
            control.set_fault(self._TROUBLE[what], False)

    def folder(self, key: InstanceKey) -> HostDir:
        """Where the host lives."""
        return control.sandbox().host(key.id)

    def record(self, key: InstanceKey) -> records.HostRecord:
        """What the sandbox's cloud knows of it."""
        return records.read(self.folder(key))


@contextmanager
def sandbox_cloud(clock: Clock | None = None) -> Iterator[SandboxCloud]:
    """The sandbox for a while; nothing of it is left afterwards."""
    try:
        yield SandboxCloud(clock)
    finally:
        control.reset()


CLOUDS: dict[str, Callable[[], AbstractContextManager[Cloud]]] = {
    "aws": aws_cloud,
    "lambda": lambda_cloud,
    "runpod": runpod_cloud,
    "sandbox": sandbox_cloud,
    "vast": vast_cloud,
}
"""Every cloud that the contract tests run over."""
