"""`doctor`: is everything in place? Reads settings, paths, ledger and programs, asks clouds what is allowed; changes
nothing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import sys
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import balances, permitted, words
from gpudash.cli.verb import Run, Verb, pass_run
from gpudash.clock import SystemClock, iso
from gpudash.errors import ConfigError, ExitCode, GpudashError

if TYPE_CHECKING:
    from gpudash.config import Config

PROGRAMS = {
    "ssh": "`gpudash ssh` and the dashboard's shell run it",
    "sh": "the sandbox's hosts run it",
}
"""Programs beyond Python, and what for."""


@click.command(cls=Verb)
@click.option("--offline", is_flag=True, help="Ask no cloud what is allowed and what is left.")
@click.option(
    "--policy",
    type=click.Choice(["person", "instance", "trust"]),
    help="Print only that policy, ready to paste: for you, for the instance role, or who may have that role.",
)
@click.option("--account", metavar="A", help="For --policy: of which account's cloud.")
@pass_run
def doctor(run: Run, offline: bool, policy: str | None, account: str | None) -> int:
    """Check accounts, credentials, permissions, paths, ledger, sandbox and programs. Exit code 1: something is wrong.

    Which calls are allowed is found out by reading, by dry runs and by simulation; nothing is changed.
    """
    if policy is not None:
        run.out.line(json.dumps(permitted.document(run.config, policy, account), indent=2))
        return int(ExitCode.OK)
    findings: list[str] = []
    config, broken = _config(run)
    if broken:
        findings.append(broken)
    body: dict[str, Any] = {
        "as_of": iso(SystemClock().now()),
        "version": _version(),
        "python": platform.python_version(),
        "platform": sys.platform,
        "config": _config_file(config),
        "accounts": _accounts(config, findings) if config else [],
        "credentials": _credentials(),
        "permissions": permitted.examined(config, findings) if config and not offline else [],
        "balances": balances.told(config, findings) if config and not offline else [],
        "paths": _paths(findings),
        "ledger": _ledger(findings),
        "sandbox": _sandbox(),
        "programs": _programs(findings),
    }
    body["problems"] = findings
    if run.out.json:
        run.out.document(body)
    else:
        for line in report(body):
            run.out.line(line)
    return int((ExitCode.USAGE if broken else ExitCode.FAILED) if findings else ExitCode.OK)


def _version() -> str:
    from gpudash import __version__

    return __version__


def _config(run: Run) -> tuple[Config | None, str | None]:
    try:
        return run.config, None
    except ConfigError as exc:
        return None, str(exc)


def _config_file(config: Config | None) -> dict[str, Any]:
    from gpudash import paths

    path = paths.config_file()
    return {
        "path": str(path),
        "exists": path.exists(),
        "valid": config is not None,
        "read_only": config.defaults.read_only if config else None,
        "theme": config.defaults.theme if config else None,
    }


def _accounts(config: Config, findings: list[str]) -> list[dict[str, Any]]:
    """Each account, whether there is an adapter for its cloud, and whether its key can be had."""
    from gpudash.config import credential
    from gpudash.providers import registry

    selected = {account.name for account in config.selected()}
    found = []
    for account in config.accounts.values():
        problems = [] if account.provider in registry.names() else [f"no adapter for {account.provider} here"]
        if account.credential_source:
            try:
                credential(account)
            except GpudashError as exc:
                problems.append(str(exc))
        problem = "; ".join(problems) or None
        if problem:
            findings.append(f"account {account.name}: {problem}")
        found.append(
            {
                "account": account.name,
                "provider": account.provider,
                "credential": account.credential_source,
                "selected": account.name in selected,
                "read_only": account.read_only,
                "problem": problem,
            }
        )
    return found


def _credentials() -> list[dict[str, Any]]:
    """Keys in vendors' usual places: where, never what."""
    from gpudash.config import found_credentials
    from gpudash.providers import registry

    return [
        {"provider": item.provider, "where": item.where, "usable": item.usable, "problem": item.problem}
        for item in found_credentials(registry.names())
    ]


def _paths(findings: list[str]) -> dict[str, Any]:
    """Where things are, and whether others could read or replace them."""
    from gpudash import paths

    folders = {"config": paths.config_dir(), "state": paths.state_dir(), "sandbox": paths.sandbox_dir()}
    for name, folder in folders.items():
        if not folder.exists():
            continue
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o022:
            findings.append(f"others can write {folder} ({name}); try: chmod go-w {folder}")
        if not os.access(folder, os.W_OK):
            findings.append(f"{folder} ({name}) cannot be written")
    return {name: str(folder) for name, folder in folders.items()} | {"log": str(paths.log_file())}


def _ledger(findings: list[str]) -> dict[str, Any]:
    from gpudash import paths
    from gpudash.ledger import Ledger

    path = paths.ledger_file()
    facts: dict[str, Any] = {
        "path": str(path),
        "exists": path.exists(),
        "bytes": path.stat().st_size if path.exists() else None,
        "open_operations": None,
        "notice": None,
        "set_aside": sorted(str(old) for old in path.parent.glob(f"{path.name}.corrupt-*")),
    }
    if not path.exists():
        return facts
    try:
        ledger = Ledger.open(path, SystemClock())
        try:
            facts["notice"] = ledger.notice
            facts["open_operations"] = len(ledger.open_operations())
        finally:
            ledger.close()
    except GpudashError as exc:
        facts["notice"] = str(exc)
    if facts["notice"]:
        findings.append(str(facts["notice"]))
    return facts


def _sandbox() -> dict[str, Any]:
    from gpudash import paths

    folder = paths.sandbox_dir()
    hosts = [host for host in (folder / "hosts").glob("*") if host.is_dir()] if folder.exists() else []
    facts: dict[str, Any] = {"exists": folder.exists(), "hosts": len(hosts), "faults_on": []}
    if folder.exists():
        from gpudash.providers.sandbox import control

        facts["faults_on"] = [fault.name for fault in control.faults() if fault.on or fault.hosts]
    return facts


def _programs(findings: list[str]) -> dict[str, Any]:
    found = {name: shutil.which(name) for name in PROGRAMS}
    findings += [f"no {name} on PATH: {PROGRAMS[name]}" for name, path in found.items() if path is None]
    return dict(found)


def report(body: dict[str, Any]) -> list[str]:
    """The same as text."""
    config, ledger, sandbox = body["config"], body["ledger"], body["sandbox"]
    there = "valid" if config["valid"] else "wrong"
    facts = [
        ("gpudash", f"{body['version']}, Python {body['python']}, {body['platform']}"),
        ("settings", f"{config['path']} ({there if config['exists'] else 'none; defaults hold'})"),
    ]
    for account in body["accounts"]:
        used = "used" if account["selected"] else "not used by ls and launch"
        facts.append(("account", f"{account['account']} ({account['provider']}): {account['problem'] or used}"))
    for item in body["credentials"]:
        word = item["problem"] or ("usable" if item["usable"] else "no adapter in this version")
        facts.append(("found", f"{item['provider']} key at {item['where']}: {word}"))
    facts += permitted.lines(body["permissions"])
    facts += [("balance", f"{one['account']}: {one['text']}") for one in body["balances"]]
    facts += [(name, path) for name, path in body["paths"].items()]
    size = f"{ledger['bytes']} bytes" if ledger["exists"] else "none yet"
    facts.append(("ledger", f"{ledger['path']} ({size})"))
    facts += [("set aside", path) for path in ledger["set_aside"]]
    on = f", faults on: {', '.join(sandbox['faults_on'])}" if sandbox["faults_on"] else ""
    facts.append(("hosts", f"{sandbox['hosts']} in the sandbox{on}"))
    facts += [("program", f"{name} {path or 'is missing'}") for name, path in body["programs"].items()]
    facts += [("PROBLEM", problem) for problem in body["problems"]]
    return [words.printable(f"{word:9}  {text}") for word, text in facts] + (
        [] if body["problems"] else ["all is well"]
    )
