"""The least an account must be allowed: for the person who runs gpudash, and for the boxes it launches. Pure data.

Reads cannot be narrowed to a resource at EC2. What ends or changes an instance is narrowed to instances that carry
our tag, and tags can only be put on what is being made, or on what carries our tag already: without that second rule
anybody could tag a foreign instance and then end it.
"""

from __future__ import annotations

from typing import Any

ROLE = "gpudash-self-end"
"""Name of the instance role and of its profile; one an account, shared by all its boxes."""

_MANAGED = {"StringEquals": {"aws:ResourceTag/gpudash:managed": "true"}}
READS = (
    "ec2:DescribeAddresses", "ec2:DescribeImages", "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes", "ec2:DescribeInstances",
    "ec2:DescribeInternetGateways", "ec2:DescribeKeyPairs", "ec2:DescribeNetworkInterfaces", "ec2:DescribeRegions",
    "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups", "ec2:DescribeSnapshots",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets", "ec2:DescribeTags", "ec2:DescribeVolumes",
    "ec2:DescribeVpcs", "pricing:GetProducts", "servicequotas:GetServiceQuota", "ssm:GetParameter",
)  # fmt: skip
MAKES = (
    "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateSecurityGroup", "ec2:ImportKeyPair",
    "ec2:RevokeSecurityGroupIngress", "ec2:RunInstances",
)  # fmt: skip
MAKES_NETWORK = (
    "ec2:AttachInternetGateway", "ec2:CreateInternetGateway", "ec2:CreateRoute", "ec2:CreateSubnet", "ec2:CreateVpc",
    "ec2:ModifyVpcAttribute",
)  # fmt: skip
ENDS = (
    "ec2:AssociateIamInstanceProfile", "ec2:CancelSpotInstanceRequests", "ec2:StartInstances", "ec2:StopInstances",
    "ec2:TerminateInstances",
)  # fmt: skip
CLEANS = (
    "ec2:DeleteInternetGateway", "ec2:DeleteNetworkInterface", "ec2:DeleteRouteTable", "ec2:DeleteSecurityGroup",
    "ec2:DeleteSubnet", "ec2:DeleteVpc", "ec2:DetachInternetGateway",
    "ec2:DisassociateAddress", "ec2:DisassociateRouteTable", "ec2:ReleaseAddress",
)  # fmt: skip
ASKED_WITHOUT = frozenset({"iam:SimulatePrincipalPolicy", "sts:GetCallerIdentity"})
"""What doctor asks and no policy here grants: the first cannot be narrowed to oneself, the second needs no permission."""
MAKING_CALLS = (
    "RunInstances",
    "CreateSecurityGroup",
    "ImportKeyPair",
    "CreateVpc",
    "CreateSubnet",
    "CreateInternetGateway",
)


def person_policy() -> dict[str, Any]:
    """What the credentials of an account need, ready to paste into IAM."""
    return _policy(
        _allow("Read", READS, "*"),
        _allow("Launch", MAKES, "*"),
        _allow("MakeNetworkWhereThereIsNone", MAKES_NETWORK, "*"),
        _allow(
            "TagWhatIsBeingMade",
            ("ec2:CreateTags",),
            "arn:aws:ec2:*:*:*/*",
            {"StringEquals": {"ec2:CreateAction": list(MAKING_CALLS)}},
        ),
        _allow("TagWhatWeManage", ("ec2:CreateTags", "ec2:DeleteTags"), "arn:aws:ec2:*:*:*/*", _MANAGED),
        _allow("ChangeWhatWeManage", ENDS, "*", _MANAGED),
        _allow("CleanUpWhatWeMade", CLEANS, "*", _MANAGED),
        _allow(
            "InstanceRole",
            (
                "iam:GetInstanceProfile", "iam:CreateInstanceProfile", "iam:AddRoleToInstanceProfile",
                "iam:CreateRole", "iam:PutRolePolicy",
            ),
            [f"arn:aws:iam::*:role/{ROLE}", f"arn:aws:iam::*:instance-profile/{ROLE}"],
        ),
        _allow(
            "HandTheRoleToInstances",
            ("iam:PassRole",),
            f"arn:aws:iam::*:role/{ROLE}",
            {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        ),
    )  # fmt: skip


def instance_policy() -> dict[str, Any]:
    """What a box may do: end itself, and nothing else. Its session is named after its own instance id."""
    condition = {
        "StringLike": {"aws:userid": "*:${ec2:InstanceID}"},
        "StringEquals": {"aws:ResourceTag/gpudash:managed": "true"},
    }
    actions = ("ec2:StopInstances", "ec2:TerminateInstances")
    return _policy(_allow("EndOnlyItself", actions, "arn:aws:ec2:*:*:instance/*", condition))


def trust_policy() -> dict[str, Any]:
    """Only EC2 may hand the role out."""
    statement = _allow("OnlyInstances", ("sts:AssumeRole",), None)
    statement["Principal"] = {"Service": "ec2.amazonaws.com"}
    return _policy(statement)


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(
    sid: str, actions: tuple[str, ...], resource: str | list[str] | None, condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": list(actions)}
    if resource is not None:
        statement["Resource"] = resource
    if condition is not None:
        statement["Condition"] = condition
    return statement
