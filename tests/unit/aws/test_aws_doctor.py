"""Permissions: what is allowed is found out without changing anything, and what is needed is told exactly."""

from __future__ import annotations

import json
import re
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from support.aws_cloud import REGION, AwsCloud, Http, on_wire, raw_client, refusal, says
from support.clouds import launched

from gpudash.providers import aws
from gpudash.providers.aws import policies
from gpudash.providers.aws.permissions import examine
from gpudash.providers.aws.simulation import principal

SOURCES = Path(aws.__file__).parent
VERBS = (
    "describe|create|delete|run|start|stop|terminate|import|authorize|revoke|associate|disassociate|attach|detach|"
    "release|cancel|modify|put|add|get"
)


NEITHER_ASKED_NOR_REHEARSED = {
    "ec2:AssociateIamInstanceProfile", "ec2:AttachInternetGateway", "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CancelSpotInstanceRequests", "ec2:CreateInternetGateway", "ec2:CreateRoute", "ec2:CreateSubnet",
    "ec2:CreateVpc", "ec2:DeleteInternetGateway", "ec2:DeleteNetworkInterface", "ec2:DeleteRouteTable",
    "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc", "ec2:DescribeInstanceAttribute",
    "ec2:DetachInternetGateway", "ec2:DisassociateAddress", "ec2:DisassociateRouteTable", "ec2:ModifyVpcAttribute",
    "ec2:ReleaseAddress", "ec2:RevokeSecurityGroupIngress", "ec2:RunInstances", "iam:AddRoleToInstanceProfile",
    "iam:CreateInstanceProfile", "iam:CreateRole", "iam:PassRole", "iam:PutRolePolicy",
}  # fmt: skip
"""Changes without a faithful dry run; a launch among them, as no image could be read to rehearse it with."""


def parsed_policy(body: dict[str, Any]) -> Any:
    """A policy as an independent parser understands it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its own data file open
        from policyuniverse.policy import Policy

    return Policy(body)


def dry_run(name: str, params: dict[str, Any]) -> Any:
    """EC2's answer to a rehearsal; moto gives it for these as well."""


def simulated(*denied: str) -> Any:
    def answer(_: str, params: dict[str, Any]) -> Any:
        body = params["body"]
        names = [value for key, value in body.items() if key.startswith("ActionNames")]
        rows = [
            {"EvalActionName": name, "EvalDecision": "implicitDeny" if name in denied else "allowed"} for name in names
        ]
        return Http(), {"EvaluationResults": rows, "ResponseMetadata": {"HTTPStatusCode": 200}}

    return answer


def test_everything_allowed(cloud: AwsCloud) -> None:
    """Each call is asked, rehearsed or simulated; nothing is missing and nothing was changed."""
    launched(cloud)
    before = inventory()
    with cloud.wire.broken(simulated(), "iam:SimulatePrincipalPolicy"):
        report = examine(cloud.provider)
    assert report.identity == "arn:aws:sts::123456789012:user/moto"
    assert report.missing == ()
    assert {check.action for check in report.checks if check.allowed is None} == set()
    assert {check.how for check in report.checks} == {"asked", "dry run", "simulated"}
    assert inventory() == before


def inventory() -> Any:
    ec2 = raw_client("ec2")
    return (
        [i["State"]["Name"] for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]],
        len(ec2.describe_security_groups()["SecurityGroups"]),
        len(ec2.describe_key_pairs()["KeyPairs"]),
        len(ec2.describe_vpcs()["Vpcs"]),
        len(ec2.describe_tags()["Tags"]),
    )


def test_each_denied_call_is_named(cloud: AwsCloud) -> None:
    """Every one by its own answer, or by the simulation where it has none; without an image to rehearse with, too."""
    everything = {action for part in policies.person_policy()["Statement"] for action in part["Action"]}

    def no(name: str, _: dict[str, Any]) -> Any:
        return None if name == "sts:GetCallerIdentity" else refusal("AccessDenied", f"You may not: {name}.", 403)

    with (
        cloud.wire.broken(no, "*", "pricing:GetProducts"),
        cloud.wire.broken(simulated(*everything), "iam:SimulatePrincipalPolicy"),
    ):
        report = examine(cloud.provider)
    assert set(report.missing) == everything
    asked = [check for check in report.checks if check.how != "simulated"]
    assert all(f"You may not: {on_wire(check.action)}." in check.detail for check in asked)
    assert {check.action for check in report.checks if check.how == "simulated"} == NEITHER_ASKED_NOR_REHEARSED


def test_what_has_no_rehearsal_is_simulated(cloud: AwsCloud) -> None:
    """A role that may not be handed over shows before the first launch."""
    with cloud.wire.broken(simulated("iam:PassRole"), "iam:SimulatePrincipalPolicy"):
        assert examine(cloud.provider).missing == ("iam:PassRole",)


def judged_by(cloud: AwsCloud, statements: list[dict[str, Any]]) -> Any:
    """IAM's simulation of somebody with exactly these statements, as far as those of our policies go."""

    def listed(value: Any) -> list[str]:
        return value if isinstance(value, list) else [value]

    def answer(*_: Any) -> Any:
        asked = cloud.wire.sent["iam:SimulatePrincipalPolicy"][-1]
        context = {one["ContextKeyName"]: one["ContextKeyValues"] for one in asked.get("ContextEntries", [])}
        rows = []
        for action in asked["ActionNames"]:
            for resource in asked.get("ResourceArns", ["*"]):
                fitting = [
                    {key: value for keys in s.get("Condition", {}).values() for key, value in keys.items()}
                    for s in statements
                    if action in s["Action"]
                    and any(fnmatchcase(resource, pattern) for pattern in listed(s["Resource"]))
                ]
                missing = [key for conditions in fitting for key in conditions if key not in context]
                allowed = any(
                    all(set(context.get(key, ["?"])) <= set(listed(value)) for key, value in conditions.items())
                    for conditions in fitting
                )
                decision = "allowed" if allowed else "implicitDeny"
                rows.append({"EvalActionName": action, "EvalDecision": decision, "MissingContextValues": missing})
        return Http(), {"EvaluationResults": rows, "ResponseMetadata": {"HTTPStatusCode": 200}}

    return cloud.wire.broken(answer, "iam:SimulatePrincipalPolicy")


def test_who_has_just_the_least_policy_lacks_nothing(cloud: AwsCloud) -> None:
    """Its conditions are simulated as the calls meet them: on what carries our tag, for the role that is handed over."""
    statements = policies.person_policy()["Statement"]
    with judged_by(cloud, statements):
        report = examine(cloud.provider)
    assert report.missing == ()
    assert {check.action for check in report.checks if check.allowed is None} == set()
    without = [s for s in statements if s["Sid"] not in ("HandTheRoleToInstances", "CleanUpWhatWeMade")]
    with judged_by(cloud, without):
        assert set(examine(cloud.provider).missing) == {"iam:PassRole", *policies.CLEANS}
    more = {"StringEquals": {"aws:MultiFactorAuthPresent": "true"}}
    with judged_by(cloud, [{**s, "Condition": more} if s["Sid"] == "CleanUpWhatWeMade" else s for s in statements]):
        report = examine(cloud.provider)
    assert report.missing == ()
    unknown = {check.action: check.detail for check in report.checks if check.allowed is None}
    assert unknown == dict.fromkeys(policies.CLEANS, "it depends on aws:MultiFactorAuthPresent")


def test_what_nothing_can_tell_is_unknown(cloud: AwsCloud) -> None:
    """Where simulation is denied; it is not reported as allowed."""
    with cloud.wire.broken(says("AccessDenied", status=403), "iam:SimulatePrincipalPolicy"):
        report = examine(cloud.provider)
    assert {c.how for c in report.checks if c.action == "iam:PassRole"} == {"not checked"}
    assert all(c.allowed is None for c in report.checks if c.how == "not checked")


def test_credentials_that_do_not_work(cloud: AwsCloud) -> None:
    """One problem instead of forty."""
    with cloud.wire.broken(says("ExpiredToken", status=403), "sts:GetCallerIdentity"):
        report = examine(cloud.provider)
    assert report.identity is None
    assert "ExpiredToken" in str(report.problem)
    assert report.checks == ()


def test_quotas_are_read_where_allowed(cloud: AwsCloud) -> None:
    """Zero on many new accounts; unknown where denied."""
    assert set(examine(cloud.provider).quotas.values()) == {None}

    def quota(*_: Any) -> Any:
        return Http(), {"Quota": {"Value": 8.0}, "ResponseMetadata": {"HTTPStatusCode": 200}}

    with cloud.wire.broken(quota, "service-quotas:GetServiceQuota"):
        assert set(examine(cloud.provider).quotas.values()) == {8.0}


def test_doctor_by_account(cloud: AwsCloud) -> None:
    """As the command line calls it."""
    report = aws.doctor(cloud.account, cloud.clock)
    assert (report.account, report.region) == ("aws", REGION)


def test_the_role_behind_a_session_is_simulated() -> None:
    """IAM knows no sessions."""
    session = "arn:aws:sts::123456789012:assumed-role/dev/ada"
    assert principal(session) == "arn:aws:iam::123456789012:role/dev"
    assert principal("arn:aws:iam::123456789012:user/ada") == "arn:aws:iam::123456789012:user/ada"


def test_a_box_may_end_only_itself() -> None:
    """Two actions, on instances, where the session is named after the instance and it carries our tag."""
    (statement,) = policies.instance_policy()["Statement"]
    parsed = parsed_policy(policies.instance_policy())
    assert parsed.statements[0].actions_expanded == {"ec2:stopinstances", "ec2:terminateinstances"}
    assert statement["Resource"] == "arn:aws:ec2:*:*:instance/*"
    assert statement["Condition"] == {
        "StringLike": {"aws:userid": "*:${ec2:InstanceID}"},
        "StringEquals": {"aws:ResourceTag/gpudash:managed": "true"},
    }


def test_the_persons_policy_is_narrow_where_it_changes_things() -> None:
    """Whatever ends, deletes or tags needs our tag, except tagging what is being made."""
    for statement in policies.person_policy()["Statement"]:
        changes = [
            a for a in statement["Action"] if re.match(r"ec2:(Delete|Terminate|Stop|Start|Release|Detach|Cancel)", a)
        ]
        if changes:
            assert statement["Condition"] == {"StringEquals": {"aws:ResourceTag/gpudash:managed": "true"}}
    taggers = [s for s in policies.person_policy()["Statement"] if "ec2:CreateTags" in s["Action"]]
    assert len(taggers) == 2
    assert all(s["Condition"] for s in taggers)
    (hand_over,) = [s for s in policies.person_policy()["Statement"] if "iam:PassRole" in s["Action"]]
    assert hand_over["Resource"].endswith(f"role/{policies.ROLE}")


@pytest.mark.parametrize("policy", [policies.person_policy(), policies.instance_policy(), policies.trust_policy()])
def test_policies_are_well_formed(policy: dict[str, Any]) -> None:
    """Readable by a policy parser, no wildcard actions, unique names, within IAM's size for a managed policy."""
    parsed = parsed_policy(policy)
    assert all(statement.effect == "Allow" for statement in parsed.statements)
    assert not any("*" in action for statement in policy["Statement"] for action in statement["Action"])
    names = [statement["Sid"] for statement in policy["Statement"]]
    assert len(names) == len(set(names))
    assert all(name.isalnum() for name in names)
    assert len(re.sub(r"\s", "", json.dumps(policy))) <= 6144


def test_the_persons_policy_is_every_call_there_is_in_the_code() -> None:
    """No more, and no less: found by the names of the SDK's methods. One is no call, and one is doctor's alone."""
    allowed = {action for s in policies.person_policy()["Statement"] for action in s["Action"]}
    needed = set()
    for path in SOURCES.glob("*.py"):
        if path.name in ("permissions.py", "wire.py"):  # the names of all, and a parser of answers
            continue
        text = path.read_text()
        calls = re.findall(rf"\.((?:{VERBS})_[a-z_]+)\(", text)
        calls += re.findall(r'get_paginator\("([a-z_]+)"\)', text)
        calls += re.findall(r"writer\.((?:create|add)_[a-z_]+),", text)
        calls += re.findall(r'"(describe_[a-z_]+)"', text)
        needed |= {_action(call) for call in calls} - {None}
    assert needed | {"iam:PassRole", "servicequotas:GetServiceQuota"} == allowed


def _action(method: str) -> str | None:
    if method in {"get_paginator", "get_ident"}:
        return None
    name = "".join(part.capitalize() for part in method.split("_"))
    service = {"GetParameter": "ssm", "GetProducts": "pricing", "GetServiceQuota": "servicequotas"}.get(name)
    if service is None:
        service = "iam" if re.search(r"Role|^(Get|Create)InstanceProfile|^AddRole", name) else "ec2"
    return f"{service}:{name}"
