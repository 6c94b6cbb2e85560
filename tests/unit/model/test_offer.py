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
