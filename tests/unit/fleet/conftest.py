"""A clock that stands still, a cloud in memory and a session over both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import hypothesis  # noqa: F401 - its plugin imports it last thing, and CPython 3.11.7 may fail on that after threads
import pytest
from support.memory_cloud import Cloud, open_session

from gpudash.clock import ManualClock
from gpudash.fleet.session import Session


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 1, 12, 0, tzinfo=UTC))


@pytest.fixture
def cloud(clock: ManualClock) -> Cloud:
    return Cloud(clock)


@pytest.fixture
def session(cloud: Cloud, clock: ManualClock) -> Iterator[Session]:
    with open_session(cloud, clock) as opened:
        yield opened
