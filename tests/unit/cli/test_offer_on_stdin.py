"""`launch` reads one JSON offer, in our own form or as truffle prints it."""

import json

import pytest

from gpudash.cli.launching import Wanted, read_offer
from gpudash.errors import UsageError

OURS = {"account": "lambda", "instance_type": "gpu_1x_a10", "region": "us-east-1", "spot": False}
TRUFFLE_SPOT = {
    "instance_type": "g5.xlarge",
    "region": "us-west-2",
    "availability_zone": "us-west-2a",
    "spot_price": 0.41,
    "on_demand_price": 1.006,
}


def test_our_own_offer() -> None:
    """One entry of `offers --json` is enough to launch."""
    assert read_offer(json.dumps(OURS)) == Wanted("gpu_1x_a10", "lambda", "us-east-1", False)


def test_document_with_one_offer() -> None:
    """The whole document of `offers --json` works where it has one offer."""
    assert read_offer(json.dumps({"as_of": "x", "offers": [OURS]})).instance_type == "gpu_1x_a10"


def test_truffle_spot_offer_means_spot() -> None:
    """truffle has no flag of its own; a spot price says that spot was looked for."""
    assert read_offer(json.dumps([TRUFFLE_SPOT])) == Wanted("g5.xlarge", None, "us-west-2", True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "no JSON offer"),
        ("[]", "0 offers"),
        (json.dumps([OURS, OURS]), "2 offers"),
        ("{}", "no instance_type"),
        ("3", "no instance_type"),
        ('{"instance_type": "x", "region": 3}', "region is not a text"),
    ],
)
def test_what_is_no_offer_is_refused(text: str, words: str) -> None:
    """Nothing is guessed: a launch costs money."""
    with pytest.raises(UsageError, match=words):
        read_offer(text)
