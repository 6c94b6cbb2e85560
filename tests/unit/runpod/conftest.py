"""A RunPod account for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.runpod_cloud import RunpodCloud, runpod_cloud


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    """The account over real HTTP, and its adapter."""
    with runpod_cloud() as found:
        yield found
