"""JSON as commands print it: one document, readable while it is short, quick to write when it is long."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from gpudash.cli.output import LONG_LIST, dumps


@pytest.mark.parametrize("count", [0, 1, LONG_LIST - 1, LONG_LIST, 3 * LONG_LIST])
def test_any_length_reads_back_the_same(count: int) -> None:
    """Also what has line ends, quotes, no ASCII, money and nothing in it."""
    rows = [{"name": f"a\n{n}", "gpu": '1×H100 "x"', "price": 2.5, "none": None, "in": [{}]} for n in range(count)]
    body = {"as_of": "now\nthen", "rows": rows, "totals": {"usd": 1.25, "deep": {"list": [1, 2]}}, "empty": []}
    assert json.loads(dumps(body)) == body


def test_short_is_indented_and_long_has_a_line_an_item() -> None:
    assert dumps({"a": [1], "usd": Decimal("0.50")}) == '{\n  "a": [\n    1\n  ],\n  "usd": 0.5\n}'
    assert dumps({"a": [{"n": 1}] * LONG_LIST}).count("\n") == LONG_LIST + 3
    assert dumps({}) == "{}"
