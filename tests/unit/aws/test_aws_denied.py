"""Permissions that are missing, call by call: each error names the permission and where to get the policy to paste."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.aws_cloud import REGION, AwsCloud, says
from support.clouds import launched, listing

from gpudash.errors import GpudashError
from gpudash.model.instance import InstanceKey
from gpudash.model.offer import OfferFilter

Deed = Callable[[AwsCloud, InstanceKey], object]
CODES = {"ec2": "UnauthorizedOperation"}
"""What each service says to a call that is not allowed; all others say ``AccessDeniedException``."""


def launch(cloud: AwsCloud, _: InstanceKey) -> object:
    return cloud.again().launch(cloud.order())


def extend(cloud: AwsCloud, key: InstanceKey) -> object:
    return cloud.again().set_tags(key, {"idle-timeout": "45m"})


def clear(cloud: AwsCloud, key: InstanceKey) -> object:
    return cloud.again().set_tags(key, {"idle-timeout": ""})


TABLE: list[tuple[Deed, tuple[str, ...]]] = [
    (lambda cloud, _: cloud.again().list_instances(REGION), ("ec2:DescribeInstances",)),
    (lambda cloud, _: cloud.again().list_offers(OfferFilter(region=REGION)), ("ec2:DescribeInstanceTypes",)),
    (
        lambda cloud, _: cloud.again().list_leftovers(),
        ("ec2:DescribeVolumes", "ec2:DescribeAddresses", "ec2:DescribeTags", "ec2:DescribeSpotInstanceRequests"),
    ),
    (lambda cloud, _: cloud.again().clean_up(REGION), ("ec2:DescribeInstances", "ec2:DescribeTags")),
    (
        launch,
        (
            "ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ssm:GetParameter", "ec2:DescribeImages",
            "ec2:DescribeKeyPairs", "ec2:ImportKeyPair", "ec2:DescribeSubnets", "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeSecurityGroups", "ec2:CreateSecurityGroup", "ec2:AuthorizeSecurityGroupIngress",
            "ec2:RunInstances",
        ),
    ),
    (lambda cloud, key: cloud.again().end_spec(key), ("ec2:DescribeInstanceAttribute",)),
    (extend, ("ec2:CreateTags",)),
    (clear, ("ec2:DeleteTags",)),
    (lambda cloud, key: cloud.again().stop(key), ("ec2:StopInstances",)),
    (lambda cloud, key: cloud.again().start(key), ("ec2:StartInstances",)),
    (lambda cloud, key: cloud.again().terminate(key), ("ec2:TerminateInstances",)),
]  # fmt: skip
"""In the order in which one instance lives; the calls of each in the order in which they are made."""


def test_each_denied_call_names_its_permission_and_the_way_to_the_policy(cloud: AwsCloud) -> None:
    """One by one, and with all of them allowed the same deed is done."""
    for deed, denied in TABLE[:5]:
        for action in denied:
            refused(cloud, InstanceKey("aws", REGION, "i-1"), deed, action)
    assert listing(cloud).items == (), "nothing was launched"
    key = cloud.provider.launch(cloud.order())
    for deed, denied in TABLE[5:]:
        for action in denied:
            refused(cloud, key, deed, action)
        deed(cloud, key)


def refused(cloud: AwsCloud, key: InstanceKey, deed: Deed, action: str) -> None:
    code = CODES.get(action.partition(":")[0], "AccessDeniedException")
    denied = says(code, "You are not authorized to perform this operation.", status=403)
    with cloud.wire.broken(denied, action), pytest.raises(GpudashError) as caught:
        deed(cloud, key)
    assert f"{action} is not allowed; `gpudash doctor` prints the least policy to paste." in str(caught.value), action
    assert code in str(caught.value)


def test_the_permission_is_the_one_that_aws_names(cloud: AwsCloud) -> None:
    """A launch may be denied for what it tags, not for the launch."""
    words = "You are not authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:us-east-1:1:instance/*"
    with (
        cloud.wire.broken(says("UnauthorizedOperation", words, status=403), "ec2:RunInstances"),
        pytest.raises(GpudashError, match="ec2:CreateTags is not allowed; `gpudash doctor`"),
    ):
        launched(cloud)
