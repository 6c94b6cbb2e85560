"""`configure`: which credentials are there, do they work, and shall they be written down as accounts?

What lies in a vendor's usual place works without any of this. Writing it down gives an account a name, keeps it where
several keys of one cloud are found, and is where a budget or read-only is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import words
from gpudash.cli.output import can_ask
from gpudash.cli.verb import Run, Verb, pass_run
from gpudash.errors import ExitCode, Refused

if TYPE_CHECKING:
    from gpudash.config import Account, Config
    from gpudash.config.soong import Imported
    from gpudash.fleet.checking import Checked

TIMEOUT_S = 25.0
"""How long all clouds together have to answer."""
USUAL = "-"


@dataclass
class Candidate:
    """One account: written down already, or found."""

    account: Account
    where: str
    is_new: bool
    problem: str | None = None
    """Why it cannot even be asked."""
    checked: Checked | None = None
    written: bool = False

    @property
    def works(self) -> bool | None:
        """None where nobody asked."""
        return False if self.problem else self.checked.works if self.checked else None


@click.command(cls=Verb)
@click.option("--yes", is_flag=True, help="Write everything new that works, without asking.")
@click.option("--no-check", is_flag=True, help="Ask no cloud.")
@click.option(
    "--import-soong",
    "soong_file",
    is_flag=False,
    flag_value=USUAL,
    metavar="[FILE]",
    help="Take over soong's settings.  [default: ~/.config/gpu-dashboard/config.yaml]",
)
@pass_run
def configure(run: Run, yes: bool, no_check: bool, soong_file: str | None) -> int:
    """Show which credentials are found, check each at its cloud, and write them to config.toml as accounts.

    Keys stay where they are: the file says where each is kept. Comments in it stay too. Without a terminal and
    without --yes nothing is written.
    """
    from gpudash import config as settings
    from gpudash import paths

    path = paths.config_file()
    written = settings.load(path)
    imported = _import(soong_file, written) if soong_file is not None else None
    candidates = _candidates(written, imported)
    if not no_check:
        _check(run, candidates)
    if not run.out.json:
        _show(run, path, candidates, imported)
    new = [item for item in candidates if item.is_new and (item.works or (no_check and not item.problem))]
    changes = _new_settings(imported, written) if imported else {}
    chosen = _choose(run, new, changes, yes)
    if chosen or (changes and (yes or chosen is not None)):
        _write(run, path, chosen or [], changes)
    if run.out.json:
        run.out.document(_document(path, candidates, imported, changes))
    return _code(candidates)


def _candidates(written: Config, imported: Imported | None) -> list[Candidate]:
    from gpudash.config import SANDBOX, all_credentials
    from gpudash.providers import registry

    found = [
        Candidate(account, _kept(account), is_new=False, problem=None if account.provider in registry.names() else
                  f"no adapter for {account.provider} in this version")
        for account in written.accounts.values()
        if account.provider != SANDBOX
    ]  # fmt: skip
    keys = {_key(item.account) for item in found} - {None}
    names = {item.account.name for item in found}
    offered: list[tuple[Account, str, str | None]] = [(imported.account, "soong's file", None)] if imported else []
    offered += [(item.account, item.where, item.problem or _unknown(item.provider)) for item in
                all_credentials(registry.names())]  # fmt: skip
    for account, where, problem in offered:
        key = None if problem else _key(account)
        if key is not None and key in keys:
            continue
        keys.add(key)
        account = _renamed(account, names)
        names.add(account.name)
        found.append(Candidate(account, where, is_new=True, problem=problem))
    return found


def _unknown(provider: str) -> str | None:
    from gpudash.providers import registry

    return None if provider in registry.names() else f"no adapter for {provider} in this version"


def _key(account: Account) -> object:
    """What tells two credentials apart, for this run only."""
    from gpudash.config import credential
    from gpudash.errors import GpudashError

    if account.provider == "aws":
        return ("aws", account.profile)
    try:
        return (account.provider, credential(account))
    except GpudashError:
        return None


def _renamed(account: Account, names: set[str]) -> Account:
    name, number = account.name, 2
    while name in names:
        name, number = f"{account.name}-{number}", number + 1
    return replace(account, name=name)


def _kept(account: Account) -> str:
    source = account.credential_source
    if source == "api_key_env":
        return f"${account.api_key_env}"
    if source is not None:
        value = getattr(account, source)
        return f"{source} {value[0] if isinstance(value, tuple) else value}"
    return f"profile {account.profile}" if account.profile else "the usual places"


def _check(run: Run, candidates: list[Candidate]) -> None:
    from gpudash.cli.output import log_to_file
    from gpudash.clock import SystemClock
    from gpudash.fleet.checking import check_accounts

    asked = [item for item in candidates if item.problem is None]
    if not asked:
        return
    log_to_file()
    if not run.out.json:
        run.out.talk(f"asking {', '.join(item.account.name for item in asked)} …")
    answers = check_accounts([item.account for item in asked], SystemClock(), TIMEOUT_S)
    for item, answer in zip(asked, answers, strict=True):
        item.checked = answer


def _show(run: Run, path: Path, candidates: list[Candidate], imported: Imported | None) -> None:
    if not candidates:
        run.out.line("No credentials were found in the usual places of AWS, Lambda, RunPod and Vast.")
        run.out.line(
            "Set LAMBDA_API_KEY, RUNPOD_API_KEY or VAST_API_KEY, run `aws configure`, or say where a key is kept:"
        )
        run.out.line(f'[accounts.lambda] api_key_command = "pass show lambda/key" in {path}')
        return
    rows = [
        (item.account.name, item.account.provider, item.where, "new" if item.is_new else "in config.toml", _said(item))
        for item in candidates
    ]
    for line in words.table(("ACCOUNT", "CLOUD", "KEY", "STATE", "ANSWER"), rows):
        run.out.line(line)
    for name, hint in imported.left_out if imported else ():
        run.out.line(f"soong's {name} has no setting here: {hint}")
    for model in imported.models if imported else ():
        missing = ", ".join(model.missing)
        run.out.line(f"soong's model {model.id} lacks figures: put in {missing} (its config.json has them), and run")
        run.out.line(f"  {model.command}")


def _said(item: Candidate) -> str:
    if item.problem:
        return item.problem
    if item.checked is None:
        return "not asked"
    if not item.checked.works:
        return item.checked.problem or "does not work"
    count = item.checked.instances
    return "works" if not count else f"works, {count} instance{'s' if count != 1 else ''}"


def _new_settings(imported: Imported, written: Config) -> dict[str, str | int]:
    """Settings of soong that the file does not have: what a person wrote there stays."""
    from gpudash.config import Defaults

    usual = Defaults()
    return {
        name: value
        for name, value in imported.settings.items()
        if getattr(written.defaults, name.partition(".")[2]) == getattr(usual, name.partition(".")[2])
    }


def _choose(run: Run, new: list[Candidate], changes: Mapping[str, str | int], yes: bool) -> list[Candidate] | None:
    """What is to be written; None where nobody decided."""
    if yes or not (new or changes):
        return new
    if run.out.json or not can_ask():
        if not run.out.json:
            run.out.talk("gpudash: nothing was written. With --yes what is new and works is.")
        return None
    chosen = []
    for item in new:
        answer = run.out.ask(f"Write account {item.account.name} ({item.where})? [Y/n] ")
        if answer.casefold() in ("", "y", "yes"):
            chosen.append(item)
    return chosen


def _write(run: Run, path: Path, chosen: list[Candidate], changes: Mapping[str, str | int]) -> None:
    from gpudash import config as settings

    if run.read_only:
        raise Refused("--read-only was given.", hint="Nothing was written.")
    if changes:
        settings.save_settings(path, changes)
    for item in chosen:
        settings.save_account(path, item.account)
        item.written = True
    if not run.out.json:
        what = [f"account {item.account.name}" for item in chosen]
        what += [f"{name} = {value}" for name, value in changes.items()]
        run.out.talk(f"wrote {', '.join(what)} to {path}")


def _document(
    path: Path, candidates: list[Candidate], imported: Imported | None, changes: Mapping[str, str | int]
) -> dict[str, Any]:
    from gpudash.clock import SystemClock, iso

    return {
        "as_of": iso(SystemClock().now()),
        "config": str(path),
        "accounts": [
            {
                "account": item.account.name,
                "provider": item.account.provider,
                "where": item.where,
                "new": item.is_new,
                "works": item.works,
                "instances": item.checked.instances if item.checked else None,
                "problem": item.problem or (item.checked.problem if item.checked else None),
                "written": item.written,
            }
            for item in candidates
        ],
        "imported": None if imported is None else _imported(imported, changes),
    }


def _imported(imported: Imported, changes: Mapping[str, str | int]) -> dict[str, Any]:
    models = [{"id": m.id, "command": m.command, "missing": list(m.missing)} for m in imported.models]
    return {"settings": dict(changes), "left_out": dict(imported.left_out), "models": models}


def _code(candidates: list[Candidate]) -> int:
    """5 where an account that is written down does not work; a stale key in some usual place is only shown."""
    broken = any(item.works is False for item in candidates if item.written or not item.is_new)
    return int(ExitCode.UNREACHABLE if broken else ExitCode.OK)


def _import(given: str, written: Config) -> Imported:
    from gpudash.config import soong

    return soong.read(soong.usual_file() if given == USUAL else Path(given).expanduser().absolute(), written.accounts)
