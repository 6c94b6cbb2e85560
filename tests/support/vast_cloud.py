"""An account at the fake of Vast, seen through our adapter, and how Vast says things on the wire."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from gpudash.clock import Clock, ManualClock
from gpudash.config import Account
from gpudash.model.instance import EVERYWHERE
from gpudash.model.offer import LaunchOrder
from gpudash.model.policy import Policy
from gpudash.providers.http import Timeouts
from gpudash.providers.vast.provider import VastProvider
from support.fault_words import Words
from support.http_cloud import Fault, Reply, changed, page
from support.lambda_cloud import prepare
from support.vast_fake import KEY, FakeVast, bad_key, no_ask, refused

KEY_VARIABLE = "VAST_API_KEY"
_LIST = r"^/api/v1/instances/?$"
_ASKS = r"^/api/v0/asks/\d+/?$"
_ONE = r"^/api/v0/instances/\d+/?$"
_EMPTY = Reply(
    200,
    {
        "success": True,
        "instances_found": 0,
        "total_instances": 0,
        "label_counts": {},
        "next_token": None,
        "instances": [],
    },
)


class VastCloud:
    """One account with a key of the person's own."""

    region = EVERYWHERE

    def __init__(self, clock: Clock | None = None, **settings: Any) -> None:
        from support.clouds import NOON

        self.clock = clock or ManualClock(NOON)
        self.fake = FakeVast(self.clock)
        self.settings = {"visible_after_s": 0.0, **settings}
        self._made: list[VastProvider] = []
        self.provider = self.again()

    @property
    def account(self) -> Account:
        """The account as settings would have it; its key stands in the environment."""
        return Account("vast", "vast", base_url=self.fake.url)

    def again(self, *, url: str | None = None, timeouts: Timeouts | None = None, **account: Any) -> VastProvider:
        """Another adapter of the account, or of one at another origin."""
        told = replace(self.account, **{"base_url": url or self.fake.url, **account})
        self._made.append(VastProvider(told, self.clock, timeouts=timeouts, **self.settings))
        return self._made[-1]

    def order(self, **changes: Any) -> LaunchOrder:
        """The cheapest verified machine with an RTX 4090 in the US."""
        token = f"test-{secrets.token_hex(6)}"
        given: dict[str, Any] = {
            "token": token,
            "account": "vast",
            "region": "US",
            "instance_type": "1x_RTX_4090",
            "name": token,
            "spot": False,
            "policy": Policy(),
        }
        given |= changes
        if given.get("offer") is not None:
            given["options"] = {**given["offer"].options, **given.get("options", {})}
        return LaunchOrder(**given)

    @contextmanager
    def trouble(self, what: str) -> Iterator[None]:
        too_soon = Reply(429, b"API requests too frequent: endpoint threshold=2.0", {"Content-Type": "text/plain"})
        writes = f"{_ASKS}|{_ONE}"
        faults = {
            "lost reply": [Fault(what, takes_effect=True, wire="drop", path=writes)],
            "busy": [Fault(what, too_soon)],
            "no capacity": [Fault(what, no_ask(101), path=_ASKS)],
            "empty list": [Fault(what, _EMPTY, path=_LIST)],
            "no effect": [
                Fault(what, Reply(200, {"success": True, "new_contract": 29_999_999}), path=_ASKS),
                Fault(what, Reply(200, {"success": True}), path=_ONE),
            ],
            "unreachable": [],
        }
        with ExitStack() as stack:
            if what == "unreachable":
                stack.enter_context(self.fake.refusing())
            for fault in faults[what]:
                stack.enter_context(self.fake.fault(fault))
            yield

    def close(self) -> None:
        """End the fake and let go of connections."""
        for provider in self._made:
            provider.close()
        self.fake.close()


@contextmanager
def vast_cloud(clock: Clock | None = None, **settings: Any) -> Iterator[VastCloud]:
    """An account for a while."""
    prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        cloud = VastCloud(clock, **settings)
        try:
            yield cloud
        finally:
            cloud.close()


def _refusal(status: int) -> Reply:
    words = {429: "API requests too frequent"}.get(status, "As the test wants it.")
    return Reply(status, {"success": False, "error": "as_the_test_wants_it", "msg": words})


def _newer(body: Any) -> Any:
    for record in body["instances"]:
        record |= {"actual_status": "hovering", "orbit": {"height": 7}}
    return {**body, "notice": "new"}


def _sparse(body: Any) -> Any:
    return {"instances": [{"id": record["id"], "label": record["label"]} for record in body["instances"]]}


def _garbled(body: Any) -> Any:
    return {**body, "instances": [*body["instances"], {"label": "no id"}]}


def _second_page_fails() -> Fault:
    def answer(whole: Reply) -> Reply:
        seen.append(whole)
        body = json.loads(whole.content)
        return Reply(200, {**body, "next_token": "more"}) if len(seen) == 1 else _refusal(500)

    seen: list[Reply] = []
    return Fault("second page", answer)


def _with_contract(reply: Reply) -> Reply:
    """A no that has made a contract all the same."""
    made = json.loads(reply.content).get("new_contract")
    no = refused("invalid_price", "error 400/3495: bid too low", new_contract=made)
    return Reply(400, no.body)


VAST_WORDS = Words(
    key=KEY,
    calls={"list": ("GET", _LIST), "launch": ("PUT", _ASKS), "end": ("DELETE", _ONE)},
    refusal=_refusal,
    refused_keys={
        "404 auth_error": bad_key(),
        "404 Session expired": Reply(404, {"success": False, "msg": "Session expired. Please log in again."}),
        "403 This action requires login": Reply(403, {"success": False, "msg": "This action requires login."}),
        "a web page with 403": page(403),
        "repeated in the answer": Reply(404, {"success": False, "error": "auth_error", "msg": f"{KEY} is unknown"}),
    },
    no_capacity={
        "410 no_such_ask": no_ask(101),
        "404 no_such_ask": Reply(
            404,
            {"success": False, "error": "invalid_args", "msg": "error 404/3603: no_such_ask Instance type by id 101"},
        ),
    },
    empty=_EMPTY,
    newer=_newer,
    sparse=_sparse,
    garbled=_garbled,
    partial=_second_page_fails(),
    own={
        "success is false in a 200 (list)": (
            "list",
            Fault("no", Reply(200, {"success": False, "error": "internal", "msg": "try later", "instances": []})),
        ),
        "success is false in a 200 (launch)": ("launch", Fault("no", Reply(200, {"success": False, "msg": "no"}))),
        "success is false in a 200 (end)": ("end", Fault("no", Reply(200, {"success": False, "msg": "no"}))),
        "429 in plain words": (
            "list",
            Fault(
                "429", Reply(429, b"API requests too frequent: endpoint threshold=1.0", {"Content-Type": "text/plain"})
            ),
        ),
        "a no that made a contract": ("launch", Fault("contract", _with_contract)),
        "no credit": ("launch", Fault("credit", refused("insufficient_credit", "Your account lacks credit."))),
        "483": ("end", Fault("483", Reply(483, {"success": False, "error": "invalid_args", "msg": "Invalid json"}))),
        "yes without an id": ("launch", Fault("x", Reply(200, {"success": True}), takes_effect=True)),
        "fewer than it counts": ("list", Fault("count", changed(lambda body: {**body, "total_instances": 9}))),
    },
)
"""How Vast says things."""
