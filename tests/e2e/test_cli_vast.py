"""Vast through the real command line: find, launch from an offer, bid, stop and terminate; the key is told to nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.lambda_cloud import prepare
from support.vast_fake import KEY, FakeVast

from gpudash.clock import SystemClock
from tests.support.cli import Cli


@pytest.fixture
def vast() -> Iterator[FakeVast]:
    """An account at Vast, in real time."""
    fake = FakeVast(SystemClock())
    yield fake
    fake.close()


@pytest.fixture
def cli(tmp_path_factory: pytest.TempPathFactory, vast: FakeVast, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A home with that account and an SSH key."""
    found = Cli(tmp_path_factory.mktemp("vast"))
    monkeypatch.setenv("HOME", str(found.home))
    prepare()
    found.env["VAST_API_KEY"] = KEY
    found.config_file.parent.mkdir(parents=True)
    found.config_file.write_text(
        f'[defaults]\nmax_price_usd_per_hour = 3.0\n[accounts.vast]\nprovider = "vast"\nbase_url = "{vast.url}"\n'
    )
    return found


def test_from_a_search_to_the_end(cli: Cli, vast: FakeVast) -> None:
    """Each step with its proof, as a script would go."""
    found = cli(
        "offers", "--gpu", "4090", "--region", "US", "--reliability", "0.99", "--spot", "--disk", "50", "--json"
    )
    offer, *_ = found.doc["offers"]
    assert (offer["offer_id"], offer["price_usd_per_hour"], offer["verified"]) == ("101", 0.18, True)
    dear = cli("launch", "--name", "dear", "--no-wait", "--yes", "-o", "bid=50", stdin=json.dumps(offer))
    assert (dear.code, "the cap is 3" in dear.err, vast.alive()) == (4, True, set())
    launched = cli("launch", "--name", "train", "--no-wait", "--yes", "--json", stdin=json.dumps(offer))
    assert launched.code == 6, launched
    number = launched.doc["id"]
    assert vast.alive() == {number}
    made = vast.contracts[int(number)]
    assert (made.machine.ask, made.bid, made.body["disk"]) == (101, 0.18, 50)
    assert cli("bid", number, "5").code == 4
    raised = cli("bid", number, "0.25", "--json")
    assert (raised.code, raised.doc["ok"], raised.doc["proved"]) == (0, True, True)
    assert made.bid == 0.25
    row = next(item for item in cli("ls", "--json").doc["instances"] if item["id"] == number)
    assert (row["price_usd_per_hour"], row["spot"], row["name"], row["region"]) == (0.25, True, "train", "US")
    strange = cli("offers", "--region", "RU", "--unverified", "--on-demand", "--json").doc["offers"]
    dry = cli("launch", "--dry-run", "--json", "-o", "disk_gb=70", stdin=json.dumps(strange[0]))
    assert (dry.code, dry.doc["plan"]["options"]["disk_gb"]) == (0, "70")
    assert dry.doc["plan"]["offer"]["offer_id"] == "105"
    named = cli("rename", number, "night", "--json")
    assert (named.code, named.doc["instance"]["name"]) == (0, "night")
    assert (made.label or "").startswith("night [gpudash ")
    vast.increases = [
        {"pending_price_increase_id": 7 + n, "contract_id": made.id, "contract_end_date": 1.9e9,
         "old_gpu_costpersec": 1e-4, "new_gpu_costpersec": 1e-4 * times}
        for n, times in enumerate((2, 100))
    ]  # fmt: skip
    high = cli("increase", "night", "accept", "--yes")
    assert (high.code, "the cap is 3" in high.err, vast.answers) == (4, True, [])
    del vast.increases[1]
    unasked = cli("increase", "night", "accept")
    assert (unasked.code, "$0.3600 → $0.7200/h from 2030-03-17 17:46 UTC" in unasked.err, vast.answers) == (4, True, [])
    taken = cli("increase", "night", "accept", "--yes", "--json")
    assert (taken.code, "$0.7200/h" in taken.doc["detail"], vast.answers) == (0, True, [("accept", made.id)])
    nothing = cli("increase", "night", "reject", "--yes")
    assert (nothing.code, "no higher price" in nothing.err) == (4, True)
    fixed = vast.add(102)
    assert "on demand" in cli("bid", str(fixed.id), "0.25").err
    ended = cli("terminate", number, "--yes", "--json", "--timeout", "60s")
    assert (ended.code, ended.doc["proved"]) == (0, True)
    assert vast.alive() == {str(fixed.id)}
    for answer in (found, launched, raised, ended):
        assert KEY not in answer.out + answer.err
    assert all(KEY.encode() not in path.read_bytes() for path in cli.state.rglob("*") if path.is_file())
