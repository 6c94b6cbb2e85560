"""Each test has an AWS account of its own on moto's server. What it asks stands in the least policy, whatever the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.aws_cloud import AwsCloud, aws_cloud, issued

from gpudash.providers.aws.policies import ASKED_WITHOUT, person_policy


@pytest.fixture
def cloud() -> Iterator[AwsCloud]:
    """An empty account with a key of the person's own."""
    with aws_cloud() as found:
        yield found
        allowed = {action for part in person_policy()["Statement"] for action in part["Action"]}
        assert issued(found) - allowed - ASKED_WITHOUT == set(), "a call that no policy allows"
