"""Which offers a person wants."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gpudash.model.money import Price
from gpudash.model.offer import Offer, OfferFilter

OFFER = Offer(
    "lab", "lambda", "gpu_1x_h100", "H100 SXM", 1, 80, "east", Price(Decimal("2.49"), "api"), False, True,
    datetime(2026, 3, 1, tzinfo=UTC),
)  # fmt: skip


@pytest.mark.parametrize(
    "wanted",
    [
        OfferFilter(),
        OfferFilter(gpu="h100"),
        OfferFilter(gpu="SXM"),
        OfferFilter(min_vram_gb=80),
        OfferFilter(gpus=1),
        OfferFilter(max_price=Decimal("2.49")),
        OfferFilter(region="east", account="lab", spot=False, instance_type="gpu_1x_h100"),
    ],
)
def test_accepts(wanted: OfferFilter) -> None:
    """Limits include their own value; None means any."""
    assert wanted.accepts(OFFER)


@pytest.mark.parametrize(
    "wanted",
    [
        OfferFilter(gpu="A100"),
        OfferFilter(min_vram_gb=81),
        OfferFilter(gpus=8),
        OfferFilter(max_price=Decimal("2.48")),
        OfferFilter(region="west"),
        OfferFilter(account="home"),
        OfferFilter(spot=True),
        OfferFilter(instance_type="gpu_8x_h100"),
    ],
)
def test_declines(wanted: OfferFilter) -> None:
    """One unmet wish is enough."""
    assert not wanted.accepts(OFFER)


def test_an_unknown_price_never_passes_a_limit() -> None:
    """Unknown is not cheap."""
    unpriced = replace(OFFER, price=None)
    assert OfferFilter().accepts(unpriced)
    assert not OfferFilter(max_price=Decimal(99)).accepts(unpriced)


HOSTED = replace(
    OFFER,
    id="7",
    storage_price=Price(Decimal("0.02"), "api"),
    cuda=Decimal("12.4"),
    reliability=Decimal("0.991"),
    verified=True,
    down_mbps=900,
    up_mbps=400,
    down_usd_per_gb=Decimal("0.002"),
    up_usd_per_gb=Decimal("0.01"),
    disk_gb=200,
)
"""One machine of one host."""


@pytest.mark.parametrize(
    ("fits", "fails"),
    [
        (OfferFilter(cuda=Decimal("12.4")), OfferFilter(cuda=Decimal("12.6"))),
        (OfferFilter(min_reliability=Decimal("0.99")), OfferFilter(min_reliability=Decimal("0.995"))),
        (OfferFilter(min_down_mbps=900), OfferFilter(min_down_mbps=901)),
        (OfferFilter(min_up_mbps=400), OfferFilter(min_up_mbps=401)),
        (OfferFilter(max_traffic_usd_per_gb=Decimal("0.01")), OfferFilter(max_traffic_usd_per_gb=Decimal("0.009"))),
        (OfferFilter(disk_gb=200), OfferFilter(disk_gb=201)),
        (OfferFilter(regions=("west", "east")), OfferFilter(regions=("west", "north"))),
        (OfferFilter(not_regions=("west",)), OfferFilter(not_regions=("west", "east"))),
        (OfferFilter(max_price=Decimal("2.51")), OfferFilter(max_price=Decimal("2.50"))),
    ],
)
def test_limits_on_hosts(fits: OfferFilter, fails: OfferFilter) -> None:
    """Each limit includes its own value; the price cap counts the disk."""
    assert fits.accepts(HOSTED)
    assert not fails.accepts(HOSTED)


def test_what_an_offer_does_not_tell_passes_no_limit_on_it() -> None:
    """Unknown is not good; only a disk is chosen freely where a cloud names none."""
    for wanted in (
        OfferFilter(cuda=Decimal(1)),
        OfferFilter(min_reliability=Decimal("0.1")),
        OfferFilter(min_down_mbps=1),
        OfferFilter(max_traffic_usd_per_gb=Decimal(9)),
    ):
        assert len(wanted.asks_for) == 1
        assert not wanted.accepts(OFFER)
    assert OfferFilter(disk_gb=500).accepts(OFFER)
    assert OfferFilter(disk_gb=500).asks_for == frozenset()


def test_unverified_hosts_only_when_asked_for() -> None:
    """A host that its cloud has not looked at is no surprise."""
    stranger = replace(HOSTED, verified=False)
    assert not OfferFilter().accepts(stranger)
    assert OfferFilter(with_unverified=True).accepts(stranger)


def test_total_is_with_the_disk() -> None:
    """What an hour costs in all; where the disk is not told, what is known."""
    assert HOSTED.total == Price(Decimal("2.51"), "api")
    assert OFFER.total == OFFER.price
