"""Start, stop, hibernate, terminate and tags. Each looks first, so that EC2's answer means one thing only."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from gpudash.clock import parse_iso
from gpudash.errors import GpudashError, ProviderError, Refused, Unreachable, Unsupported, UsageError
from gpudash.model.instance import InstanceKey
from gpudash.model.money import Price
from gpudash.providers.aws import states, tags
from gpudash.providers.aws.clients import Clients
from gpudash.providers.aws.errors import code_of, is_denied, translated
from gpudash.providers.aws.parse import first_launch
from gpudash.providers.aws.policies import ROLE
from gpudash.providers.recent import Recent

log = logging.getLogger(__name__)


class Verbs:
    """The changes one account can make to an instance that exists."""

    def __init__(self, clients: Clients, recent: Recent) -> None:
        self._clients, self._recent = clients, recent
        self.no_role: dict[str, str] = {}
        """By instance, as far as this process knows: why it cannot end itself through the API."""

    def look(self, key: InstanceKey) -> Mapping[str, Any] | None:
        """EC2's record of an instance; None where it knows no such id (any more).

        Raises:
            Unreachable: it was launched a moment ago and EC2 does not show it yet.
        """
        client = self._clients.read("ec2", key.region)
        try:
            with translated(f"look at {key.id}"):
                found = client.describe_instances(InstanceIds=[key.id])["Reservations"]
        except ProviderError as exc:
            if code_of(exc.__cause__) not in {"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"}:
                raise
            found = []
        records = [record for reservation in found for record in reservation["Instances"]]
        if not records and self._recent.is_fresh(key.id):
            raise Unreachable(f"{key.id} was launched a moment ago; EC2 does not show it yet.")
        return records[0] if records else None

    def is_gone(self, key: InstanceKey) -> bool:
        """EC2 shows an ended instance for about an hour; then the id is not found, or the answer is without it."""
        record = self.look(key)
        return record is None or states.provider_state(record) == "terminated"

    def start(self, key: InstanceKey) -> None:
        """Running or pending is success; one that is still stopping is refused, to be asked again."""
        record = self._must_exist(key, "start")
        state = states.provider_state(record)
        if state in {"running", "pending"}:
            return
        if state != "stopped":
            raise ProviderError(f"{key.id} is {state}; it cannot start now.", hint="Wait until it has stopped.")
        with translated(f"start {key.id}", write=True):
            self._clients.write("ec2", key.region).start_instances(InstanceIds=[key.id])

    def stop(self, key: InstanceKey, *, hibernate: bool = False) -> None:
        """Stopped or stopping is success."""
        record = self._must_exist(key, "stop")
        if states.provider_state(record) in {"stopped", "stopping"}:
            return
        if hibernate and not (record.get("HibernationOptions") or {}).get("Configured"):
            raise Unsupported(
                f"{key.id} was not launched with hibernation, and it cannot be added later.", hint="Stop it instead."
            )
        if record.get("InstanceLifecycle") == "spot" and self._spot_kind(key.region, record) == "one-time":
            raise Unsupported(
                f"{key.id} is a one-time spot instance; EC2 cannot stop it.", hint="Terminate it instead."
            )
        client = self._clients.write("ec2", key.region)
        try:
            with translated(f"{'hibernate' if hibernate else 'stop'} {key.id}", write=True):
                client.stop_instances(InstanceIds=[key.id], **({"Hibernate": True} if hibernate else {}))
        except ProviderError as exc:
            if code_of(exc.__cause__) == "UnsupportedOperation":
                raise Unsupported(exc.text, hint="Terminate it instead.") from exc
            raise

    def terminate(self, key: InstanceKey) -> None:
        """Unknown or ended already is success. Its spot request goes first, or a persistent one would relaunch it."""
        record = self.look(key)
        if record is None or states.provider_state(record) in {"terminated", "shutting-down"}:
            return
        client = self._clients.write("ec2", key.region)
        request_id = record.get("SpotInstanceRequestId")
        if request_id:
            self._cancel_spot_request(client, key.region, record)
        try:
            with translated(f"terminate {key.id}", write=True):
                client.terminate_instances(InstanceIds=[key.id])
        except ProviderError as exc:
            if code_of(exc.__cause__) != "InvalidInstanceID.NotFound" or self._recent.is_fresh(key.id):
                raise

    def set_tags(self, key: InstanceKey, wanted: Mapping[str, str], price: Price | None) -> None:
        """Write tags, an empty text clears one; on an instance of spawn also those that its agent obeys.

        Raises:
            Refused: the hard deadline would move, or spawn's cost limit would end it before the new deadline.
            Unreachable: they were written and are not shown yet.
        """
        marks = {tags.full_key(name): value for name, value in wanted.items()}
        tags.check_user_tags({name: value for name, value in marks.items() if name != "Name"})
        record = self._must_exist(key, "tag")
        present = tags.as_dict(record.get("Tags"))
        _check_hard_deadline(marks, present)
        until = _lease(marks)
        if until is not None and tags.is_spawn(present):
            launched = first_launch(record, present)
            _check_cost_limit(present, launched, until, price)
            marks.update(tags.spawn_extension(until, launched))
        new = {name: value for name, value in marks.items() if value and present.get(name) != value}
        cleared = [name for name, value in marks.items() if not value and name in present]
        client = self._clients.write("ec2", key.region)
        with translated(f"tag {key.id}", write=True):
            if new:
                client.create_tags(Resources=[key.id], Tags=tags.as_list(new))
            if cleared:
                client.delete_tags(Resources=[key.id], Tags=[{"Key": name} for name in cleared])
        if new or cleared:
            self._read_back(key, new, cleared)

    def _read_back(self, key: InstanceKey, written: Mapping[str, str], cleared: list[str]) -> None:
        """What was written is believed once EC2 shows it; until then it is asked for again by whoever wanted it."""
        present = tags.as_dict(self._must_exist(key, "read the tags of").get("Tags"))
        wrong = [name for name, value in written.items() if present.get(name) != value]
        wrong += [name for name in cleared if name in present]
        if wrong:
            raise Unreachable(f"EC2 does not show the new tags of {key.id} yet ({', '.join(wrong)}).")

    def end_spec(self, key: InstanceKey) -> dict[str, object]:
        """How statusd on this instance ends it: power-off for what that means here, the API for the rest."""
        record = self._must_exist(key, "read how it ends")
        client = self._clients.read("ec2", key.region)
        with translated(f"read what a power-off of {key.id} does"):
            answer = client.describe_instance_attribute(
                InstanceId=key.id, Attribute="instanceInitiatedShutdownBehavior"
            )
        behaviour = (answer.get("InstanceInitiatedShutdownBehavior") or {}).get("Value") or "stop"
        has_profile = bool(record.get("IamInstanceProfile")) or self._attach_profile(key)
        is_persistent = record.get("InstanceLifecycle") == "spot" and self._spot_kind(key.region, record) != "one-time"
        can_hibernate = bool((record.get("HibernationOptions") or {}).get("Configured"))
        return end_chain(
            key.region,
            behaviour,
            has_profile=has_profile,
            can_hibernate=can_hibernate,
            is_persistent_spot=is_persistent,
            endpoint=self._clients.endpoint,
        )

    def _must_exist(self, key: InstanceKey, doing: str) -> Mapping[str, Any]:
        record = self.look(key)
        if record is None:
            raise ProviderError(f"Could not {doing} {key.id}: EC2 knows no such instance in {key.region}.")
        if states.provider_state(record) == "terminated":
            raise ProviderError(f"{key.id} is terminated; it cannot come back.", hint="Launch another one.")
        return record

    def _spot_kind(self, region: str, record: Mapping[str, Any]) -> str | None:
        request_id = record.get("SpotInstanceRequestId")
        if not request_id:
            return None
        try:
            with translated(f"read spot request {request_id}"):
                found = self._clients.read("ec2", region).describe_spot_instance_requests(
                    Filters=[{"Name": "spot-instance-request-id", "Values": [str(request_id)]}]
                )["SpotInstanceRequests"]
        except GpudashError:
            return None
        return str(found[0].get("Type") or "") or None if found else None

    def _cancel_spot_request(self, client: Any, region: str, record: Mapping[str, Any]) -> None:
        """A one-time request launches nothing anew, so its instance need not wait for a permission."""
        request_id = str(record["SpotInstanceRequestId"])
        try:
            with translated(f"cancel spot request {request_id}", write=True):
                client.cancel_spot_instance_requests(SpotInstanceRequestIds=[request_id])
        except ProviderError as exc:
            is_gone = code_of(exc.__cause__).startswith("InvalidSpotInstanceRequestID")
            if not is_gone and not (is_denied(exc) and self._spot_kind(region, record) == "one-time"):
                raise

    def _attach_profile(self, key: InstanceKey) -> bool:
        """Give an instance our profile where it has none. It can do without, so a refusal is only told."""
        try:
            with translated(f"attach {ROLE} to {key.id}", write=True):
                self._clients.write("ec2", key.region).associate_iam_instance_profile(
                    IamInstanceProfile={"Name": ROLE}, InstanceId=key.id
                )
        except GpudashError as exc:
            log.info("%s", exc.text)
            if is_denied(exc):
                self.no_role[key.id] = str(exc)
            return False
        self.no_role.pop(key.id, None)
        return True


def end_chain(
    region: str,
    behaviour: str,
    *,
    has_profile: bool,
    can_hibernate: bool,
    is_persistent_spot: bool,
    endpoint: str | None = None,
) -> dict[str, object]:
    """The ``end`` part of statusd's configuration. Pure.

    A power-off needs no permission, so it is the first choice for what it means on this instance, and the last rung
    where it stops. Where it means *terminate* it stands in no chain but that one: idleness never destroys a disk. The
    API, with the instance's own role, comes second, and is the only way to what a power-off cannot reach.
    """
    call = {"method": "ec2", "region": region, **({"endpoint": endpoint} if endpoint else {})}
    api = [call] if has_profile else []
    off = [{"method": "poweroff"}]
    chains = {"hibernate": api if can_hibernate else []}
    if behaviour == "terminate":
        chains |= {"terminate": off + api, "stop": api}
    else:
        # A box cannot cancel its persistent spot request: terminated by itself, it would be launched anew.
        chains |= {"stop": off + api, "terminate": off if is_persistent_spot else api, "poweroff": off}
    return {"method": "chain", **{name: steps for name, steps in chains.items() if steps}}


def _check_hard_deadline(marks: Mapping[str, str], present: Mapping[str, str]) -> None:
    told = present.get(tags.HARD)
    if told is not None and marks.get(tags.HARD, told) != told:
        raise Refused(f"The hard deadline {told} is never moved.", hint="Launch another instance for longer work.")


def _lease(marks: Mapping[str, str]) -> datetime | None:
    if not marks.get(tags.LEASE):
        return None
    try:
        return parse_iso(marks[tags.LEASE])
    except ValueError as exc:
        raise UsageError(str(exc)) from exc


def _check_cost_limit(
    present: Mapping[str, str], launched: datetime | None, until: datetime, price: Price | None
) -> None:
    limit = tags.spawn_cost_limit(present)
    if limit is None or launched is None or price is None:
        return
    cost = price.usd_per_hour * Decimal(str((until - launched).total_seconds())) / 3600
    if cost > limit:
        raise Refused(
            f"spawn's cost limit of ${limit} would end it before {until:%Y-%m-%d %H:%M} UTC (${cost:.2f} by then).",
            hint="Raise its tag spawn:cost-limit first.",
        )
