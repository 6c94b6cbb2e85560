"""A fresh ledger under a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_builders import NOON

from gpudash.clock import ManualClock
from gpudash.ledger import Ledger


@pytest.fixture
def clock() -> ManualClock:
    """Noon, standing still."""
    return ManualClock(NOON)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is; neither file nor folder exist yet."""
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def ledger(path: Path, clock: ManualClock) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger.open(path, clock)
    yield opened
    opened.close()
