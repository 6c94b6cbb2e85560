"""Columns share any width, and no cell is wider than its column."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from itertools import pairwise

import pytest
from rich.cells import cell_len

from gpudash.clock import ManualClock
from gpudash.ui import columns
from gpudash.ui.scene import Scene, plain
from gpudash.ui.screens.launch import COLUMNS as OFFER_COLUMNS
from gpudash.ui.synthetic.rows import SyntheticFleet
from gpudash.ui.synthetic.sample import NOW, offers, sample_fleet


@pytest.mark.parametrize("width", range(57, 260, 3))
def test_columns_never_overlap_and_never_leave_the_line(width: int) -> None:
    placed = columns.arrange(columns.FLEET, width)
    for one, other in pairwise(placed):
        assert one.x + one.width < other.x
    assert placed[-1].x + placed[-1].width <= width
    assert {"name", "ends", "price"} <= {place.column.id for place in placed}


@pytest.mark.parametrize("width", [77, 117, 157, 247])
def test_every_cell_fits_its_column_at_every_moment(width: int) -> None:
    """So nothing is cut in mid-word, and a ticking cell does not change its column's width."""
    fleet = sample_fleet()
    for later in (0, 7, 61, 3600, 86_400):
        scene = Scene(NOW + timedelta(seconds=later), UTC)
        for record in fleet.store.records.values():
            for place in columns.arrange(columns.FLEET, width):
                text = plain(place.column.text(record, scene, place.width))
                assert cell_len(text) <= place.width, (place.column.id, text, place.width)


def test_wider_screens_show_more() -> None:
    shown = [len(columns.arrange(columns.FLEET, width)) for width in (77, 117, 157, 247)]
    assert shown == sorted(shown)
    assert shown[0] < shown[-1]


@pytest.mark.parametrize("width", [77, 137])
def test_offers_fit_too(width: int) -> None:
    scene = Scene(NOW, UTC)
    for offer in offers():
        for place in columns.arrange(OFFER_COLUMNS, width):
            if place.column.id not in ("type", "machine", "where"):
                assert cell_len(plain(place.column.text(offer, scene, place.width))) <= place.width


def test_rows_sort_by_the_end_that_they_tell() -> None:
    """The fast sort value and what the row says are one rule, for each sort of end there is."""
    records = [*sample_fleet().store.records.values(), *SyntheticFleet(300, ManualClock(NOW)).store.records.values()]
    guarded = next(r for r in records if r.status is not None and r.ends() is not None)
    assert guarded.status is not None
    notice = replace(guarded.status, ends_why="spot", ends_at=NOW + timedelta(minutes=2))
    parked = replace(guarded.status, idle_remaining_s=900.0, parked_remaining_s=60.0)
    records += [replace(guarded, status=notice, status_at=NOW), replace(guarded, status=parked, status_at=NOW)]
    assert {why for record in records for _, why in [record.ends() or (None, None)]} >= {
        "lease",
        "idle",
        "parked",
        "spot",
    }
    for record in records:
        first = record.ends()
        assert columns.ends_at(record) == (None if first is None else first[0].timestamp())
