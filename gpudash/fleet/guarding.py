"""The guard on the host: push the daemon with its policy, read the policy back, and believe only that.

A push never loses a deadline: what the host enforces now is read first, and the later of the known leases goes into
the configuration, under the earliest known hard deadline, with a revision above all that are known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpudash.clock import iso
from gpudash.errors import HostError, ProviderError, Refused
from gpudash.fleet import permissions, steps
from gpudash.fleet.daemons import ask, client
from gpudash.fleet.desk import SENT_AT, Desk, with_params
from gpudash.fleet.endings import fail, known
from gpudash.fleet.hostpoll import HostReading
from gpudash.fleet.limits import default_policy
from gpudash.fleet.pace import backoff_s
from gpudash.fleet.policytags import merged, tags_for, whole
from gpudash.fleet.record import Record, is_reachable
from gpudash.ledger import codec
from gpudash.model.capability import Verb
from gpudash.model.duration import format_duration
from gpudash.model.guard import powerless, same_limits
from gpudash.model.host import HostStatus
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import Policy

if TYPE_CHECKING:
    from gpudash.hosts.client import StatusClient

ACCOUNT_KEY = '"token_file": "account.key"'
CONTAINERS = frozenset({"runpod", "vast"})
"""Clouds whose instances are containers without an init."""
POLICY = "policy"
READ_BACK_S = 8.0
"""How long a new daemon has to answer with the policy it was given."""
READ_BACK_EVERY_S = 0.1
CONFIG_SCHEMA = 1
REARM_FIRST_S, REARM_MOST_S = 1.0, 30.0
LINK_PATIENCE_S = 8.0
TAGS_FIRST_S, TAGS_MOST_S = 5.0, 300.0


@dataclass(frozen=True, slots=True)
class Armed:
    """What a push came to."""

    policy: Policy
    version: str
    problem: str | None
    """Why the guard is not proved; None where the policy was read back."""
    only_reports: bool = False
    """This cloud gives its hosts no way to end themselves: statusd measures, and the end comes from outside."""
    stays_away: bool = False
    """Nothing on the host starts it again after a restart; a push has to."""
    lacking: str = ""
    """What its cloud did not give it, and why; said once."""

    @property
    def detail(self) -> str:
        """In one line."""
        if self.problem is not None:
            return self.problem
        lease = self.policy.lease_deadline
        until = f", lease until {lease:%Y-%m-%d %H:%M:%S} UTC" if lease else ""
        outside = "; the host cannot end itself: the watchdog must" if self.only_reports else ""
        again = "; after a restart of its container it has to be pushed again" if self.stays_away else ""
        return f"statusd {self.version} answers with the policy{until}{outside}{again}"


# -- intents ----------------------------------------------------------------------------------------------------------


def intend_push(desk: Desk, key: InstanceKey) -> Operation:
    """Write the intent to install or renew the daemon. On an instance that is not managed this takes charge of it.

    Raises:
        NotFound: no such instance.
        Refused: read-only, or it does not run.
    """
    record = known(desk, key)
    permissions.check(desk, Verb.PUSH, key.account, record)
    if (reason := permissions.reason_against(desk, Verb.PUSH, record)) is not None:
        raise Refused(reason)
    return _join(desk, key, Verb.PUSH) or desk.begin(
        Verb.PUSH,
        (key.account, key.region),
        f"asked to push statusd to {record.instance.name}",
        key=key,
        name=record.instance.name,
        steps=steps.begin(("ssh", "statusd", "armed")),
    )


def intend_adopt(desk: Desk, key: InstanceKey, policy: Policy | None = None) -> Operation:
    """Write the intent to take an instance under management, with what it has as limits, else the defaults.

    Raises:
        NotFound: no such instance.
        Refused: read-only.
    """
    record = known(desk, key)
    permissions.check(desk, Verb.ADOPT, key.account, record)
    limits = whole(policy or merged(record.policy, record.wanted) or default_policy(desk, key.account))
    return _join(desk, key, Verb.ADOPT) or desk.begin(
        Verb.ADOPT,
        (key.account, key.region),
        f"asked to take charge of {record.instance.name}",
        key=key,
        name=record.instance.name,
        steps=steps.begin(steps.SHORT),
        params={POLICY: codec.pack(limits)},
    )


# -- carrying out -----------------------------------------------------------------------------------------------------


def advance_push(desk: Desk, operation: Operation) -> Operation:
    """Push, read back, and say what is proved."""
    if operation.id not in desk.fresh and desk.is_stale_intent(operation):
        return desk.save(operation, stage=Stage.CANCELLED, detail="interrupted; press p to push again")
    assert operation.key is not None
    record = desk.record(operation.key)
    if record is None:
        return operation
    operation = desk.save(
        operation, attempts=operation.attempts + 1, params=with_params(operation, **{SENT_AT: desk.clock.now()})
    )
    try:
        policy = _take_charge(desk, record)
        armed = arm(desk, record, policy, config_of(desk, record))
    except (HostError, ProviderError, Refused) as exc:
        return fail(desk, operation, exc)
    if armed.problem is not None:
        return fail(desk, operation, HostError(armed.problem))
    now = desk.clock.now()
    done = steps.all_done(steps.done(operation.steps, "statusd", armed.lacking, now), now)
    return desk.save(operation, stage=Stage.PROVED, detail=armed.detail, steps=done)


def advance_rearm(desk: Desk, operation: Operation) -> Operation:
    """An instance of ours that was started again: its daemon answers with its policy, or is pushed anew."""
    assert operation.key is not None
    record = desk.record(operation.key)
    if record is None or not is_reachable(record):
        return operation
    operation = desk.save(operation, attempts=operation.attempts + 1, next_try_at=None)
    wanted = merged(desk.ledger.policies().get(record.key), record.instance.tag_policy) or Policy()
    try:
        status = ask(client(desk, record, LINK_PATIENCE_S))
        if status is None or not same_limits(wanted, status.policy) or powerless(status) is not None:
            armed = arm(desk, record, wanted, config_of(desk, record))
        else:
            _heard(desk, record, status)
            armed = Armed(wanted, status.version, None)
    except (HostError, ProviderError, Refused) as exc:
        return _rearm_later(desk, operation, f"running, but not guarded yet: {exc}")
    if armed.problem is not None:
        return _rearm_later(desk, operation, f"running, but {armed.problem}")
    lease, late = armed.policy.lease_deadline, ""
    if lease is not None and lease <= desk.clock.now():
        late = "; its lease is over, so the host ends in a few minutes unless it is extended"
    done = steps.all_done(operation.steps, desk.clock.now())
    return desk.save(operation, stage=Stage.PROVED, detail=f"running; {armed.detail}{late}", steps=done)


def _rearm_later(desk: Desk, operation: Operation, detail: str) -> Operation:
    wait = backoff_s(operation.attempts, first_s=REARM_FIRST_S, most_s=REARM_MOST_S)
    return desk.save(operation, detail=detail, next_try_at=desk.pace.after(wait))


def advance_adopt(desk: Desk, operation: Operation) -> Operation:
    """Write it down here, then at the cloud; tags that cannot be written are tried again."""
    key = operation.key
    assert key is not None
    policy = codec.unpack(Policy, operation.params[POLICY])
    desk.ledger.adopt(key)
    desk.ledger.set_policy(key, policy)
    operation = desk.save(operation, attempts=operation.attempts + 1, next_try_at=None)
    try:
        write_tags(desk, key, policy, managed=True)
    except ProviderError as exc:
        wait = backoff_s(operation.attempts, first_s=TAGS_FIRST_S, most_s=TAGS_MOST_S)
        detail = f"taken charge here; the cloud's tags are not written yet: {exc}"
        return desk.save(operation, stage=Stage.ACCEPTED, detail=detail, next_try_at=desk.pace.after(wait))
    done = steps.all_done(operation.steps, desk.clock.now())
    return desk.save(operation, stage=Stage.PROVED, detail="managed from now on", steps=done)


def arm(desk: Desk, record: Record, wanted: Policy, config: Mapping[str, object]) -> Armed:
    """Push the daemon with its policy and read it back.

    Raises:
        LinkDown: there is no connection.
        NeedsUser: a person must decide first.
        HostError: the push failed; what ran before runs again.
    """
    from gpudash.hosts.push import push

    link = desk.hosts().link(record.instance)
    daemon = desk.daemons.of(link)
    before = ask(daemon)
    policy = next_policy(wanted, before.policy if before else None)
    status: HostStatus | None = None
    version, stays_away = "", False
    key = _account_key(desk, record, config)
    lacking = desk.without(record.key, record.instance.name)
    for _ in range(2):
        result = push(link, {**config, "policy": policy_json(policy)}, account_key=key)
        stays_away |= result.changed and result.comes_back is None and record.instance.provider in CONTAINERS
        version = result.version
        status = _read_back(desk, daemon, policy)
        if status is not None and same_limits(policy, status.policy):
            break
        if status is not None:
            policy = next_policy(policy, status.policy)
    _heard(desk, record, status)
    problem = _record_outcome(desk, record, policy, status)
    has_no_way = status is not None and status.end_method is None
    if problem is None and status is not None and not has_no_way:
        problem = powerless(status)
    return Armed(policy, version, problem, only_reports=has_no_way, stays_away=stays_away, lacking=lacking)


def _account_key(desk: Desk, record: Record, config: Mapping[str, object]) -> str | None:
    """The key of the whole account, where the way to the end names it and a person agreed in so many words."""
    from gpudash.config.credentials import resolve

    if ACCOUNT_KEY not in json.dumps(config["end"]):
        return None
    account = desk.config.accounts[record.key.account]
    if not account.key_on_hosts:
        text = f"Nobody agreed that the key of account {account.name} may be put on {record.instance.name}."
        raise Refused(text, hint=f"Set key_on_hosts in [accounts.{account.name}], or let the watchdog end it.")
    return resolve(account)


def next_policy(wanted: Policy, in_force: Policy | None) -> Policy:
    """What goes into the configuration: never less time than the host already grants, never past a hard deadline."""
    if in_force is None:
        return whole(wanted)
    latest = merged(wanted, in_force) or wanted
    limits = replace(wanted, lease_deadline=latest.lease_deadline, hard_deadline=latest.hard_deadline)
    highest = max(wanted.revision, in_force.revision)
    return whole(replace(limits, revision=highest if same_limits(limits, in_force) else highest + 1))


def config_of(desk: Desk, record: Record, *, service_port: int | None = None) -> dict[str, object]:
    """The daemon's ``config.json`` without its policy."""
    instance = record.instance
    port = service_port or instance.service_port or desk.config.defaults.service_port
    config: dict[str, object] = {
        "schema": CONFIG_SCHEMA,
        "instance": {
            "account": instance.key.account,
            "region": instance.key.region,
            "id": instance.key.id,
            "name": instance.name,
        },
        "provider": instance.provider,
        "end": dict(desk.accounts[instance.key.account].end_spec(instance.key)),
        "service_ports": [port],
        "gpus": instance.gpu_count,
    }
    if instance.ssh is not None and instance.ssh.host in {"127.0.0.1", "::1", "localhost"}:
        config["ssh_port"] = instance.ssh.port
    return config


def policy_json(policy: Policy) -> dict[str, object]:
    """The daemon's form of a policy."""
    return {
        "lease_deadline": iso(policy.lease_deadline),
        "hard_deadline": iso(policy.hard_deadline),
        "idle_timeout_s": None if policy.idle_timeout is None else int(policy.idle_timeout.total_seconds()),
        "idle_action": policy.idle_action.value,
        "lease_action": policy.lease_action.value,
        "parked_timeout_s": None if policy.parked_timeout is None else int(policy.parked_timeout.total_seconds()),
        "revision": policy.revision,
    }


def write_tags(desk: Desk, key: InstanceKey, policy: Policy, *, managed: bool) -> None:
    """Keep the limits at the cloud as well, where it has tags.

    Raises:
        ProviderError: it did not take them.
    """
    if desk.accounts.capabilities(key.account).has_tags:
        desk.accounts[key.account].set_tags(key, tags_for(policy, managed=managed))


def _take_charge(desk: Desk, record: Record) -> Policy:
    """A pushed instance is a managed one. Its limits: those it has, else the defaults from now on."""
    policy = merged(desk.ledger.policies().get(record.key), record.instance.tag_policy)
    if policy is None or not policy.limits_anything:
        policy = merged(record.status.policy if record.status else None)
    if policy is None or not policy.limits_anything:
        policy = default_policy(desk, record.key.account)
    desk.ledger.adopt(record.key)
    desk.ledger.set_policy(record.key, policy)
    return policy


def _heard(desk: Desk, record: Record, status: HostStatus | None) -> None:
    if status is not None:
        desk.on_reading(HostReading(record.key, desk.clock.now(), status))


def _read_back(desk: Desk, daemon: StatusClient, policy: Policy) -> HostStatus | None:
    """The daemon's answer once it has the policy, or its last one when it does not take it."""
    until = desk.clock.monotonic() + READ_BACK_S
    while True:
        status = ask(daemon)
        taken = status is not None and (same_limits(policy, status.policy) or status.policy.revision > policy.revision)
        if taken or desk.clock.monotonic() >= until:
            return status
        desk.clock.sleep(READ_BACK_EVERY_S)


def _record_outcome(desk: Desk, record: Record, policy: Policy, status: HostStatus | None) -> str | None:
    """Write down what was proved; why it was not, where it was not."""
    if status is None:
        return "the daemon was pushed but does not answer"
    if not same_limits(policy, status.policy):
        return f"the host enforces other limits than were asked for: {_words(status.policy)}"
    desk.ledger.adopt(record.key)
    desk.ledger.set_policy(record.key, policy)
    if not same_limits(policy, record.instance.tag_policy) or not record.instance.managed:
        try:
            write_tags(desk, record.key, policy, managed=True)
        except ProviderError as exc:
            desk.alarm(f"tags not written: {exc}", record.key.account, record.key, record.instance.name)
    return None


def _words(policy: Policy) -> str:
    lease = iso(policy.lease_deadline) or "no lease"
    idle = format_duration(policy.idle_timeout) if policy.idle_timeout else "none"
    return f"lease {lease}, hard {iso(policy.hard_deadline) or 'none'}, idle {idle}"


def _join(desk: Desk, key: InstanceKey, verb: Verb) -> Operation | None:
    """An open operation of the same kind on the same instance; asking twice does it once."""
    for operation in desk.ledger.open_operations(key.account):
        if operation.key == key and operation.verb is verb:
            desk.fresh.add(operation.id)
            return operation
    return None
