"""Launches on moto: what stands there afterwards, and every way it can go wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import moto_server
from support.aws_cloud import (
    HERE,
    PUBLIC_KEY,
    REGION,
    AwsCloud,
    no_answer,
    no_connection,
    raw_client,
    remove_default_network,
    says,
)
from support.clouds import launched, listing

from gpudash.errors import (
    Ambiguous,
    AuthRefused,
    GpudashError,
    NoCapacity,
    ProviderError,
    RateLimited,
    Unreachable,
    Unsupported,
    UsageError,
)
from gpudash.model.policy import EndAction, Policy
from gpudash.providers import sshkeys
from gpudash.providers.aws.policies import ROLE, instance_policy

LEASED = Policy(lease_deadline=datetime(2026, 3, 1, 16, tzinfo=UTC), idle_timeout=timedelta(minutes=30))
RUN = "ec2:RunInstances"


def described(instance_id: str, region: str = REGION) -> dict[str, Any]:
    found: dict[str, Any] = raw_client("ec2", region).describe_instances(InstanceIds=[instance_id])["Reservations"][0]
    instance: dict[str, Any] = found["Instances"][0]
    return instance


def sent(cloud: AwsCloud) -> dict[str, Any]:
    return cloud.wire.sent[RUN][-1]


def nothing_runs() -> bool:
    return not raw_client("ec2").describe_instances()["Reservations"]


def test_gpu_launch_by_defaults_alone(cloud: AwsCloud) -> None:
    """Image with drivers, the person's key, the default network, SSH from here only, a disk that goes with it."""
    instance = launched(cloud, instance_type="g5.xlarge", policy=LEASED, options={"public_ip": "true"})
    record = described(instance.key.id)
    key = sshkeys.parse_public_key(PUBLIC_KEY, "x")
    assert key is not None
    assert record["KeyName"] == key.name
    group = raw_client("ec2").describe_security_groups(
        GroupIds=[record["NetworkInterfaces"][0]["Groups"][0]["GroupId"]]
    )
    (rule,) = group["SecurityGroups"][0]["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) == (22, 22, "tcp")
    assert [item["CidrIp"] for item in rule["IpRanges"]] == [f"{HERE}/32"]
    assert (instance.gpu, instance.vram_gb, instance.disk_gb) == ("A10G", 24, 100)
    assert instance.tag_policy == LEASED
    assert instance.ssh is not None
    assert instance.ssh.identity_file == str(Path.home() / ".ssh" / "id_ed25519")
    assert sent(cloud)["BlockDeviceMappings"][0]["DeviceName"] == "/dev/xvda"


def test_image_follows_architecture_and_gpu(cloud: AwsCloud) -> None:
    """By the type's data: an ARM type with a GPU, one without."""
    asked = cloud.wire.sent.setdefault("ssm:GetParameter", [])
    cloud.provider.launch(cloud.order(instance_type="g5g.xlarge"))
    cloud.provider.launch(cloud.order(instance_type="t4g.micro"))
    cloud.provider.launch(cloud.order(instance_type="t3.micro"))
    assert [call["Name"].removeprefix("/aws/service/") for call in asked] == [
        "deeplearning/ami/arm64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id",
        "ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
        "ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
    ]


def test_key_is_uploaded_once(cloud: AwsCloud) -> None:
    """Its comment, which often names a person, stays here."""
    cloud.provider.launch(cloud.order())
    cloud.provider.launch(cloud.order())
    assert cloud.wire.count("ec2:ImportKeyPair") == 1
    (pair,) = raw_client("ec2").describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert "somebody" not in pair["PublicKey"]


def test_same_group_for_all_and_the_old_address_goes(cloud: AwsCloud) -> None:
    """This machine moved; where it was nobody of ours is now."""
    cloud.provider.launch(cloud.order())
    moved = cloud.again()
    moved._address_source = lambda: "198.51.100.77"
    moved.launch(cloud.order())
    groups = raw_client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": ["gpudash-ssh"]}])
    (group,) = groups["SecurityGroups"]
    (rule,) = group["IpPermissions"]
    assert [item["CidrIp"] for item in rule["IpRanges"]] == ["198.51.100.77/32"]


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "here", "203.0.113.300"])
def test_ssh_from_everybody_or_nowhere_is_refused(cloud: AwsCloud, text: str) -> None:
    """Before anything is made."""
    with pytest.raises(UsageError, match="ssh_cidr"):
        cloud.provider.launch(cloud.order(options={"ssh_cidr": text}))
    assert nothing_runs()


def test_without_a_default_network_a_small_one_is_made_and_used_again(cloud: AwsCloud) -> None:
    """One network, one subnet, one way out."""
    ec2 = raw_client("ec2")
    remove_default_network(ec2)
    first = described(cloud.provider.launch(cloud.order()).id)
    second = described(cloud.provider.launch(cloud.order()).id)
    assert first["SubnetId"] == second["SubnetId"]
    vpc = ec2.describe_vpcs(VpcIds=[first["VpcId"]])["Vpcs"][0]
    assert {"Key": "gpudash:managed", "Value": "true"} in vpc["Tags"]
    assert len(ec2.describe_internet_gateways()["InternetGateways"]) == 1
    routes = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [first["VpcId"]]}])["RouteTables"][0][
        "Routes"
    ]
    assert "0.0.0.0/0" in {route.get("DestinationCidrBlock") for route in routes}


def test_the_box_gets_a_role_that_ends_only_itself(cloud: AwsCloud) -> None:
    """Made at the first launch, used from the second, attached to the first one when it is armed."""
    first = cloud.provider.launch(cloud.order())
    assert "IamInstanceProfile" not in sent(cloud), "EC2 does not know a profile that was made a moment ago"
    cloud.provider.launch(cloud.order())
    assert sent(cloud)["IamInstanceProfile"] == {"Name": ROLE}
    written = raw_client("iam").get_role_policy(RoleName=ROLE, PolicyName=ROLE)["PolicyDocument"]
    assert written == instance_policy()
    cloud.provider.end_spec(first)
    assert described(first.id)["IamInstanceProfile"]["Arn"].endswith(f"instance-profile/{ROLE}")


def test_without_leave_to_make_a_role_it_launches_all_the_same(cloud: AwsCloud) -> None:
    """A power-off needs no permission."""
    with cloud.wire.broken(says("AccessDenied", status=403), "iam:GetInstanceProfile", "iam:CreateRole"):
        cloud.provider.launch(cloud.order())
    assert "IamInstanceProfile" not in sent(cloud)


def test_a_role_that_may_not_be_handed_over_is_left_out(cloud: AwsCloud) -> None:
    """The refusal was definite, so asking once more doubles nothing."""
    cloud.provider.launch(cloud.order())

    def refuse_profile(_: str, params: dict[str, Any]) -> Any:
        return (
            says("UnauthorizedOperation", status=403)("", {})
            if b"IamInstanceProfile" in str(params["body"]).encode()
            else None
        )

    with cloud.wire.broken(refuse_profile, RUN):
        cloud.provider.launch(cloud.order())
    assert "IamInstanceProfile" not in sent(cloud)
    assert len(listing(cloud).items) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (says("InsufficientInstanceCapacity", status=500), NoCapacity),
        (says("Unsupported"), NoCapacity),
        (says("VcpuLimitExceeded"), NoCapacity),
        (says("SpotMaxPriceTooLow"), NoCapacity),
        (says("MaxSpotInstanceCountExceeded"), NoCapacity),
        (says("UnauthorizedOperation", status=403), AuthRefused),
        (says("ExpiredToken"), AuthRefused),
        (says("RequestLimitExceeded", status=503), RateLimited),
        (says("InvalidBlockDeviceMapping"), ProviderError),
        (says("InvalidAMIID.NotFound"), ProviderError),
        (says("InvalidParameterCombination"), ProviderError),
        (no_connection, Unreachable),
    ],
    ids=[
        "capacity",
        "zone",
        "quota",
        "spot price",
        "spot count",
        "denied",
        "expired",
        "throttled",
        "device",
        "image",
        "combination",
        "no network",
    ],
)
def test_a_definite_no(cloud: AwsCloud, fault: Any, error: type[GpudashError]) -> None:
    """Of exactly that kind, and nothing was launched."""
    cloud.provider.launch(cloud.order())
    with cloud.wire.broken(fault, RUN), pytest.raises(error) as caught:
        cloud.provider.launch(cloud.order())
    assert not isinstance(caught.value, Ambiguous)
    assert len(listing(cloud).items) == 1


@pytest.mark.parametrize("fault", [no_answer, says("InternalError", status=500), says("Unavailable", status=503)])
def test_no_answer_without_effect_is_ambiguous_and_sent_once(cloud: AwsCloud, fault: Any) -> None:
    """The SDK repeats nothing here."""
    order = cloud.order()
    with cloud.wire.broken(fault, RUN), pytest.raises(Ambiguous):
        cloud.provider.launch(order)
    assert cloud.wire.count(RUN) == 1
    assert nothing_runs()


def test_no_answer_with_effect_is_found_by_its_token(cloud: AwsCloud) -> None:
    """Asking again with the same token sends nothing and gives the one that is there."""
    order = cloud.order()
    with cloud.wire.broken(no_answer, RUN, afterwards=True), pytest.raises(Ambiguous):
        cloud.provider.launch(order)
    (found,) = listing(cloud).items
    assert found.launch_token == order.token
    assert cloud.again().launch(order) == found.key
    assert cloud.wire.count(RUN) == 1


def test_what_goes_wrong_before_is_never_ambiguous(cloud: AwsCloud) -> None:
    """A security group that may or may not be there is no instance."""
    with cloud.wire.broken(no_answer, "ec2:CreateSecurityGroup"), pytest.raises(Unreachable) as caught:
        cloud.provider.launch(cloud.order())
    assert not isinstance(caught.value, Ambiguous)
    assert cloud.wire.count(RUN) == 0


def test_zones_are_tried_one_after_another(cloud: AwsCloud) -> None:
    """Each after a definite no, each with a client token of its own."""
    refused: list[str] = []

    def full(_: str, params: dict[str, Any]) -> Any:
        refused.append(params["body"]["NetworkInterface.1.SubnetId"])
        return says("InsufficientInstanceCapacity", status=500)("", {}) if len(refused) < 3 else None

    with cloud.wire.broken(full, RUN):
        cloud.provider.launch(cloud.order())
    assert len(set(refused)) == 3
    assert len({call["ClientToken"] for call in cloud.wire.sent[RUN]}) == 3
    assert len(listing(cloud).items) == 1


def test_a_quota_is_the_same_in_every_zone(cloud: AwsCloud) -> None:
    """One refusal is enough."""
    with cloud.wire.broken(says("VcpuLimitExceeded"), RUN), pytest.raises(NoCapacity, match="L-DB2E81BA"):
        cloud.provider.launch(cloud.order())
    assert cloud.wire.count(RUN) == 1


def test_an_ambiguous_zone_ends_the_search(cloud: AwsCloud) -> None:
    """The next zone could double it."""
    answers = iter([says("InsufficientInstanceCapacity", status=500), no_answer])
    with cloud.wire.broken(lambda *given: next(answers)(*given), RUN), pytest.raises(Ambiguous):
        cloud.provider.launch(cloud.order())
    assert cloud.wire.count(RUN) == 2


def test_a_zone_that_does_not_offer_the_type(cloud: AwsCloud) -> None:
    """Said before anything is asked, with the zones that do."""
    with pytest.raises(NoCapacity, match="us-east-1z does not offer"):
        cloud.provider.launch(cloud.order(instance_type="p5.48xlarge", options={"availability_zone": "us-east-1z"}))
    assert cloud.wire.count(RUN) == 0


def test_gpu_type_that_should_hibernate_is_refused_first(cloud: AwsCloud) -> None:
    """No key, no group, nothing is made."""
    policy = replace(LEASED, idle_action=EndAction.HIBERNATE)
    with pytest.raises(Unsupported, match="cannot hibernate"):
        cloud.provider.launch(cloud.order(instance_type="g5.xlarge", policy=policy))
    assert cloud.wire.count("ec2:ImportKeyPair") == 0


@pytest.mark.parametrize(
    ("ami", "words"),
    [
        ("ami-00000000000000000", "InvalidAMIID.NotFound|does not exist"),
        ("gentoo", "is no image"),
        ("/aws/service/no/such/parameter", "No image was found"),
    ],
)
def test_an_image_that_is_not_there(cloud: AwsCloud, ami: str, words: str) -> None:
    """Said with what to do."""
    with pytest.raises(ProviderError, match=words):
        cloud.provider.launch(cloud.order(options={"ami": ami}))
    assert cloud.wire.count(RUN) == 0


def test_an_image_of_the_other_architecture(cloud: AwsCloud) -> None:
    """EC2 would say so less clearly."""
    arm = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
    with pytest.raises(ProviderError, match=r"is for arm64, m5\.large is x86_64"):
        cloud.provider.launch(cloud.order(options={"ami": arm}))


def test_a_type_with_another_accelerator_needs_an_image_by_name(cloud: AwsCloud) -> None:
    """The deep-learning image has no drivers for it."""
    with pytest.raises(Unsupported, match="no GPU"):
        cloud.provider.launch(cloud.order(instance_type="inf2.xlarge"))


def test_image_by_name_where_the_parameter_is_missing(cloud: AwsCloud) -> None:
    """The newest of Amazon's own."""
    with pytest.raises(ProviderError, match=r"No image was found for g5\.xlarge"):
        cloud.provider.launch(cloud.order(instance_type="g5.xlarge", options={"ami": "nvidia-ubuntu"}))


def test_without_any_key_it_says_how_to_make_one(cloud: AwsCloud) -> None:
    """And makes one when told to."""
    for path in Path.home().glob(".ssh/*"):
        path.unlink()
    with pytest.raises(UsageError, match="ssh-keygen"):
        cloud.provider.launch(cloud.order())
    made = sshkeys.make_key(Path.home() / ".ssh" / "id_ed25519")
    cloud.provider.launch(cloud.order())
    assert sent(cloud)["KeyName"] == made.name


def test_a_key_pair_of_our_name_with_another_key_is_a_mismatch(cloud: AwsCloud) -> None:
    """Launching with it would lock the person out."""
    ours = sshkeys.find_public_key()
    other = sshkeys.make_key(Path.home() / "other")
    raw_client("ec2").import_key_pair(KeyName=ours.name, PublicKeyMaterial=other.text.encode())
    with pytest.raises(ProviderError, match="holds another key"):
        cloud.provider.launch(cloud.order())
    assert cloud.wire.count(RUN) == 0


def test_two_uploads_at_once_are_one(cloud: AwsCloud) -> None:
    """Somebody was faster: the key is there, which was all that was wanted."""
    with cloud.wire.broken(says("InvalidKeyPair.Duplicate"), "ec2:ImportKeyPair"):
        cloud.provider.launch(cloud.order())
    assert len(listing(cloud).items) == 1


@pytest.mark.parametrize("text", ["ecdsa-sha2-nistp256 AAAA x", "ssh-ed25519", "ssh-ed25519 %%% x", ""])
def test_a_file_without_a_key_that_ec2_takes(cloud: AwsCloud, tmp_path: Path, text: str) -> None:
    """Named in the refusal."""
    (tmp_path / "x.pub").write_text(text)
    with pytest.raises(UsageError, match=r"x\.pub"):
        cloud.provider.launch(cloud.order(options={"public_key": str(tmp_path / "x.pub")}))


def test_an_accepted_launch_is_listed_before_ec2_shows_it(cloud: AwsCloud) -> None:
    """EC2 is late by up to a minute; the row must not vanish meanwhile."""
    provider = cloud.again()
    provider._recent.visible_after_s = 60
    key = provider.launch(cloud.order())
    with cloud.trouble("empty list"):
        assert [item.key for item in provider.list_instances(REGION).items] == [key]
        cloud.clock.advance(61)  # type: ignore[attr-defined]
        assert provider.list_instances(REGION).items == ()


def test_a_fresh_instance_that_is_not_found_is_not_gone(cloud: AwsCloud) -> None:
    """A terminate must not take EC2's lateness for the end."""
    provider = cloud.again()
    provider._recent.visible_after_s = 60
    key = provider.launch(cloud.order())
    with cloud.wire.broken(says("InvalidInstanceID.NotFound"), "ec2:DescribeInstances"):
        with pytest.raises(Unreachable, match="a moment ago"):
            provider.terminate(key)
        cloud.clock.advance(61)  # type: ignore[attr-defined]
        provider.terminate(key)


def test_after_a_lost_answer_absence_proves_nothing_yet(cloud: AwsCloud) -> None:
    """For a minute a listing without the token is incomplete."""
    provider = cloud.again()
    provider._recent.visible_after_s = 60
    with cloud.wire.broken(no_answer, RUN), pytest.raises(Ambiguous):
        provider.launch(cloud.order())
    first = provider.list_instances(REGION)
    assert not first.complete
    assert "may show it late" in str(first.problem)
    cloud.clock.advance(61)  # type: ignore[attr-defined]
    assert provider.list_instances(REGION).complete


def test_agent_keys_come_first(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the agent holds can be used without a pass phrase."""
    other = sshkeys.make_key(tmp_path / "held")
    (tmp_path / "ssh-add").write_text(f"#!/bin/sh\necho '{other.kind} {other.blob} held'\n")
    (tmp_path / "ssh-add").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
    assert sshkeys.find_public_key().blob == other.blob


def test_user_data_and_shutdown_arrive(cloud: AwsCloud) -> None:
    """As moto keeps them."""
    key = cloud.provider.launch(cloud.order(options={"user_data": "#!/bin/sh\ntrue\n", "shutdown": "terminate"}))
    ec2 = raw_client("ec2")
    behaviour = ec2.describe_instance_attribute(InstanceId=key.id, Attribute="instanceInitiatedShutdownBehavior")
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    assert moto_server.instance(REGION, key.id).user_data
