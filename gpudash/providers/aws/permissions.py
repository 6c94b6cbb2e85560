"""Which calls the account may make, and the least that it needs, ready to paste.

EC2 answers a dry run with *would have succeeded* or *not allowed* and changes nothing, so that is asked first; what has
no dry run is simulated where IAM allows that. What neither can tell is unknown and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpudash.errors import GpudashError
from gpudash.providers.aws import policies, tags
from gpudash.providers.aws.errors import CREDENTIAL_CODES, DENIED_CODES, code_of, translate, translated
from gpudash.providers.aws.simulation import NO_INSTANCE, simulate
from gpudash.providers.base import Check, Examination

if TYPE_CHECKING:
    from gpudash.providers.aws.provider import AwsProvider

QUOTAS = {
    "L-DB2E81BA": "vCPUs of G and VT types, on demand",
    "L-417A185B": "vCPUs of P types, on demand",
    "L-3819A6DF": "vCPUs of G and VT types, spot",
    "L-7212CCBC": "vCPUs of P types, spot",
}


def examine(provider: AwsProvider) -> Examination:
    """Ask everything once, in the first region of the account. Changes nothing."""
    region = provider.regions()[0]
    identity, problem = _identity(provider, region)
    checks: list[Check] = []
    quotas: dict[str, float | None] = {}
    if identity is not None:
        checks = [*_asked(provider, region), *_dry_runs(provider, region)]
        rest = [a for a in _all_actions() if a not in {check.action for check in checks if check.allowed is not None}]
        simulated, why = simulate(provider.clients.quick("iam", region), identity, region, rest)
        checks = [simulated.get(c.action, c) if c.allowed is None else c for c in checks]
        unasked = [action for action in rest if action not in {check.action for check in checks}]
        checks += [simulated.get(action, Check(action, None, "not checked", why)) for action in unasked]
        quotas = {text: _quota(provider, region, code) for code, text in QUOTAS.items()}
    return Examination(
        account=provider.account,
        region=region,
        identity=identity,
        problem=problem,
        checks=tuple(checks),
        quotas=quotas,
    )


def _identity(provider: AwsProvider, region: str) -> tuple[str | None, str | None]:
    try:
        with translated("ask who this is"):
            return str(provider.clients.quick("sts", region).get_caller_identity()["Arn"]), None
    except GpudashError as exc:
        return None, str(exc)


def _asked(provider: AwsProvider, region: str) -> list[Check]:
    """Reads have no better test than reading."""
    ec2, quick = provider.clients.quick("ec2", region), provider.clients.quick
    small = {"MaxResults": 5}
    reads: dict[str, Callable[[], object]] = {
        "ec2:DescribeInstances": lambda: ec2.describe_instances(**small),
        "ec2:DescribeInternetGateways": lambda: ec2.describe_internet_gateways(**small),
        "ec2:DescribeNetworkInterfaces": lambda: ec2.describe_network_interfaces(**small),
        "ec2:DescribeRouteTables": lambda: ec2.describe_route_tables(**small),
        "ec2:DescribeSnapshots": lambda: ec2.describe_snapshots(OwnerIds=["self"], **small),
        "ec2:DescribeSpotInstanceRequests": lambda: ec2.describe_spot_instance_requests(**small),
        "ec2:DescribeVolumes": lambda: ec2.describe_volumes(**small),
        "ec2:DescribeAddresses": lambda: ec2.describe_addresses(),
        "ec2:DescribeImages": lambda: ec2.describe_images(Owners=["self"]),
        "ec2:DescribeInstanceTypes": lambda: ec2.describe_instance_types(
            Filters=[{"Name": "instance-type", "Values": ["g5.xlarge"]}]
        ),
        "ec2:DescribeInstanceTypeOfferings": lambda: ec2.describe_instance_type_offerings(
            Filters=[{"Name": "instance-type", "Values": ["g5.xlarge"]}]
        ),
        "ec2:DescribeKeyPairs": lambda: ec2.describe_key_pairs(),
        "ec2:DescribeRegions": lambda: ec2.describe_regions(),
        "ec2:DescribeSecurityGroups": lambda: ec2.describe_security_groups(**small),
        "ec2:DescribeSubnets": lambda: ec2.describe_subnets(**small),
        "ec2:DescribeVpcs": lambda: ec2.describe_vpcs(**small),
        "ec2:DescribeTags": lambda: ec2.describe_tags(**small),
        "ec2:DescribeSpotPriceHistory": lambda: ec2.describe_spot_price_history(
            InstanceTypes=["g5.xlarge"], ProductDescriptions=["Linux/UNIX"], **small
        ),
        "ssm:GetParameter": lambda: quick("ssm", region).get_parameter(
            Name="/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
        ),
        "pricing:GetProducts": lambda: quick("pricing", "us-east-1").get_products(
            ServiceCode="AmazonEC2", MaxResults=1
        ),
        "servicequotas:GetServiceQuota": lambda: _read_quota(provider, region, next(iter(QUOTAS))),
        "iam:GetInstanceProfile": lambda: quick("iam", region).get_instance_profile(InstanceProfileName=policies.ROLE),
    }
    return [_check(action, "asked", call) for action, call in reads.items()]


def _dry_runs(provider: AwsProvider, region: str) -> list[Check]:
    """Changes that EC2 rehearses. What has no faithful rehearsal (CreateVpc) is simulated."""
    ec2 = provider.clients.quick("ec2", region)
    instance = _some_managed_instance(ec2) or NO_INSTANCE
    image = _some_image(provider, region)
    on = {"InstanceIds": [instance], "DryRun": True}
    marks = [{"Key": tags.MANAGED, "Value": "true"}]
    dry_runs: dict[str, Callable[[], object]] = {
        "ec2:StartInstances": lambda: ec2.start_instances(**on),
        "ec2:StopInstances": lambda: ec2.stop_instances(**on),
        "ec2:TerminateInstances": lambda: ec2.terminate_instances(**on),
        "ec2:CreateTags": lambda: ec2.create_tags(Resources=[instance], Tags=marks, DryRun=True),
        "ec2:CreateSecurityGroup": lambda: ec2.create_security_group(
            GroupName="gpudash-doctor", Description="dry run", DryRun=True
        ),
        "ec2:ImportKeyPair": lambda: ec2.import_key_pair(
            KeyName="gpudash-doctor", PublicKeyMaterial=b"ssh-ed25519 AAAA", DryRun=True
        ),
    }
    if image is not None:
        dry_runs["ec2:RunInstances"] = lambda: ec2.run_instances(
            ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, DryRun=True
        )
    return [_check(action, "dry run", call) for action, call in dry_runs.items()]


def _check(action: str, how: str, call: Callable[[], object]) -> Check:
    try:
        call()
    except Exception as exc:
        code = code_of(exc)
        error = translate(exc, f"call {action}")
        if error is None:
            raise
        if code in {"DryRunOperation", "NoSuchEntity"}:
            return Check(action, True, how)
        if code in DENIED_CODES | CREDENTIAL_CODES:
            return Check(action, False, how, error.text)
        return Check(action, None, how, error.text)
    return Check(action, True, how)


def _some_managed_instance(ec2: Any) -> str | None:
    try:
        with translated("look for an instance"):
            found = ec2.describe_instances(
                Filters=[
                    {"Name": f"tag:{tags.MANAGED}", "Values": ["true"]},
                    {"Name": "instance-state-name", "Values": ["running", "stopped"]},
                ]
            )["Reservations"]
    except GpudashError:
        return None
    return str(found[0]["Instances"][0]["InstanceId"]) if found else None


def _some_image(provider: AwsProvider, region: str) -> str | None:
    path = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    try:
        with translated("look for an image"):
            return str(provider.clients.quick("ssm", region).get_parameter(Name=path)["Parameter"]["Value"])
    except GpudashError:
        return None


def _all_actions() -> list[str]:
    found: list[str] = []
    for statement in policies.person_policy()["Statement"]:
        found += [action for action in statement["Action"] if action not in found]
    return found


def _quota(provider: AwsProvider, region: str, code: str) -> float | None:
    try:
        with translated("read a quota"):
            return _read_quota(provider, region, code)
    except GpudashError:
        return None


def _read_quota(provider: AwsProvider, region: str, code: str) -> float:
    answer = provider.clients.quick("service-quotas", region).get_service_quota(ServiceCode="ec2", QuotaCode=code)
    return float(answer["Quota"]["Value"])
