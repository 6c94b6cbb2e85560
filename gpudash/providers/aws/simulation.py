"""What IAM's simulation says of calls that have no rehearsal, asked as the calls would be made.

A call is simulated on the kind of resource that it is for, and with the tags and services that our policy makes its
condition: asked on everything and without them, IAM would deny whoever has just what `policies` prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpudash.errors import GpudashError
from gpudash.providers.aws import policies
from gpudash.providers.aws.errors import translated
from gpudash.providers.base import Check

NO_INSTANCE = "i-00000000000000000"


def simulate(iam: Any, arn: str, region: str, actions: Iterable[str]) -> tuple[dict[str, Check], str]:
    """What IAM says of each action; where it says nothing at all, why. One question a statement of our policy.

    Args:
        iam: a client.
        arn: of the caller, as STS tells it.
        region: where the calls would be made.
        actions: what is asked.
    """
    wanted, found = set(actions), dict[str, Check]()
    for statement in policies.person_policy()["Statement"]:
        asked = [action for action in statement["Action"] if action in wanted]
        if not asked:
            continue
        try:
            with translated("simulate the policy"):
                answer = iam.simulate_principal_policy(
                    PolicySourceArn=principal(arn), ActionNames=asked, **_circumstances(statement, arn, region)
                )
        except GpudashError as exc:
            return {}, exc.text
        for action in asked:
            rows = [row for row in answer["EvaluationResults"] if row["EvalActionName"] == action]
            found[action] = _worse(found.get(action), _check(action, rows))
    return found, ""


def principal(arn: str) -> str:
    """The role behind an assumed-role session, which is what IAM simulates; any other caller is itself."""
    head, _, name = arn.partition(":assumed-role/")
    if not name:
        return arn
    return f"{head.replace(':sts:', ':iam:')}:role/{name.split('/')[0]}"


def _circumstances(statement: Mapping[str, Any], arn: str, region: str) -> dict[str, Any]:
    """The resource and the context in which our policy allows the call."""
    context = {"aws:RequestedRegion": [region]}
    for keys in statement.get("Condition", {}).values():
        context |= {key: _listed(value)[:1] for key, value in keys.items()}
    entries = [
        {"ContextKeyName": key, "ContextKeyValues": values, "ContextKeyType": "string"}
        for key, values in context.items()
    ]
    resources = [_one(pattern, arn, region) for pattern in _listed(statement["Resource"]) if pattern != "*"]
    return {"ContextEntries": entries, **({"ResourceArns": resources} if resources else {})}


def _one(pattern: str, arn: str, region: str) -> str:
    """A resource of that account as the pattern means it."""
    _, partition, _, _, account, _ = arn.split(":", 5)
    service = pattern.split(":")[2]
    if service == "ec2":
        return f"arn:{partition}:ec2:{region}:{account}:instance/{NO_INSTANCE}"
    return f"arn:{partition}:{service}::{account}:{pattern.split(':', 5)[5]}"


def _check(action: str, rows: list[Mapping[str, Any]]) -> Check:
    """Allowed on one of the resources is allowed: a role is not made as a profile is. None where IAM had to know more."""
    said = [str(row["EvalDecision"]) for row in rows]
    said += [str(one["EvalResourceDecision"]) for row in rows for one in row.get("ResourceSpecificResults") or []]
    if "allowed" in said:
        return Check(action, True, "simulated", "allowed")
    missing = sorted({str(key) for row in rows for key in row.get("MissingContextValues") or []})
    if not said or (missing and "explicitDeny" not in said):
        return Check(action, None, "simulated", f"it depends on {', '.join(missing)}" if missing else "")
    return Check(action, False, "simulated", "explicitDeny" if "explicitDeny" in said else said[0])


def _worse(one: Check | None, other: Check) -> Check:
    """An action that stands in two statements is needed in both ways."""
    if one is None or other.allowed is False or (other.allowed is None and one.allowed):
        return other
    return one


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
