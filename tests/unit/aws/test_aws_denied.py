"""Permissions that are missing, call by call: each error names the permission and where to get the policy to paste.

What a listing or a launch can do without is done without, and said. `COVERED` is the whole of it: it equals the least
policy, no call leaves any test of this folder that is not in that policy (see conftest), and a denial that was never
met fails here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from support.aws_cloud import REGION, AwsCloud, Http, issued, on_wire, raw_client, refusal, remove_default_network, says
from support.clouds import launched, listing, reach

from gpudash.errors import AuthRefused, GpudashError
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.offer import OfferFilter
from gpudash.providers.aws import policies
from gpudash.providers.aws.permissions import QUOTAS, examine
from gpudash.providers.aws.regions import DEFAULT_REGIONS

Deed = Callable[[AwsCloud, InstanceKey], object]
CODES = {"ec2": "UnauthorizedOperation", "iam": "AccessDenied", "sts": "AccessDenied"}
"""What each service says to a call that is not allowed; all others say ``AccessDeniedException``."""
ELSEWHERE = "198.51.100.9/32"


def launch(cloud: AwsCloud, _: InstanceKey) -> object:
    return cloud.again().launch(cloud.order())


def launch_elsewhere(cloud: AwsCloud, _: InstanceKey) -> object:
    """The group is there already, and lets in an address that this machine has no more."""
    return cloud.again().launch(cloud.order(options={"ssh_cidr": ELSEWHERE}))


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
    (
        launch,
        (
            "ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ssm:GetParameter", "ec2:DescribeImages",
            "ec2:DescribeKeyPairs", "ec2:ImportKeyPair", "ec2:DescribeSubnets", "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeSecurityGroups", "ec2:CreateSecurityGroup", "ec2:AuthorizeSecurityGroupIngress",
            "ec2:RunInstances",
        ),
    ),
    (
        launch_elsewhere,
        ("ec2:CreateTags", "ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"),
    ),
    (lambda cloud, key: cloud.again().end_spec(key), ("ec2:DescribeInstanceAttribute",)),
    (extend, ("ec2:CreateTags",)),
    (clear, ("ec2:DeleteTags",)),
    (lambda cloud, key: cloud.again().stop(key), ("ec2:StopInstances",)),
    (lambda cloud, key: cloud.again().start(key), ("ec2:StartInstances",)),
    (lambda cloud, key: cloud.again().terminate(key), ("ec2:TerminateInstances",)),
]  # fmt: skip
"""In the order in which one instance lives; the calls of each in the order in which they are made."""
BEFORE = 4
"""Rows of it that are done while there is no instance."""
NETWORK = (
    "ec2:CreateVpc", "ec2:ModifyVpcAttribute", "ec2:CreateInternetGateway", "ec2:AttachInternetGateway",
    "ec2:DescribeRouteTables", "ec2:CreateRoute", "ec2:CreateSubnet",
)  # fmt: skip
TAKES_BACK = {
    "ec2:DetachInternetGateway": "internet-gateway",
    "ec2:DeleteInternetGateway": "internet-gateway",
    "ec2:DeleteVpc": "vpc",
}
"""What each, denied as well, leaves of a network that was made by half. (moto deletes one from under its gateway.)"""
CLEAN_UP_READS = (
    "ec2:DescribeTags", "ec2:DescribeInstances", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcs",
    "ec2:DescribeSubnets", "ec2:DescribeInternetGateways", "ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables",
    "ec2:DescribeAddresses", "ec2:DescribeSnapshots",
)  # fmt: skip
LETS_GO = ("ec2:DisassociateAddress", "ec2:DisassociateRouteTable", "ec2:DetachInternetGateway")
"""What comes before three of the deletions."""
DELETES = (
    "ec2:ReleaseAddress", "ec2:DeleteRouteTable", "ec2:DeleteInternetGateway", "ec2:DeleteNetworkInterface",
    "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteVpc",
)  # fmt: skip
EXTRAS = {
    "ec2:DescribeInstanceTypes": "GPU and memory of new instance types are unknown",
    "ec2:DescribeVolumes": "What disks cost is unknown",
    "ec2:DescribeImages": "Who logs in is a guess where no tag says it",
    "pricing:GetProducts": "Prices are those of 2026-01-21, or unknown",
    "ec2:DescribeSpotPriceHistory": "Spot prices are unknown",
}
ROLE = (
    "iam:GetInstanceProfile", "iam:CreateRole", "iam:PutRolePolicy", "iam:CreateInstanceProfile",
    "iam:AddRoleToInstanceProfile",
)  # fmt: skip
HANDS_OVER = ("iam:PassRole", "ec2:AssociateIamInstanceProfile")
SPOT = ("ec2:CancelSpotInstanceRequests", "ec2:DescribeSpotInstanceRequests")
DOCTOR = ("sts:GetCallerIdentity", "iam:SimulatePrincipalPolicy", "servicequotas:GetServiceQuota")
COVERED = {action for _, denied in TABLE for action in denied}.union(
    NETWORK, TAKES_BACK, CLEAN_UP_READS, LETS_GO, DELETES, EXTRAS, ROLE, HANDS_OVER, SPOT, DOCTOR, ["ec2:DescribeRegions"]
)  # fmt: skip


def test_the_least_policy_is_what_is_denied_here() -> None:
    """Both ways; two calls of doctor alone need no permission, or are no one's to be narrowed to."""
    allowed = {action for part in policies.person_policy()["Statement"] for action in part["Action"]}
    assert allowed | policies.ASKED_WITHOUT == COVERED


@contextmanager
def denied(cloud: AwsCloud, *actions: str) -> Iterator[None]:
    """While it lasts each of these calls is refused; each must have been met."""

    def no(name: str, _: dict[str, Any]) -> Any:
        return refusal(CODES.get(name.partition(":")[0], "AccessDeniedException"), f"You may not: {name}.", 403)

    asked = {action: cloud.wire.count(on_wire(action)) for action in actions}
    with cloud.wire.broken(no, *map(on_wire, actions)):
        yield
    assert [action for action in actions if cloud.wire.count(on_wire(action)) == asked[action]] == []


def way_out(action: str) -> str:
    return f"{action} is not allowed; `gpudash doctor` prints the least policy to paste."


def refused(cloud: AwsCloud, key: InstanceKey, deed: Deed, *actions: str) -> None:
    """The error speaks of the first of them."""
    with denied(cloud, *actions), pytest.raises(AuthRefused) as caught:
        deed(cloud, key)
    assert way_out(actions[0]) in str(caught.value)
    assert f"You may not: {actions[0]}." in str(caught.value)


def test_each_denied_call_names_its_permission_and_the_way_to_the_policy(cloud: AwsCloud) -> None:
    """One by one, and with all of them allowed the same deed is done."""
    for deed, actions in TABLE[:BEFORE]:
        for action in actions:
            refused(cloud, InstanceKey("aws", REGION, "i-1"), deed, action)
    assert listing(cloud).items == (), "nothing was launched"
    key = cloud.provider.launch(cloud.order())
    for deed, actions in TABLE[BEFORE:]:
        for action in actions:
            refused(cloud, key, deed, action)
        deed(cloud, key)


def test_a_network_that_may_be_made_by_half_is_taken_back_or_a_leftover(cloud: AwsCloud) -> None:
    """What may not be taken back stands among the leftovers, and goes with a later round."""
    nobody, ec2 = InstanceKey("aws", REGION, "i-1"), raw_client("ec2")
    remove_default_network(ec2)
    for action in NETWORK:
        refused(cloud, nobody, launch, action)
        assert ec2.describe_vpcs()["Vpcs"] == ec2.describe_internet_gateways()["InternetGateways"] == [], action
    for action, left in TAKES_BACK.items():
        refused(cloud, nobody, launch, "ec2:CreateSubnet", action)
        assert [item.kind for item in cloud.again().list_leftovers().items] == [left]
        cloud.clock.advance(601)
        done = cloud.again().clean_up(REGION)
        assert (len(done.deleted), done.failed) == (1, ())
        assert ec2.describe_vpcs()["Vpcs"] == ec2.describe_internet_gateways()["InternetGateways"] == [], action


def leave_everything(cloud: AwsCloud) -> None:
    """An ended instance with a child of every kind that clean-up knows, and a copy that somebody made."""
    ec2, key = raw_client("ec2"), launched(cloud).key

    def marked(kind: str) -> dict[str, Any]:
        marks = [{"Key": "gpudash:managed", "Value": "true"}, {"Key": "gpudash:parent", "Value": key.id}]
        return {"TagSpecifications": [{"ResourceType": kind, "Tags": marks}]}

    address = ec2.allocate_address(Domain="vpc", **marked("elastic-ip"))["AllocationId"]
    ec2.associate_address(AllocationId=address, InstanceId=key.id)
    disk = ec2.describe_volumes()["Volumes"][0]["VolumeId"]
    ec2.create_snapshot(VolumeId=disk, **marked("snapshot"))
    place = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.create_network_interface(SubnetId=place, **marked("network-interface"))
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", **marked("vpc"))["Vpc"]["VpcId"]
    ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc, **marked("security-group"))
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/20", **marked("subnet"))["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway(**marked("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc, **marked("route-table"))["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    cloud.provider.terminate(key)
    reach(cloud, key, InstanceState.TERMINATED)


def test_each_denied_step_of_a_clean_up_is_named_and_what_it_leaves_is_a_leftover(cloud: AwsCloud) -> None:
    """A denied question deletes nothing; a denied deletion stops no other; once allowed, all of it goes."""
    leave_everything(cloud)
    for action in CLEAN_UP_READS:
        refused(cloud, InstanceKey("aws", REGION, "i-1"), lambda cloud, _: cloud.again().clean_up(REGION), action)
    assert not {name for name in issued(cloud) if name in DELETES}
    for actions in (DELETES[3:] + LETS_GO, DELETES):
        with denied(cloud, *actions):
            done = cloud.again().clean_up(REGION)
        assert (done.deleted, len(done.failed)) == ((), 8), "its children, and the group it shared"
        told = [action for action in actions for _, why in done.failed if way_out(action) in why]
        assert set(told) == set(actions)
        assert {identity for identity, _ in done.failed} <= {item.id for item in cloud.again().list_leftovers().items}
    assert cloud.again().clean_up(REGION).failed == ()
    assert [item.kind for item in cloud.again().list_leftovers().items] == ["snapshot"]


def fresh(cloud: AwsCloud, name: str) -> Any:
    """The adapter of an account that has learned nothing yet."""
    cloud.account = replace(cloud.account, name=name.replace(":", "-"))
    return cloud.again()


def test_what_a_listing_may_not_ask_is_unknown_and_said(cloud: AwsCloud) -> None:
    """All instances are there, the answer is whole, and the reason stands in it, also for who asks again."""
    cloud.provider.launch(cloud.order())
    cloud.provider.launch(cloud.order(spot=True))
    whole = fresh(cloud, "allowed").list_instances(REGION)
    assert whole.lacks == ()
    for action, words in EXTRAS.items():
        provider = fresh(cloud, action)
        with denied(cloud, action):
            told = provider.list_instances(REGION)
        assert (told.complete, len(told.items)) == (True, 2)
        assert told.lacks == (f"{words}: {way_out(action)}",)
        assert told.trouble == told.lacks[0]
        unknown = UNKNOWN.get(action)
        if unknown is not None:
            assert (unknown(told.items), unknown(whole.items)) == (True, False), action
        assert provider.list_instances(REGION).lacks == told.lacks, "while it rests"
        cloud.clock.advance(3601)
        assert provider.list_instances(REGION).lacks == (), "asked again"


def by_kind(items: tuple[Instance, ...], *, spot: bool) -> Instance:
    (found,) = (item for item in items if item.spot is spot)
    return found


UNKNOWN: dict[str, Callable[[tuple[Instance, ...]], bool]] = {
    "ec2:DescribeVolumes": lambda items: all(item.storage_price is None for item in items),
    "pricing:GetProducts": lambda items: by_kind(items, spot=False).price is None,
    "ec2:DescribeSpotPriceHistory": lambda items: by_kind(items, spot=True).price is None,
}


def test_offers_say_which_prices_may_not_be_asked(cloud: AwsCloud) -> None:
    """Also the command after, which does not ask within the hour."""
    for action, spot in (("pricing:GetProducts", False), ("ec2:DescribeSpotPriceHistory", True)):
        provider = fresh(cloud, action)
        with denied(cloud, action):
            told = provider.list_offers(OfferFilter(instance_type="m5.large", region=REGION, spot=spot))
        assert (told.complete, told.lacks) == (True, (f"{EXTRAS[action]}: {way_out(action)}",))
        assert [offer.price for offer in told.items] == [None]
        assert (
            cloud.again().list_offers(OfferFilter(instance_type="m5.large", region=REGION, spot=spot)).lacks
            == told.lacks
        )
        assert (
            cloud.again().list_offers(OfferFilter(instance_type="m5.large", region=REGION, spot=not spot)).lacks == ()
        )


def test_regions_that_may_not_be_asked_for_are_said_to_be_missing(cloud: AwsCloud) -> None:
    """What runs in a region that was opted into would bill unseen."""
    cloud.account = replace(cloud.account, regions=())
    provider = cloud.again()
    with denied(cloud, "ec2:DescribeRegions"):
        assert provider.regions() == DEFAULT_REGIONS
    words = f"Regions that the account opted into are not looked at: {way_out('ec2:DescribeRegions')}"
    assert provider.list_instances(REGION).lacks == (words,)
    cloud.clock.advance(86_401)
    assert provider.regions()
    assert provider.list_instances(REGION).lacks == ()


def test_a_launch_goes_on_without_the_role_and_says_why(cloud: AwsCloud) -> None:
    """Every call that makes it, and the right to hand it over, by whatever words EC2 denies that."""
    for action in ROLE:
        provider = cloud.again()
        with denied(cloud, action):
            key = provider.launch(cloud.order())
        assert str(provider.done_without(key)).startswith("It can end itself by power-off alone. Could not ")
        assert str(provider.done_without(key)).endswith(way_out(action))
    provider = cloud.again()
    assert provider.done_without(provider.launch(cloud.order())) is None
    for told in ("", "You are not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/gpudash."):

        def no(_: str, params: dict[str, Any], words: str = told) -> Any:
            is_handed = any(name.startswith("IamInstanceProfile") for name in params["body"])
            return refusal("UnauthorizedOperation", words, 403) if is_handed else None

        with cloud.wire.broken(no, "ec2:RunInstances"):
            key = provider.launch(cloud.order())
        assert str(provider.done_without(key)).endswith(way_out("iam:PassRole"))


def test_a_push_without_the_role_says_why_and_forgets_it_once_it_is_there(cloud: AwsCloud) -> None:
    provider = cloud.again()
    key = provider.launch(cloud.order())
    with denied(cloud, "ec2:AssociateIamInstanceProfile"):
        assert "ec2" not in str(provider.end_spec(key).get("terminate"))
    assert str(provider.done_without(key)).endswith(way_out("ec2:AssociateIamInstanceProfile"))
    assert "ec2" in str(provider.end_spec(key).get("terminate"))
    assert provider.done_without(key) is None


@pytest.mark.parametrize("kind", ["persistent", "one-time"])
def test_a_spot_instance_ends_unless_its_request_would_launch_it_anew(cloud: AwsCloud, kind: str) -> None:
    """A one-time request does not, so its instance need not bill on for want of that permission."""

    def with_request(_: str, parsed: dict[str, Any]) -> None:
        for item in [i for r in parsed["Reservations"] for i in r["Instances"]]:
            item["InstanceLifecycle"], item["SpotInstanceRequestId"] = "spot", "sir-12345678"

    row = {"SpotInstanceRequests": [{"SpotInstanceRequestId": "sir-12345678", "Type": kind}]}
    key, provider = cloud.provider.launch(cloud.order(spot=True)), cloud.again()
    with (
        cloud.wire.broken(with_request, "ec2:DescribeInstances", afterwards=True),
        cloud.wire.broken(lambda *_: (Http(), row), "ec2:DescribeSpotInstanceRequests"),
        denied(cloud, "ec2:CancelSpotInstanceRequests"),
    ):
        if kind == "one-time":
            provider.terminate(key)
            reach(cloud, key, InstanceState.TERMINATED)
            return
        with pytest.raises(AuthRefused) as caught:
            provider.terminate(key)
        assert way_out("ec2:CancelSpotInstanceRequests") in str(caught.value)
        with denied(cloud, "ec2:DescribeSpotInstanceRequests"):
            provider.stop(key)
        reach(cloud, key, InstanceState.STOPPED)


def test_doctor_says_what_it_could_not_learn_and_why(cloud: AwsCloud) -> None:
    """Who asks, what is simulated, and the quotas."""
    with denied(cloud, "sts:GetCallerIdentity"):
        report = examine(cloud.again())
    assert (report.identity, report.checks) == (None, ())
    assert "AccessDenied" in str(report.problem)
    with denied(cloud, "iam:SimulatePrincipalPolicy", "servicequotas:GetServiceQuota"):
        report = examine(cloud.again())
    assert report.missing == ("servicequotas:GetServiceQuota",)
    assert report.quotas == dict.fromkeys(QUOTAS.values())
    (why,) = {check.detail for check in report.checks if check.how == "not checked"}
    assert "You may not: iam:SimulatePrincipalPolicy." in why


def test_the_permission_is_the_one_that_aws_names(cloud: AwsCloud) -> None:
    """A launch may be denied for what it tags, not for the launch."""
    words = "You are not authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:us-east-1:1:instance/*"
    with (
        cloud.wire.broken(says("UnauthorizedOperation", words, status=403), "ec2:RunInstances"),
        pytest.raises(GpudashError, match="ec2:CreateTags is not allowed; `gpudash doctor`"),
    ):
        launched(cloud)
