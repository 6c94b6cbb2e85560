"""An account at Lambda in tests: the fake server, our adapter over it, and how Lambda says things."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpudash.clock import Clock, ManualClock
from gpudash.config import Account
from gpudash.model.instance import EVERYWHERE
from gpudash.model.offer import LaunchOrder
from gpudash.model.policy import Policy
from gpudash.providers.http import Timeouts
from gpudash.providers.lambda_cloud.provider import LambdaProvider
from support.fault_words import Words
from support.http_cloud import Fault, Reply, page
from support.lambda_server import KEY, FakeLambda, error, no_capacity

KEY_VARIABLE = "LAMBDA_API_KEY"


class LambdaCloud:
    """An account at the fake, seen through our adapter."""

    region = EVERYWHERE

    def __init__(self, clock: Clock | None = None, **settings: Any) -> None:
        from support.clouds import NOON

        self.clock = clock or ManualClock(NOON)
        self.fake = FakeLambda(self.clock)
        self.settings = {"visible_after_s": 0.0, **settings}
        self._made: list[LambdaProvider] = []
        self.provider = self.again()

    @property
    def account(self) -> Account:
        """As the settings have it."""
        return Account("lambda", "lambda", base_url=self.fake.url)

    def again(self, *, url: str | None = None, timeouts: Timeouts | None = None, **account: Any) -> LambdaProvider:
        """Another adapter of the account, or of one at another origin."""
        told = replace(self.account, **{"base_url": url or self.fake.url, **account})
        self._made.append(LambdaProvider(told, self.clock, timeouts=timeouts, **self.settings))
        return self._made[-1]

    def order(self, **changes: Any) -> LaunchOrder:
        """The cheapest machine with a GPU."""
        token = f"test-{secrets.token_hex(6)}"
        given: dict[str, Any] = {
            "token": token,
            "account": "lambda",
            "region": "us-west-1",
            "instance_type": "gpu_1x_a10",
            "name": token,
            "spot": False,
            "policy": Policy(),
        }
        return LaunchOrder(**{**given, **changes})

    @contextmanager
    def trouble(self, what: str) -> Iterator[None]:
        writes = "/instance-operations/"
        busy = error(429, "global/rate-limited", "Too many requests")
        match what:
            case "unreachable":
                with self.fake.refusing():
                    yield
            case "no effect":
                ghost = Fault("ghost", Reply(200, {"data": {"instance_ids": ["0" * 32]}}), path=f"{writes}launch")
                idle = Fault("idle", Reply(200, {"data": {"terminated_instances": []}}), path=f"{writes}terminate")
                with self.fake.fault(ghost), self.fake.fault(idle):
                    yield
            case _:
                with self.fake.fault(
                    {
                        "lost reply": Fault(what, takes_effect=True, wire="drop", path=writes),
                        "busy": Fault(what, Reply(429, busy.body, {"Retry-After": "5"})),
                        "no capacity": Fault(what, no_capacity(), path=f"{writes}launch"),
                        "empty list": Fault(what, Reply(200, {"data": []}), path="/instances$"),
                    }[what]
                ):
                    yield

    def close(self) -> None:
        """End the fake and let go of connections."""
        for provider in self._made:
            provider.close()
        self.fake.close()


@contextmanager
def lambda_cloud(clock: Clock | None = None, **settings: Any) -> Iterator[LambdaCloud]:
    """An account with a key of the person's own, for a while."""
    prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        cloud = LambdaCloud(clock, **settings)
        try:
            yield cloud
        finally:
            cloud.close()


def prepare() -> None:
    """This machine as a person has it: an SSH key in the usual place."""
    ssh = Path.home() / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    if not (ssh / "id_ed25519.pub").exists():
        blob = base64.b64encode(b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00 " + bytes(range(32))).decode()
        (ssh / "id_ed25519.pub").write_text(f"ssh-ed25519 {blob} somebody@example\n")
        (ssh / "id_ed25519").write_text("the private half is never read\n")


def _newer(body: Any) -> Any:
    for record in body["data"]:
        record |= {"status": "hovering", "workspace_id": "1", "gpu_health": {"xid": []}}
    return {**body, "meta": {"page": 1}}


def _sparse(body: Any) -> Any:
    optional = ("name", "ip", "private_ip", "hostname", "jupyter_token", "jupyter_url", "file_system_mounts", "tags",
                "firewall_rulesets", "is_reserved", "actions")  # fmt: skip
    for record in body["data"]:
        for name in optional:
            record.pop(name, None)
    return body


def _garbled(body: Any) -> Any:
    return {"data": [*body["data"], {"status": "active"}]}


def _refusal(status: int) -> Reply:
    codes = {
        401: "global/invalid-api-key", 403: "global/forbidden", 404: "global/object-does-not-exist",
        409: "global/conflict", 500: "global/internal-error",
    }  # fmt: skip
    return error(status, codes.get(status, "global/some-new-code"), "As the test wants it.")


LAMBDA_WORDS = Words(
    key=KEY,
    calls={
        "list": ("GET", "/instances$"),
        "launch": ("POST", "/instance-operations/launch$"),
        "end": ("POST", "/instance-operations/terminate$"),
    },
    refusal=_refusal,
    refused_keys={
        "missing": error(401, "global/invalid-api-key", "API key was missing."),
        "account inactive": error(403, "global/account-inactive", "Your account is inactive."),
        "a web page with 403": page(403),
        "repeated in the answer": error(401, "global/invalid-api-key", f"{KEY} is not valid."),
    },
    no_capacity={
        "insufficient-capacity": no_capacity(),
        "quota-exceeded": error(400, "global/quota-exceeded", "Quota exceeded."),
        "Region does not exist": error(400, "global/invalid-parameters", "Region us-west-1 does not exist"),
    },
    empty=Reply(200, {"data": []}),
    newer=_newer,
    sparse=_sparse,
    garbled=_garbled,
    own={
        "no billing address": ("launch", Fault("x", error(403, "global/invalid-address", "Your billing address."))),
        "400 global/unknown": ("end", Fault("x", error(400, "global/unknown", "Something went wrong."))),
        "yes without an id": ("launch", Fault("x", Reply(200, {"data": {}}), takes_effect=True)),
    },
)
"""How Lambda says things."""
