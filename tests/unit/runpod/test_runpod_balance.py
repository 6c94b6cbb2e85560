"""The balance of a RunPod account: read by GraphQL, told with how long it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from support.http_cloud import Fault, Reply
from support.runpod_cloud import RunpodCloud, runpod_cloud

from gpudash.clock import SystemClock
from gpudash.config import Config
from gpudash.errors import AuthRefused, ProviderError, Unreachable
from gpudash.fleet.session import Session
from tests.support.cli import Cli


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    """The account over real HTTP."""
    with runpod_cloud() as found:
        yield found


def test_balance_and_runway(cloud: RunpodCloud) -> None:
    """Dollars, and the hours they last at what RunPod itself counts."""
    cloud.fake.add_pod()
    cloud.fake.balance = 8.8
    balance = cloud.provider.balance()
    assert (balance.usd, balance.burn_usd_per_hour, balance.runway) == (
        Decimal("8.8"),
        Decimal("0.44"),
        timedelta(hours=20),
    )
    assert (str(balance), balance.is_short) == ("balance $8.80, 20h left", False)


@pytest.mark.parametrize(
    ("usd", "pods", "words", "is_short"),
    [
        (0.22, 1, "balance $0.22, 30m left", True),
        (0.0, 1, "balance $0.00, nothing left", True),
        (-1.5, 1, "balance -$1.50, nothing left", True),
        (5.0, 0, "balance $5.00", False),
        (0.0, 0, "balance $0.00", True),
    ],
)
def test_a_balance_that_ends_within_a_night_is_urgent(
    cloud: RunpodCloud, usd: float, pods: int, words: str, is_short: bool
) -> None:
    """At zero RunPod stops or deletes what runs; the word stands beside the account's name."""
    for _ in range(pods):
        cloud.fake.add_pod()
    cloud.fake.balance = usd
    with Session.open(Config(accounts={"runpod": cloud.account}), actor="cli", clock=cloud.clock) as session:
        session.take_balances(session.ask_balances(), 10)
        note = session.store.notes["runpod", "balance"]
    assert (note.text, note.is_urgent) == (words, is_short)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"errors": [{"message": "Something went wrong"}], "data": None}, ProviderError),
        ({"errors": [{"message": "Unauthorized"}]}, AuthRefused),
        ({"data": {"myself": None}}, Unreachable),
        ({"data": {"myself": {"clientBalance": "much"}}}, Unreachable),
    ],
)
def test_a_no_inside_a_200(cloud: RunpodCloud, body: object, kind: type[Exception]) -> None:
    """GraphQL refuses with status 200, and an answer without the figure is none."""
    with cloud.fake.fault(Fault("odd", Reply(200, body), path="graphql")), pytest.raises(kind):
        cloud.provider.balance()


def test_ls_tells_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Under the table, and in the account's JSON; without GraphQL the list is there all the same."""
    with runpod_cloud(SystemClock()) as cloud:
        cloud.fake.add_pod()
        cloud.fake.balance = 8.8
        cli = Cli(tmp_path_factory.mktemp("balance"))
        cli.config(f'[accounts.runpod]\napi_key_env = "RUNPOD_TEST_KEY"\nbase_url = "{cloud.fake.url}"\n')
        assert "runpod: balance $8.80, 20h left" in cli("ls").out
        (account,) = cli.ok("ls")["providers"]
        assert (account["balance_usd"], account["runway_s"]) == (8.8, 72000)
        with cloud.fake.fault(Fault("gone", Reply(410, {"error": "gone"}), path="graphql")):
            answer = cli("ls", "--json")
        assert answer.code == 0
        assert "balance_usd" not in answer.doc["providers"][0]
