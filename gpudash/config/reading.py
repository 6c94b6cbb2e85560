"""From ``config.toml`` to `Config`: every check that concerns more than one value lives here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpudash import paths
from gpudash.config.kinds import shown
from gpudash.config.section import Section
from gpudash.config.settings import CREDENTIALS, PROVIDERS, SANDBOX, Account, Config, Defaults
from gpudash.errors import ConfigError
from gpudash.model.duration import format_duration

if TYPE_CHECKING:
    from gpudash.config.credentials import FoundCredential

SECTIONS = ("defaults", "accounts", "keys")
"""Top-level tables of the file."""


def load(path: Path | None = None, *, adapters: Collection[str] = ()) -> Config:
    """Read the settings; a file that is not there means the defaults.

    Args:
        path: the file; by default the platform's.
        adapters: clouds whose credentials, where they lie in the vendor's usual place, make an account by themselves
            (named like the cloud) unless the file has an account of that cloud.

    Raises:
        ConfigError: the file cannot be read, or something in it is wrong.
    """
    path = path or paths.config_file()
    body = _read(path)
    config = Config() if body is None else check(path, body)
    taken = {account.provider for account in config.accounts.values()}
    implied = {
        found.provider: found.account
        for found in (_found(adapters) if adapters else ())
        if found.usable and found.provider not in taken and found.provider not in config.accounts
    }
    return replace(config, accounts={**config.accounts, **implied}) if implied else config


def check_theme(config: Config, known: Collection[str]) -> None:
    """Compare the theme with those there are.

    Raises:
        ConfigError: the file asks for one that does not exist.
    """
    theme = config.defaults.theme
    if theme is not None and theme not in known:
        section = Section(config.path or paths.config_file(), "defaults")
        raise section.unknown(f"theme = {shown(theme)}: no such theme", theme, known)


def _found(adapters: Collection[str]) -> list[FoundCredential]:
    from gpudash.config.credentials import find

    return find(adapters)


def _read(path: Path) -> dict[str, Any] | None:
    text = text_of(path)
    return None if text is None else parse(path, text)


def text_of(path: Path) -> str | None:
    """The file as text; None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8 text (byte {exc.start}).", hint="Save it as UTF-8.") from exc
    except OSError as exc:
        why = exc.strerror or str(exc)
        raise ConfigError(f"{path} cannot be read: {why}.", hint=f"Try: ls -ld {path}") from exc


def parse(path: Path, text: str) -> dict[str, Any]:
    """TOML, with numbers exact."""
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError) as exc:
        raise ConfigError(f"{path} is not TOML: {exc}.", hint='A setting is written like: lease = "4h"') from exc


def check(path: Path, body: Mapping[str, Any]) -> Config:
    """The whole file as settings, or the error for the first thing that is wrong in it."""
    whole = Section(path, "")
    whole.refuse_secrets(body)
    for section in body:
        if section not in SECTIONS:
            raise whole.unknown(f"{section}: no such section", section, SECTIONS)
        if not isinstance(body[section], dict):
            raise ConfigError(f"{path}: {section} is a section.", hint=f"Write it as a line of its own: [{section}]")
    defaults = _defaults(path, body.get("defaults", {}))
    accounts = [_account(path, name, part) for name, part in body.get("accounts", {}).items()]
    sandboxes = [account.name for account in accounts if account.provider == SANDBOX]
    if len(sandboxes) > 1 or sandboxes not in ([], [SANDBOX]):
        other = next(name for name in sandboxes if name != SANDBOX)
        raise Section(path, f"accounts.{other}").wrong(
            'provider = "sandbox"', "there is one sandbox, and its account has that name", "[accounts.sandbox]"
        )
    sandbox = {} if sandboxes else {SANDBOX: Account(SANDBOX, SANDBOX)}
    named = {account.name: account for account in accounts}
    return Config(defaults, sandbox | named, _keys(path, body.get("keys", {})), path)


def _defaults(path: Path, body: Mapping[str, Any]) -> Defaults:
    part = Section(path, "defaults")
    found = part.read(Defaults, body)
    if "lease" not in found and "max_lease" in found:
        found["lease"] = min(found["max_lease"], Defaults().lease)
    defaults = Defaults(**found)
    if defaults.lease > defaults.max_lease:
        lease = format_duration(defaults.lease)
        raise part.wrong(
            f'lease = "{lease}"',
            f"it is longer than max_lease, {format_duration(defaults.max_lease)}",
            f'max_lease = "{lease}"',
        )
    return defaults


def _account(path: Path, name: str, body: Any) -> Account:
    part = Section(path, f"accounts.{name}")
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: accounts.{name} is a section.", hint=f"Write: [accounts.{name}]")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise part.wrong("its name", "letters, digits, . _ and - only", "[accounts.work]")
    found = part.read(Account, body)
    provider = found.setdefault("provider", name if name in PROVIDERS else None)
    if provider is None:
        raise part.wrong("provider", "it is missing", 'provider = "lambda"')
    if provider not in PROVIDERS:
        raise part.unknown(f"provider = {shown(provider)}: no such cloud", provider, PROVIDERS)
    if name in PROVIDERS and name != provider:
        raise part.wrong(f"provider = {shown(provider)}", f"the name {name} is another cloud's", "[accounts.work]")
    part.check_meaning(found, provider)
    sources = [source for source in CREDENTIALS if source in found]
    if len(sources) > 1:
        raise part.wrong(" and ".join(sources), "a key is kept in one place", 'api_key_env = "LAMBDA_API_KEY"')
    if "api_key_command" in sources and path.exists() and path.stat().st_mode & 0o002:
        raise part.wrong("api_key_command", "others can write this file", hint=f"Try: chmod 600 {path}")
    return Account(name, **found)


def _keys(path: Path, body: Mapping[str, Any]) -> dict[str, str]:
    part, keys = Section(path, "keys"), {}
    for action, value in body.items():
        written = ",".join(value) if isinstance(value, list) and all(isinstance(key, str) for key in value) else value
        if not isinstance(written, str):
            raise part.wrong(f"{action} = {shown(value)}", "expected a key, or several with commas", f'{action} = "x"')
        keys[action] = written
    return keys
