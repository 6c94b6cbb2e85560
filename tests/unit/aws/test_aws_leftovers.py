"""What bills without a running instance, and taking away what ended instances left."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from support import moto_server
from support.aws_cloud import REGION, AwsCloud, linux_image, raw_client, remove_default_network, says
from support.clouds import NOON, launched, reach

from gpudash.clock import ManualClock
from gpudash.errors import AuthRefused, NoCapacity, Unreachable, UsageError
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.providers.aws.cleanup import CleanUp


def marked(kind: str, parent: str | None, **more: str) -> list[dict[str, Any]]:
    marks = {"gpudash:managed": "true", **({"gpudash:parent": parent} if parent else {}), **more}
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in marks.items()]}]


def volume(parent: str | None = None, **more: Any) -> str:
    given = {"AvailabilityZone": f"{REGION}a", "Size": 100, "VolumeType": "gp3", **more}
    if parent:
        given["TagSpecifications"] = marked("volume", parent)
    return str(raw_client("ec2").create_volume(**given)["VolumeId"])


def interface(parent: str) -> str:
    ec2 = raw_client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    made = ec2.create_network_interface(SubnetId=subnet, TagSpecifications=marked("network-interface", parent))
    return str(made["NetworkInterface"]["NetworkInterfaceId"])


def kinds(cloud: AwsCloud) -> dict[str, str]:
    return {item.id: item.kind for item in cloud.provider.list_leftovers().items}


def ended(cloud: AwsCloud) -> InstanceKey:
    instance = launched(cloud)
    cloud.provider.terminate(instance.key)
    reach(cloud, instance.key, InstanceState.TERMINATED)
    return instance.key


def gone(cloud: AwsCloud) -> CleanUp:
    return cloud.provider.clean_up(REGION)


def test_free_volumes_and_idle_addresses_with_their_cost(cloud: AwsCloud) -> None:
    """Also those that nobody of ours made."""
    disk = volume()
    address = raw_client("ec2").allocate_address(Domain="vpc")["AllocationId"]
    found = {item.id: item for item in cloud.provider.list_leftovers().items}
    assert {item.kind for item in found.values()} == {"volume", "address"}
    assert found[disk].size_gb == 100
    assert found[disk].price is not None
    assert found[disk].price.usd_per_hour * 730 == pytest.approx(Decimal(8))
    assert found[address].price is not None
    assert found[address].price.usd_per_hour == Decimal("0.005")


def test_what_a_running_instance_uses_is_no_leftover(cloud: AwsCloud) -> None:
    """It stands in the instance's own row."""
    launched(cloud)
    assert kinds(cloud) == {}


def test_child_without_a_parent_is_a_leftover(cloud: AwsCloud) -> None:
    """Also where it costs nothing, as does the group that nobody shares any more."""
    key = ended(cloud)
    card = interface(key.id)
    assert sorted(kinds(cloud).values()) == ["network-interface", "security-group"]
    assert card in kinds(cloud)
    launched(cloud)
    assert kinds(cloud) == {card: "network-interface"}, "shared again"


def test_leftovers_of_a_region_that_fails_are_not_none() -> None:
    """The listing says that it is not whole, and of which region."""
    with_two = account_with("us-east-1", "eu-west-1")
    with with_two as cloud:
        volume()
        denied = says("UnauthorizedOperation", status=403)

        def deny(model: Any, context: Any, **_: Any) -> Any:
            return denied("", {}) if context["client_region"] == "eu-west-1" else None

        cloud.provider.clients.read("ec2", "eu-west-1").meta.events.register_first(
            "before-call.ec2.DescribeVolumes", deny
        )
        found = cloud.provider.list_leftovers()
        assert (len(found.items), found.complete) == (1, False)
        assert "eu-west-1" in str(found.problem)
        with cloud.wire.broken(denied, "ec2:DescribeAddresses"), pytest.raises(AuthRefused):
            cloud.provider.list_leftovers()


def account_with(*regions: str) -> Any:
    from support.aws_cloud import aws_cloud

    return aws_cloud(ManualClock(NOON), regions=regions)


def test_children_go_in_order_and_the_shared_group_with_the_last_instance(cloud: AwsCloud) -> None:
    """Network made for the children included; nothing is left."""
    key = ended(cloud)
    ec2 = raw_client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=marked("vpc", key.id))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24", TagSpecifications=marked("subnet", key.id))
    gateway = ec2.create_internet_gateway(TagSpecifications=marked("internet-gateway", key.id))
    gateway_id = gateway["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=marked("route-table", key.id))["RouteTable"]
    ec2.associate_route_table(RouteTableId=table["RouteTableId"], SubnetId=subnet["Subnet"]["SubnetId"])
    card = interface(key.id)
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=marked("elastic-ip", key.id))["AllocationId"]
    done = gone(cloud)
    assert done.failed == ()
    assert done.deleted[:2] == (address, card)
    assert done.deleted[-1] == vpc
    assert {table["RouteTableId"], subnet["Subnet"]["SubnetId"], gateway_id} <= set(done.deleted)
    assert kinds(cloud) == {}
    assert not ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["gpudash-ssh"]}])[
        "SecurityGroups"
    ]
    assert ec2.describe_key_pairs()["KeyPairs"], "the person's key stays"
    assert gone(cloud) == CleanUp((), ())


def test_children_of_a_living_parent_stay(cloud: AwsCloud) -> None:
    """Running or stopped."""
    instance = launched(cloud)
    card = interface(instance.key.id)
    assert gone(cloud).deleted == ()
    cloud.provider.stop(instance.key)
    assert gone(cloud).deleted == ()
    cloud.provider.terminate(instance.key)
    assert card in gone(cloud).deleted


def test_only_what_we_made_goes(cloud: AwsCloud) -> None:
    """A parent tag alone may be somebody's own book-keeping."""
    key = ended(cloud)
    ec2 = raw_client("ec2")
    theirs, pooled, untagged = (ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(3))
    ec2.create_tags(Resources=[theirs], Tags=[{"Key": "gpudash:parent", "Value": key.id}])
    ec2.create_tags(Resources=[pooled], Tags=marked("", "pool-7")[0]["Tags"])
    assert set(gone(cloud).deleted) & {theirs, pooled, untagged} == set()
    assert set(kinds(cloud)) == {theirs, pooled, untagged}


def test_clean_up_ends_no_instance_and_takes_nothing_from_one(cloud: AwsCloud) -> None:
    """A child instance ends by an end like every other; until then its disk is nobody's to take."""
    parent = launched(cloud)
    child = launched(cloud, options={"parent": parent.key.id})
    cloud.provider.terminate(parent.key)
    done = gone(cloud)
    assert (done.deleted, done.failed) == ((), ())
    assert reach(cloud, child.key, InstanceState.RUNNING).parent == parent.key.id


def test_a_disk_that_somebody_took_off_is_never_deleted(cloud: AwsCloud) -> None:
    """Once both have ended it is a leftover with its cost, alone or after it was attached elsewhere."""
    parent, other = launched(cloud), launched(cloud)
    ec2 = raw_client("ec2")
    child = launched(cloud, options={"parent": parent.key.id})
    (disk,) = disks_of(child.key)
    cloud.provider.stop(child.key)
    ec2.detach_volume(VolumeId=disk, InstanceId=child.key.id)
    for key in (child.key, parent.key):
        cloud.provider.terminate(key)
        reach(cloud, key, InstanceState.TERMINATED)
    assert disk not in gone(cloud).deleted
    ec2.attach_volume(VolumeId=disk, InstanceId=other.key.id, Device="/dev/sdf")
    gone(cloud)
    assert kinds(cloud) == {}, "in use elsewhere"
    ec2.detach_volume(VolumeId=disk, InstanceId=other.key.id)
    cloud.provider.terminate(other.key)
    reach(cloud, other.key, InstanceState.TERMINATED)
    gone(cloud)
    (left,) = cloud.provider.list_leftovers().items
    assert (left.id, left.kind, left.size_gb) == (disk, "volume", 31)
    assert left.price is not None
    assert {tag["Key"] for tag in ec2.describe_volumes()["Volumes"][0]["Tags"]} > {"gpudash:parent", "gpudash:managed"}


def test_every_disk_goes_with_its_instance_also_those_of_the_image(cloud: AwsCloud) -> None:
    """So nothing is left that nobody set aside."""
    ec2 = raw_client("ec2")
    extra = {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 40, "DeleteOnTermination": False}}
    source = ec2.run_instances(ImageId=linux_image(), InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    image = ec2.create_image(InstanceId=source["InstanceId"], Name="two-disks", BlockDeviceMappings=[extra])["ImageId"]

    def two_disks(_: str, parsed: dict[str, Any]) -> None:
        parsed["Images"][0]["BlockDeviceMappings"].append(extra)

    with cloud.wire.broken(two_disks, "ec2:DescribeImages", afterwards=True):
        key = cloud.provider.launch(cloud.order(options={"ami": image}))
    ec2.terminate_instances(InstanceIds=[source["InstanceId"]])
    assert len(disks_of(key)) == 2
    cloud.provider.terminate(key)
    reach(cloud, key, InstanceState.TERMINATED)
    assert ec2.describe_volumes()["Volumes"] == []


def disks_of(key: InstanceKey) -> list[str]:
    asked = [{"Name": "attachment.instance-id", "Values": [key.id]}]
    return [str(disk["VolumeId"]) for disk in raw_client("ec2").describe_volumes(Filters=asked)["Volumes"]]


def test_a_snapshot_with_our_tags_is_a_copy_that_somebody_made(cloud: AwsCloud) -> None:
    """Backups take over the tags of what they copy. It is shown, at a price that EC2 does not tell, and stays."""
    key, ec2 = ended(cloud), raw_client("ec2")
    copied = ec2.create_snapshot(VolumeId=volume(), TagSpecifications=marked("snapshot", key.id))["SnapshotId"]
    gone(cloud)
    (left,) = (item for item in cloud.provider.list_leftovers().items if item.id == copied)
    assert (left.kind, left.price) == ("snapshot", None)


@pytest.mark.parametrize(
    ("state", "words"), [("unknown", "has no instance"), ("theirs", "not managed"), ("ended", "has ended")]
)
def test_a_parent_that_is_no_living_instance_of_ours_is_refused(cloud: AwsCloud, state: str, words: str) -> None:
    """Before anything is made: a mistyped one would never take its child along, an ended one at once."""
    parent = "i-0a1b2c3d4e5f60718"
    if state == "theirs":
        ec2 = raw_client("ec2")
        made = ec2.run_instances(ImageId=linux_image(), InstanceType="t3.micro", MinCount=1, MaxCount=1)
        parent = made["Instances"][0]["InstanceId"]
    elif state == "ended":
        parent = ended(cloud).id
    asked = cloud.wire.count("ec2:RunInstances")
    with pytest.raises(UsageError, match=words):
        cloud.provider.launch(cloud.order(options={"parent": parent}))
    assert cloud.wire.count("ec2:RunInstances") == asked


def test_a_child_of_a_parent_that_nobody_knows_goes_on(cloud: AwsCloud) -> None:
    """The parent may stand in another region, or be mistyped: what runs is not ended for that."""
    ended(cloud)
    child, unknown = launched(cloud), "i-0a1b2c3d4e5f60718"
    ec2 = raw_client("ec2")
    ec2.create_tags(Resources=[child.key.id], Tags=[{"Key": "gpudash:parent", "Value": unknown}])
    group = ec2.create_security_group(
        GroupName="g", Description="d", TagSpecifications=marked("security-group", unknown)
    )["GroupId"]
    done = gone(cloud)
    assert (done.deleted, done.failed) == ((group,), ()), "only what nobody uses"
    assert reach(cloud, child.key, InstanceState.RUNNING).managed


def test_an_address_that_another_instance_has_by_now_stays_there(cloud: AwsCloud) -> None:
    """It is told, and taken away once that one has ended as well."""
    key, user, ec2 = ended(cloud), launched(cloud), raw_client("ec2")
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=marked("elastic-ip", key.id))["AllocationId"]
    ec2.associate_address(AllocationId=address, InstanceId=user.key.id)
    assert [(what, user.key.id in why) for what, why in gone(cloud).failed] == [(address, True)]
    assert ec2.describe_addresses(AllocationIds=[address])["Addresses"][0]["InstanceId"] == user.key.id
    cloud.provider.terminate(user.key)
    reach(cloud, user.key, InstanceState.TERMINATED)
    assert address in gone(cloud).deleted


def test_what_is_in_use_is_reported_and_tried_again(cloud: AwsCloud) -> None:
    """It stands among the leftovers meanwhile."""
    key = ended(cloud)
    card = interface(key.id)
    with cloud.wire.broken(says("InvalidNetworkInterface.InUse", "eni is in use"), "ec2:DeleteNetworkInterface"):
        first = gone(cloud)
    assert [(what, "InvalidNetworkInterface.InUse" in why) for what, why in first.failed] == [(card, True)]
    assert kinds(cloud) == {card: "network-interface"}
    assert card in gone(cloud).deleted


def test_a_group_that_something_uses_waits(cloud: AwsCloud) -> None:
    """moto would delete it from under an instance."""
    key = ended(cloud)
    ec2 = raw_client("ec2")
    group = ec2.create_security_group(
        GroupName="g", Description="d", TagSpecifications=marked("security-group", key.id)
    )
    user = ec2.run_instances(
        ImageId=linux_image(), InstanceType="t3.micro", MinCount=1, MaxCount=1, SecurityGroupIds=[group["GroupId"]],
        SubnetId=ec2.describe_subnets()["Subnets"][0]["SubnetId"],
    )  # fmt: skip
    assert user["Instances"]
    assert [what for what, _ in gone(cloud).failed] == [group["GroupId"]]


@pytest.mark.parametrize("code", ["InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterface.NotFound"])
def test_what_somebody_else_deleted_is_done(cloud: AwsCloud, code: str) -> None:
    """Whoever sees it first; the second finds nothing."""
    card = interface(ended(cloud).id)
    with cloud.wire.broken(says(code), "ec2:DeleteNetworkInterface"):
        assert card in gone(cloud).deleted


def test_a_denied_look_deletes_nothing(cloud: AwsCloud) -> None:
    """What cannot be seen is not gone."""
    interface(ended(cloud).id)
    with cloud.wire.broken(says("InternalError", status=500), "ec2:DescribeInstances"), pytest.raises(Unreachable):
        gone(cloud)
    assert cloud.wire.count("ec2:DeleteNetworkInterface") == 0


def test_children_of_a_parent_that_ec2_does_not_show_yet_stay(cloud: AwsCloud) -> None:
    """It was launched a moment ago."""
    provider = cloud.again()
    provider._recent.visible_after_s = 60
    key = provider.launch(cloud.order())
    interface(key.id)
    with cloud.trouble("empty list"):
        assert provider.clean_up(REGION).deleted == ()


def test_our_own_network_goes_with_the_last_instance(cloud: AwsCloud) -> None:
    """Not before."""
    ec2 = raw_client("ec2")
    remove_default_network(ec2)
    first, second = launched(cloud), launched(cloud)
    cloud.provider.terminate(first.key)
    assert gone(cloud).deleted == ()
    cloud.provider.terminate(second.key)
    with moto_server.slow_transitions(0.1):
        done = gone(cloud)
    assert done.failed == ()
    assert ec2.describe_vpcs()["Vpcs"] == []
    assert ec2.describe_internet_gateways()["InternetGateways"] == []


def test_what_is_shared_stays_while_any_instance_of_ours_is_there(cloud: AwsCloud) -> None:
    """Also one that has a group of its own: the next launch, or an opening of a port, finds it as it was."""
    ended(cloud)
    own = raw_client("ec2").create_security_group(GroupName="own", Description="d")["GroupId"]
    other = launched(cloud, options={"security_group_id": own})
    assert gone(cloud) == CleanUp((), ())
    cloud.provider.terminate(other.key)
    assert len(gone(cloud).deleted) == 1


def test_what_is_shared_waits_for_a_launch_from_another_machine(cloud: AwsCloud) -> None:
    """Between the group and the instance that uses it there is only the mark that the launch has left at the cloud."""
    ec2 = raw_client("ec2")
    remove_default_network(ec2)
    ended(cloud)
    with (
        cloud.wire.broken(says("InsufficientInstanceCapacity", status=500), "ec2:RunInstances"),
        pytest.raises(NoCapacity),
    ):
        cloud.again().launch(cloud.order())
    done = gone(cloud)
    assert (done.deleted, done.failed, len(done.waiting)) == ((), (), 1)
    cloud.clock.advance(601)
    assert gone(cloud).waiting == ()
    assert ec2.describe_vpcs()["Vpcs"] == []


def test_a_spot_request_that_could_launch_anew_is_a_leftover(cloud: AwsCloud) -> None:
    """An open persistent one without an instance."""
    row = {"SpotInstanceRequestId": "sir-9", "Type": "persistent", "State": "open"}

    def add(_: str, parsed: dict[str, Any]) -> None:
        parsed["SpotInstanceRequests"] = [row, {**row, "SpotInstanceRequestId": "sir-8", "Type": "one-time"}]

    with cloud.wire.broken(add, "ec2:DescribeSpotInstanceRequests", afterwards=True):
        assert kinds(cloud) == {"sir-9": "spot request"}
