"""`doctor`'s questions to clouds: which calls each account may make. Asked side by side; a silent cloud is a finding."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from gpudash.clock import SystemClock
from gpudash.errors import GpudashError, UsageError

if TYPE_CHECKING:
    from gpudash.config import Account, Config
    from gpudash.providers.base import Examination

TIMEOUT_S = 60.0
"""How long all clouds together are waited for."""
MANY = 6
"""Actions that a line names."""


def examined(config: Config, findings: list[str]) -> list[dict[str, Any]]:
    """Each account that `ls` uses, at clouds where permissions differ; what is wrong goes into `findings`."""
    from gpudash.providers import registry

    asked = [account for account in config.selected() if account.provider in registry.names()]
    answers = _ask([account for account in asked if registry.documents(account.provider)])
    found = []
    for account, answer in answers:
        if isinstance(answer, str):
            findings.append(f"account {account.name}: {answer}")
            continue
        if answer.problem:
            findings.append(f"account {account.name}: {answer.problem}")
        if answer.missing:
            paste = f"`gpudash doctor --policy person --account {account.name}` prints what is needed"
            findings.append(f"account {account.name} may not call {_named(answer.missing)}; {paste}")
        found.append(_as_json(account, answer))
    return found


def document(config: Config, kind: str, account: str | None) -> dict[str, Any]:
    """One policy to paste; asks no cloud.

    Raises:
        UsageError: no account whose cloud has such a thing, or several.
    """
    from gpudash.providers import registry

    names = [account] if account else [one.name for one in config.selected()]
    if account is not None and account not in config.accounts:
        raise UsageError(f"There is no account {account!r}.", hint=f"There is: {', '.join(sorted(config.accounts))}.")
    providers = {config.accounts[name].provider for name in names}
    found = {name: papers for name in providers if (papers := registry.documents(name))}
    if not found and account is None:
        found = {"aws": registry.documents("aws")}
    if len(found) != 1:
        raise UsageError("Which account is it for?" if found else "Keys of that cloud have no limits to paste.")
    return next(iter(found.values()))[kind]


def lines(permissions: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The same as words and texts."""
    said: list[tuple[str, str]] = []
    for one in permissions:
        if one["identity"] is None:
            continue
        checks = one["checks"]
        allowed = sum(check["allowed"] is True for check in checks)
        said.append(("allowed", f"{one['account']}: {allowed} of {len(checks)} calls, as {one['identity']}"))
        said += [
            ("denied", f"{one['account']}: {check['action']} ({check['how']}): {check['detail']}")
            for check in checks
            if check["allowed"] is False
        ]
        unknown = [check["action"] for check in checks if check["allowed"] is None]
        if unknown:
            why = "".join(
                dict.fromkeys(f" ({c['detail']})" for c in checks if c["how"] == "not checked" and c["detail"])
            )
            said.append(("unknown", f"{one['account']}: nothing could tell of {', '.join(unknown)}{why}"))
        said += [
            ("quota", f"{one['account']}: {what}: {'?' if value is None else f'{value:g}'}")
            for what, value in one["quotas"].items()
        ]
    if permissions:
        said.append(("paste", "gpudash doctor --policy person | instance | trust prints the least that is needed"))
    return said


def _ask(accounts: list[Account]) -> list[tuple[Account, Examination | str]]:
    from gpudash.providers import registry

    answers: SimpleQueue[tuple[str, Examination | str | None]] = SimpleQueue()

    def run(account: Account) -> None:
        try:
            answers.put((account.name, registry.examine(account, SystemClock())))
        except GpudashError as exc:
            answers.put((account.name, str(exc)))

    clock = SystemClock()
    deadline = clock.monotonic() + TIMEOUT_S
    for account in accounts:
        threading.Thread(target=run, args=(account,), daemon=True).start()
    found: dict[str, Examination | str | None] = {}
    while len(found) < len(accounts):
        try:
            name, answer = answers.get(timeout=max(0.0, deadline - clock.monotonic()))
        except Empty:
            break
        found[name] = answer
    silent = f"no answer within {TIMEOUT_S:g} s"
    told = [(account, found.get(account.name, silent)) for account in accounts]
    return [(account, answer) for account, answer in told if answer is not None]


def _as_json(account: Account, answer: Examination) -> dict[str, Any]:
    from gpudash.providers import registry

    return {
        "account": account.name,
        "region": answer.region,
        "identity": answer.identity,
        "problem": answer.problem,
        "checks": [
            {"action": check.action, "allowed": check.allowed, "how": check.how, "detail": check.detail}
            for check in answer.checks
        ],
        "quotas": dict(answer.quotas),
        "policies": registry.documents(account.provider),
    }


def _named(actions: tuple[str, ...]) -> str:
    more = f" and {len(actions) - MANY} more" if len(actions) > MANY else ""
    return ", ".join(actions[:MANY]) + more
