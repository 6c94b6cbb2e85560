"""The instance profile that lets a box end itself through the API. Made once an account, never deleted with a box."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gpudash.errors import GpudashError
from gpudash.providers.aws.errors import code_of, translated
from gpudash.providers.aws.policies import ROLE, instance_policy, trust_policy


@dataclass(frozen=True, slots=True)
class Profile:
    """The instance profile as far as this account has one."""

    name: str | None
    """None where it is neither there nor may be made; a box then ends itself by power-off alone."""
    is_new: bool = False
    """Made a moment ago: EC2 may not know it yet, so it is attached later."""
    problem: str | None = None
    """Why there is none, with the way out."""


def ensure_profile(reader: Any, writer: Any) -> Profile:
    """Find the profile, or make it with its role and policy. Never raises: power-off works without."""
    try:
        with translated(f"read instance profile {ROLE}"):
            found = _find(reader)
        if found is not None and found.get("Roles"):
            return Profile(ROLE)
        with translated(f"make instance profile {ROLE}"):
            _make(writer)
    except GpudashError as exc:
        return Profile(None, problem=str(exc))
    return Profile(ROLE, is_new=True)


def _find(reader: Any) -> Any:
    try:
        return reader.get_instance_profile(InstanceProfileName=ROLE)["InstanceProfile"]
    except Exception as exc:
        if code_of(exc) == "NoSuchEntity":
            return None
        raise


def _make(writer: Any) -> None:
    _unless_there(
        writer.create_role,
        RoleName=ROLE,
        AssumeRolePolicyDocument=json.dumps(trust_policy()),
        Description="Lets an instance of gpudash end itself, and nothing else",
    )
    writer.put_role_policy(RoleName=ROLE, PolicyName=ROLE, PolicyDocument=json.dumps(instance_policy()))
    _unless_there(writer.create_instance_profile, InstanceProfileName=ROLE)
    try:
        writer.add_role_to_instance_profile(InstanceProfileName=ROLE, RoleName=ROLE)
    except Exception as exc:
        if code_of(exc) != "LimitExceeded":
            raise


def _unless_there(call: Any, **arguments: Any) -> None:
    try:
        call(**arguments)
    except Exception as exc:
        if code_of(exc) != "EntityAlreadyExists":
            raise
