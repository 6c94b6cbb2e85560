"""Each test has an AWS account of its own on moto's server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.aws_cloud import AwsCloud, aws_cloud


@pytest.fixture
def cloud() -> Iterator[AwsCloud]:
    """An empty account with a key of the person's own."""
    with aws_cloud() as found:
        yield found
