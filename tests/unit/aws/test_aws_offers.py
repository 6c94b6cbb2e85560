"""Offers: what the region has, at which price, and nothing made up."""

from __future__ import annotations

from decimal import Decimal

import pytest
from support.aws_cloud import REGION, AwsCloud, says

from gpudash.errors import AuthRefused
from gpudash.model.offer import OfferFilter

HERE = OfferFilter(region=REGION)


def test_every_gpu_type_on_demand_and_as_spot(cloud: AwsCloud) -> None:
    """Three kinds of question for a whole region, however many types it has."""
    found = cloud.provider.list_offers(HERE)
    assert found.complete
    assert {"g5.xlarge", "p5.48xlarge", "g6f.large"} <= {offer.instance_type for offer in found.items}
    assert all(offer.gpu_count and offer.available is None for offer in found.items)
    assert {name: cloud.wire.count(name) for name, _ in cloud.wire.calls} == {
        "ec2:DescribeInstanceTypes": 1,
        "pricing:GetProducts": 2,
        "ec2:DescribeSpotPriceHistory": 1,
    }


def test_filters_hold(cloud: AwsCloud) -> None:
    """GPU by part of its name, memory, count, price, market."""
    wanted = OfferFilter(gpu="a10", gpus=1, max_price=Decimal("1.01"), region=REGION, spot=False)
    (offer,) = cloud.provider.list_offers(wanted).items
    assert (offer.instance_type, offer.gpu, offer.vram_gb) == ("g5.xlarge", "A10G", 24)
    assert offer.price is not None
    assert offer.price.usd_per_hour == Decimal("1.006")
    assert cloud.wire.count("ec2:DescribeSpotPriceHistory") == 0


def test_an_unknown_price_is_shown_without_one(cloud: AwsCloud) -> None:
    """And never passes a price limit."""
    wanted = OfferFilter(region=REGION, instance_type="g5.48xlarge", spot=False)
    with cloud.wire.broken(says("AccessDeniedException"), "pricing:GetProducts"):
        (known,) = cloud.provider.list_offers(wanted).items
    (offer,) = cloud.again().list_offers(OfferFilter(region=REGION, instance_type="p5e.48xlarge", spot=False)).items
    assert known.price is not None
    assert known.price.estimated
    assert offer.price is None


def test_a_named_type_need_not_have_a_gpu(cloud: AwsCloud) -> None:
    """`launch --type` asks for its price this way."""
    (offer,) = cloud.provider.list_offers(OfferFilter(region=REGION, instance_type="t3.micro", spot=False)).items
    assert (offer.gpu, offer.gpu_count, offer.memory_gb) == ("", 0, 1)


def test_another_account_is_not_asked(cloud: AwsCloud) -> None:
    """Nothing leaves the machine."""
    assert cloud.provider.list_offers(OfferFilter(account="other")).items == ()
    assert cloud.wire.calls == []


def test_denied_is_an_error_and_not_no_offers(cloud: AwsCloud) -> None:
    """Where it is the only region."""
    with (
        cloud.wire.broken(says("UnauthorizedOperation", status=403), "ec2:DescribeInstanceTypes"),
        pytest.raises(AuthRefused),
    ):
        cloud.provider.list_offers(HERE)
