"""An AWS account on moto, seen through our adapter; what moto lacks or does otherwise is bridged by hooks of the SDK.

| what moto lacks or does otherwise | bridged by |
|---|---|
| pricing:GetProducts: none | `_products`, behind `support.aws_front` too |
| iam:SimulatePrincipalPolicy, servicequotas:GetServiceQuota: none | hooks of the doctor's tests |
| refusals (capacity, quota, spot, denied, throttled …): it never says no | `says`, `Front.refuse` |
| time-outs, lost answers, regions that hang | `no_answer`, `no_connection`; `Front.lost`, `Front.hanging` |
| RunInstances makes no spot request, and is not idempotent by its client token | hooks of the verbs' tests; counted calls |
| spot prices: one figure for all | hooks of the prices' tests |
| transitional states | `moto_server.slow_transitions`, `moto_server.set_state` |
| reasons of a stop: always "a user asked", also for Hibernate and a one-time spot | `moto_server.stops_with`, `says` |
| deep-learning images (public SSM parameters) | `moto_server.add_parameter` |
| root device name of an image: always /dev/sda1 on the instance | what arrived is looked at (`Front.sent`) |
| an elastic address of a stopped instance is not in its record | a record by hand (`test_aws_parse`) |
| capacity reservations and blocks: dropped | the request is looked at (`test_aws_request`) |
| conditions of IAM policies: ignored | by structure (`test_aws_doctor`) |
| metadata service: no tags, no spot notices | `support.imds` |
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gpudash.clock import Clock, ManualClock
from gpudash.config import Account
from gpudash.model.instance import Instance, SshAddress
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder
from gpudash.model.policy import Policy
from gpudash.providers.aws.provider import AwsProvider
from support import moto_server

HERE = "203.0.113.7"
"""This machine's address, as tests have it."""
REGION = "us-east-1"
PRICES = {"m5.large": "0.096", "t3.micro": "0.0104", "g5.xlarge": "1.006", "g7e.2xlarge": "3.36312"}
Hook = Callable[[str, dict[str, Any]], Any]


def refusal(code: str, message: str = "as the test wants it", status: int = 400, **headers: str) -> tuple[Any, Any]:
    """An answer in which AWS says no."""
    told = {key.replace("_", "-"): value for key, value in headers.items()}
    parsed = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": told},
    }
    return Http(status), parsed


class Http:
    """What the SDK looks at in a reply that a hook gave instead."""

    def __init__(self, status: int = 200) -> None:
        self.status_code = status
        self.headers: dict[str, str] = {}
        self.content = b""


class Wire:
    """Every Session of a test hangs on one of these: it counts calls, and answers some instead of the server."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        """``("ec2:DescribeInstances", region)``, in order."""
        self.before: dict[str, Hook] = {"pricing:GetProducts": _products}
        """By ``service:Operation`` or ``*``: an answer instead of the server's, or None to let it pass."""
        self.after: dict[str, Hook] = {}
        """The same once the server has answered: it has happened already."""
        self.sent: dict[str, list[dict[str, Any]]] = {}
        """Parameters of each call, by operation."""

    def session(self, profile: str | None) -> Any:
        """A Session whose clients are watched."""
        made = new_session(profile)
        made.events.register("provide-client-params.*.*", self._note)
        made.events.register("before-call.*.*", self._before)
        made.events.register("after-call.*.*", self._after)
        return made

    def count(self, operation: str) -> int:
        """How often it was asked."""
        return sum(1 for name, _ in self.calls if name == operation)

    @contextmanager
    def broken(self, hook: Hook, *operations: str, afterwards: bool = False) -> Iterator[None]:
        """While it lasts these operations are answered by `hook`."""
        table = self.after if afterwards else self.before
        earlier = {name: table.get(name) for name in operations}
        table.update(dict.fromkeys(operations, hook))
        try:
            yield
        finally:
            for name, former in earlier.items():
                table.pop(name)
                if former is not None:
                    table[name] = former

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.sent.setdefault(_name(model), []).append(params)

    def _before(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        name = _name(model)
        self.calls.append((name, str(context.get("client_region"))))
        hook = self.before.get(name) or self.before.get("*")
        return hook(name, params) if hook else None

    def _after(self, model: Any, parsed: dict[str, Any], **_: Any) -> None:
        hook = self.after.get(_name(model)) or self.after.get("*")
        if hook:
            hook(_name(model), parsed)


def _name(model: Any) -> str:
    return f"{model.service_model.service_name}:{model.name}"


def on_wire(action: str) -> str:
    """What IAM calls ``servicequotas:GetServiceQuota`` as the SDK spells it."""
    return action.replace("servicequotas:", "service-quotas:")


def no_answer(*_: Any) -> Any:
    """The connection was made and the answer never came."""
    from botocore.exceptions import ReadTimeoutError

    raise ReadTimeoutError(endpoint_url="https://ec2.test")


def no_connection(*_: Any) -> Any:
    """No connection was made."""
    from botocore.exceptions import EndpointConnectionError

    raise EndpointConnectionError(endpoint_url="https://ec2.test")


def says(code: str, message: str = "as the test wants it", status: int = 400, **headers: str) -> Hook:
    """A hook that refuses with a code."""
    return lambda *_: refusal(code, message, status, **headers)


def price_row(field: str, name: str, usd: str, unit: str = "Hrs") -> str:
    """One row of GetProducts."""
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}}
    body = {
        "product": {"attributes": {field: name}},
        "terms": {"OnDemand": {"t": {"priceDimensions": {"d": dimension}}}},
    }
    return json.dumps(body)


def _products(_: str, params: dict[str, Any]) -> Any:
    filters = json.loads(params["body"]).get("Filters", [])
    if any(item["Value"] == "Storage" for item in filters):
        rows = [price_row("volumeApiName", "gp3", "0.08", "GB-Mo"), price_row("volumeApiName", "gp2", "0.10", "GB-Mo")]
    else:
        rows = [price_row("instanceType", name, usd) for name, usd in PRICES.items()]
    return Http(), {"PriceList": rows, "ResponseMetadata": {"HTTPStatusCode": 200}}


class AwsCloud:
    """One region of an account on moto."""

    region = REGION

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        regions: tuple[str, ...] = (REGION,),
        adapter: type[AwsProvider] = AwsProvider,
        **settings: Any,
    ) -> None:
        from support.clouds import NOON

        self.adapter = adapter
        self.clock = clock or ManualClock(NOON)
        self.wire = Wire()
        self.account = Account("aws", "aws", regions=regions, base_url=moto_server.server_url())
        self.settings = {"visible_after_s": 0.0, **settings}
        self.provider: AwsProvider = self.again()

    def again(self) -> AwsProvider:
        return self.adapter(
            self.account, self.clock, address_source=lambda: HERE, session_factory=self.wire.session, **self.settings
        )

    def order(self, **changes: Any) -> LaunchOrder:
        """A small machine that can hibernate, without an address of its own to pay for."""
        token = f"test-{secrets.token_hex(6)}"
        given: dict[str, Any] = {
            "token": token,
            "account": "aws",
            "region": self.region,
            "instance_type": "m5.large",
            "name": token,
            "spot": False,
            "policy": Policy(),
        }
        given |= changes
        hibernates = given["instance_type"] == "m5.large" and not given["spot"]
        given["options"] = (
            {"public_ip": "false"} | ({"hibernate": "true"} if hibernates else {}) | changes.get("options", {})
        )
        return LaunchOrder(**given)

    @contextmanager
    def trouble(self, what: str) -> Iterator[None]:
        writes = ("ec2:RunInstances", "ec2:TerminateInstances", "ec2:StopInstances", "ec2:StartInstances")
        broken = self.wire.broken
        match what:
            case "lost reply":
                with broken(no_answer, *writes, afterwards=True):
                    yield
            case "unreachable":
                with broken(no_connection, "*"):
                    yield
            case "busy":
                with broken(says("RequestLimitExceeded", status=503, retry_after="5"), "*"):
                    yield
            case "no capacity":
                with broken(says("InsufficientInstanceCapacity", status=500), "ec2:RunInstances"):
                    yield
            case "empty list":
                with broken(lambda *_: (Http(), {"Reservations": []}), "ec2:DescribeInstances"):
                    yield
            case "no effect":
                with broken(_yes, *writes):
                    yield
            case _:
                raise AssertionError(what)


class OnLoopback(AwsProvider):
    """The adapter as it is; only the SSH address of its instances leads to this machine, by default to a closed port."""

    address = SshAddress("127.0.0.1", 9, "nobody")

    def list_in_pages(self, region: str, on_page: Callable[[Listing[Instance]], None]) -> Listing[Instance]:
        def here(listing: Listing[Instance]) -> Listing[Instance]:
            return replace(listing, items=tuple(replace(i, ssh=i.ssh and self.address) for i in listing.items))

        return here(super().list_in_pages(region, lambda page: on_page(here(page))))


def _yes(name: str, _: dict[str, Any]) -> Any:
    made = {"Instances": [{"InstanceId": "i-0123456789abcdef0", "State": {"Name": "pending"}}]}
    return Http(), made if name == "ec2:RunInstances" else {}


def prepare() -> None:
    """An account as a person has it: a key of their own, and the deep-learning images that moto's data lacks."""
    ssh = Path.home() / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "id_ed25519.pub").write_text(PUBLIC_KEY)
    (ssh / "id_ed25519").write_text("the private half is never read\n")
    for arch in ("x86_64", "arm64"):
        plain = f"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}"
        path = f"/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
        moto_server.add_parameter(REGION, path, plain_image(plain))


@cache
def plain_image(parameter: str) -> str:
    """The image behind one of the parameters that moto has."""
    return str(raw_client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"])


def issued(cloud: AwsCloud) -> set[str]:
    """Every call that left, as a policy names it."""
    return {name.replace("service-quotas:", "servicequotas:") for name, _ in cloud.wire.calls}


def linux_image() -> str:
    """Amazon Linux, as anybody would launch it."""
    return plain_image("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64")


@cache
def raw_client(service: str, region: str = REGION) -> Any:
    """A plain client of boto3: an independent eye, and a hand of somebody else."""
    return new_session(None).client(
        service,
        region_name=region,
        endpoint_url=moto_server.server_url(),
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def new_session(profile: str | None) -> Any:
    """A Session of its own that shares only the parsed API descriptions with others, which are slow to read."""
    import boto3
    import botocore.session

    core = botocore.session.Session(profile=profile)
    core.register_component("data_loader", _loader())
    return boto3.Session(botocore_session=core)


@cache
def _loader() -> Any:
    from botocore.loaders import create_loader

    return create_loader()


def remove_default_network(ec2: Any) -> None:
    """As in an account whose owner tidied up too well."""
    for vpc in ec2.describe_vpcs()["Vpcs"]:
        where = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
        for subnet in ec2.describe_subnets(Filters=where)["Subnets"]:
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        for gateway in ec2.describe_internet_gateways()["InternetGateways"]:
            ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc["VpcId"])
            ec2.delete_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"])
        ec2.delete_vpc(VpcId=vpc["VpcId"])


PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMOfU8pzgjWZ3BYJ9mLNDqlS7qlBsNhZf4yHDMYiOeWX somebody@somewhere\n"


@contextmanager
def aws_environment() -> Iterator[None]:
    """Dummy credentials; nothing of the developer's own is read, and no metadata service is looked for."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


@contextmanager
def aws_cloud(clock: Clock | None = None, **settings: Any) -> Iterator[AwsCloud]:
    """A fresh account on moto for a while."""
    with aws_environment():
        moto_server.reset()
        prepare()
        cloud = AwsCloud(clock, **settings)
        try:
            yield cloud
        finally:
            cloud.provider.close()
