"""Prices: live, cached with their age, from the table, or unknown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.aws_cloud import PRICES, REGION, AwsCloud, Http, no_answer, price_row, says

from gpudash.clock import ManualClock
from gpudash.model.money import Price
from gpudash.providers.aws.prices import PriceBook, Volume, list_prices, newest_spot, total

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def book(tmp_path: Path) -> PriceBook:
    return PriceBook(tmp_path / "prices.json", ManualClock(NOON))


def test_without_the_api_the_table_answers_for_its_own_region_only(book: PriceBook) -> None:
    """An estimate with its date there, unknown elsewhere."""
    assert book.on_demand("us-east-1", "g5.xlarge") == Price(Decimal("1.006"), "table 2026-01-21", estimated=True)
    assert book.on_demand("eu-west-1", "g5.xlarge") is None
    assert book.on_demand("us-east-1", "g99.huge") is None


def test_gp3_beyond_what_is_included(book: PriceBook) -> None:
    """200 GB is 16 a month; more operations and more throughput cost extra."""
    plain = book.volume("us-east-1", Volume("v", 200, "gp3", 3000, 125))
    fast = book.volume("us-east-1", Volume("v", 200, "gp3", 4000, 225))
    assert plain is not None
    assert fast is not None
    assert plain.usd_per_hour * 730 == pytest.approx(Decimal(16))
    assert fast.usd_per_hour * 730 == pytest.approx(Decimal(16) + 5 + 4)


def test_a_disk_kind_without_a_price_is_unknown(book: PriceBook) -> None:
    """Never zero."""
    assert book.volume("us-east-1", Volume("v", 200, "io2")) is None


def test_a_live_price_is_kept_for_a_day_and_survives_a_restart(cloud: AwsCloud, tmp_path: Path) -> None:
    """One question for the types and one for the disks; a second program asks nothing."""
    clock = ManualClock(NOON)
    book = PriceBook(tmp_path / "p.json", clock)
    for _ in range(3):
        book.refresh_on_demand(cloud.provider.clients, REGION, ["g5.xlarge", "m5.large"])
    assert cloud.wire.count("pricing:GetProducts") == 2
    assert book.on_demand(REGION, "m5.large") == Price(Decimal(PRICES["m5.large"]), "pricing API 2026-03-01")
    asked = [{f["Field"]: f["Value"] for f in call["Filters"]} for call in cloud.wire.sent["pricing:GetProducts"]]
    assert {one["regionCode"] for one in asked} == {REGION}
    assert asked[0].items() >= {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA"}.items()
    again = PriceBook(tmp_path / "p.json", clock)
    again.refresh_on_demand(cloud.provider.clients, REGION, ["m5.large"])
    assert cloud.wire.count("pricing:GetProducts") == 2
    assert again.on_demand(REGION, "m5.large") == book.on_demand(REGION, "m5.large")
    clock.advance(timedelta(hours=25).total_seconds())
    again.refresh_on_demand(cloud.provider.clients, REGION, ["m5.large"])
    assert cloud.wire.count("pricing:GetProducts") == 4


@pytest.mark.parametrize("fault", [says("AccessDeniedException"), no_answer, says("500", status=500)])
def test_a_silent_api_is_left_alone_for_an_hour(cloud: AwsCloud, book: PriceBook, fault: Any) -> None:
    """Nobody waits for prices."""
    with cloud.wire.broken(fault, "pricing:GetProducts"):
        for _ in range(5):
            book.refresh_on_demand(cloud.provider.clients, REGION, ["g5.xlarge"])
        PriceBook(book._file, book._clock).refresh_on_demand(cloud.provider.clients, REGION, ["g5.xlarge"])
    assert cloud.wire.count("pricing:GetProducts") == 1, "the next program does not ask either"
    assert book.on_demand(REGION, "g5.xlarge") == Price(Decimal("1.006"), "table 2026-01-21", estimated=True)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"prices": {"us-east-1": {"x": ["nan?", 3]}}, "left_alone": []}', '{"prices": 7}']
)
def test_a_damaged_cache_is_no_cache(tmp_path: Path, text: str) -> None:
    """It is asked anew."""
    (tmp_path / "p.json").write_text(text)
    assert PriceBook(tmp_path / "p.json", ManualClock(NOON)).on_demand("eu-west-1", "g5.xlarge") is None


def test_rows_without_a_price_tell_nothing() -> None:
    """Reserved and zero rows are mixed into the answer."""
    rows = [price_row("instanceType", "a", "0.0000000000"), price_row("instanceType", "b", "1.5"), {"product": {}}]
    assert list_prices(rows, "instanceType") == {"b": Decimal("1.5")}
    iops = price_row("volumeApiName", "gp3", "0.005", "IOPS-Mo")
    assert list_prices([iops, price_row("volumeApiName", "gp3", "0.08", "GB-Mo"), iops], "volumeApiName") == {
        "gp3": Decimal("0.08")
    }


def test_the_newest_spot_price_of_a_zone_counts() -> None:
    """Whatever the order of the rows."""
    rows = [
        {"InstanceType": "g5.xlarge", "AvailabilityZone": "us-east-1a", "SpotPrice": price, "Timestamp": NOON + when}
        for price, when in (("0.4", timedelta(0)), ("0.5", timedelta(hours=1)), ("0.3", timedelta(hours=-1)))
    ]
    assert newest_spot(REGION, rows) == {(REGION, "g5.xlarge", "us-east-1a"): Decimal("0.5")}


def test_spot_prices_are_asked_once_in_ten_minutes(cloud: AwsCloud, tmp_path: Path) -> None:
    """And carry their moment."""
    clock = ManualClock(NOON)
    book = PriceBook(tmp_path / "p.json", clock)
    for _ in range(3):
        book.refresh_spot(cloud.provider.clients, REGION, ["g5.xlarge"])
    assert cloud.wire.count("ec2:DescribeSpotPriceHistory") == 1
    found = book.spot(REGION, "g5.xlarge", None)
    assert found is not None
    assert (found.source, found.estimated) == ("spot history 2026-03-01 12:00", True)
    clock.advance(601)
    book.refresh_spot(cloud.provider.clients, REGION, ["g5.xlarge"])
    assert cloud.wire.count("ec2:DescribeSpotPriceHistory") == 2


def test_an_instance_pays_the_spot_price_of_its_zone_and_an_offer_shows_the_lowest(
    cloud: AwsCloud, book: PriceBook
) -> None:
    """A zone that was not told has none."""
    rows = [
        {"InstanceType": "g5.xlarge", "AvailabilityZone": f"us-east-1{zone}", "SpotPrice": price, "Timestamp": NOON}
        for zone, price in (("a", "0.5"), ("b", "0.4"))
    ]
    with cloud.wire.broken(lambda *_: (Http(), {"SpotPriceHistory": rows}), "ec2:DescribeSpotPriceHistory"):
        book.refresh_spot(cloud.provider.clients, REGION, ["g5.xlarge"])
    found = [book.spot(REGION, "g5.xlarge", zone) for zone in ("us-east-1a", "us-east-1b", None, "us-east-1c")]
    assert [price and price.usd_per_hour for price in found] == [Decimal("0.5"), Decimal("0.4"), Decimal("0.4"), None]


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    """Half a bill is no bill."""
    one = Price(Decimal(1), "a")
    assert total([one, None]) is None
    assert total([]) is None
    assert total([one, Price(Decimal(2), "b", estimated=True)]) == Price(Decimal(3), "a, b", estimated=True)
