"""Where keys of clouds are kept: fetching the one an account names, and finding those in vendors' usual places.

Used through `gpudash.config`. A key is never logged, shown or kept; texts name places only. Whatever a vendor's own
tools and the widely used third-party ones read is looked at, in their order.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gpudash.config.keyfiles import holds_key, key_in
from gpudash.config.settings import Account
from gpudash.errors import AuthRefused

COMMAND_TIMEOUT_S = 60.0
"""How long `api_key_command` may take; a person may have to touch a security key."""

_VARIABLES = {
    "lambda": (
        "LAMBDA_API_KEY",
        "LAMBDA_CLOUD_API_TOKEN",
        "LAMBDA_CLOUD_TOKEN",
        "LAMBDA_API_TOKEN",
        "LAMBDALABS_API_KEY",
    ),
    "runpod": ("RUNPOD_API_KEY",),
    "vast": ("VAST_API_KEY",),
}

_INSIDE = {"runpod": "RUNPOD_POD_ID", "vast": "CONTAINER_ID"}
"""Set inside a machine of that cloud, where the usual places hold a key for that one machine only."""


_SHARED = ("config.yml",)
"""Files that hold keys of several clouds, or of none: they count only where this cloud's key is in them."""


@dataclass(frozen=True, slots=True)
class FoundCredential:
    """A key in a place where its vendor expects it."""

    provider: str
    where: str
    """For people: ``$LAMBDA_API_KEY``, ``~/.runpod/config.toml``, ``~/.aws/credentials [work]``."""
    usable: bool
    """gpudash can talk to that cloud, and nothing hinders reading the key."""
    account: Account
    """An account that uses it, named like the cloud."""
    problem: str | None = None
    """Why it cannot be used, where it is the key's own fault."""


def resolve(account: Account) -> str:
    """The key of an account, from the one place it names, else from the vendor's usual places.

    Raises:
        AuthRefused: there is none, or it cannot be read.
    """
    if account.api_key_env is not None:
        return _from_variable(account, account.api_key_env)
    if account.api_key_file is not None:
        return _from_file(account, account.api_key_file)
    if account.api_key_command is not None:
        return _from_command(account, account.api_key_command)
    if account.keyring is not None:
        return _from_keyring(account, account.keyring)
    for found in _usual_places(account.provider):
        if found.account.credential_source is not None:
            return resolve(found.account)
    looked = ", ".join(_places(account.provider)) or "no place"
    raise _refused(account, f"no key was found (looked at {looked})", 'Say where it is: api_key_env = "NAME".')


def vast_session(account: Account) -> str | None:
    """The key of the two-factor session that ``vastai tfa login`` left, where the account's own key is looked for in
    files as well; None where there is none, or others can read it.

    Vast's own client prefers it to the normal key, unless that one is given by option or variable.
    """
    if account.credential_source is not None or _INSIDE["vast"] in os.environ or os.environ.get("VAST_API_KEY"):
        return None
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = settings / "vastai" / "vast_tfa_key"
    try:
        return None if path.stat().st_mode & 0o077 else path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def find(adapters: Collection[str]) -> list[FoundCredential]:
    """The first credential of each cloud in its vendor's usual places; one that cannot be read says why."""
    found = []
    for provider in ("aws", *_VARIABLES):
        first = next(_usual_places(provider), None)
        if first is not None:
            problem = _problem(first.account)
            usable = provider in adapters and problem is None
            found.append(FoundCredential(provider, first.where, usable, first.account, problem))
    return found


def find_all(adapters: Collection[str]) -> list[FoundCredential]:
    """Every credential in vendors' usual places, each with an account name of its own; the same key counts once."""
    found: list[FoundCredential] = []
    for provider in ("aws", *_VARIABLES):
        keys: set[str] = set()
        for place in _usual_places(provider):
            problem = _problem(place.account)
            if problem is None and provider != "aws":
                key = resolve(place.account)
                if key in keys:
                    continue
                keys.add(key)
            number = sum(1 for item in found if item.provider == provider)
            suffix = _plain(place.account.profile) if place.account.profile else str(number + 1)
            account = replace(place.account, name=provider if number == 0 else f"{provider}-{suffix}")
            usable = provider in adapters and problem is None
            found.append(FoundCredential(provider, place.where, usable, account, problem))
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    where: str
    account: Account


def _usual_places(provider: str) -> Iterator[_Place]:
    if provider == "aws":
        yield from _aws_places()
        return
    if _INSIDE.get(provider, "") in os.environ:
        return
    for name in _VARIABLES.get(provider, ()):
        if os.environ.get(name):
            yield _Place(f"${name}", Account(provider, provider, api_key_env=name))
    for path in _files(provider):
        if path.is_file() and (path.name not in _SHARED or holds_key(path, provider)):
            yield _Place(_short(path), Account(provider, provider, api_key_file=path))


def _files(provider: str) -> tuple[Path, ...]:
    home = Path.home()
    dstack = home / ".dstack" / "server" / "config.yml"
    if provider == "lambda":
        return (home / ".lambda_cloud" / "lambda_keys", dstack)
    if provider == "runpod":
        return (home / ".runpod" / "config.toml", home / ".runpod.yaml", dstack)
    if provider == "vast":
        settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        places = (
            settings / "vastai" / "vast_api_key",
            home / ".config" / "vastai" / "vast_api_key",
            home / ".vast_api_key",
            dstack,
        )
        return tuple(dict.fromkeys(places))
    return ()


def _places(provider: str) -> list[str]:
    return [f"${name}" for name in _VARIABLES.get(provider, ())] + [_short(path) for path in _files(provider)]


def _aws_places() -> Iterator[_Place]:
    if os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"):
        yield _Place("$AWS_ACCESS_KEY_ID", Account("aws", "aws"))
    chosen = os.environ.get("AWS_PROFILE") or "default"
    for variable, usual in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")):
        path = Path(os.environ.get(variable) or Path.home() / ".aws" / usual).expanduser()
        for profile in sorted(_aws_profiles(path), key=lambda name: (name != chosen, name)):
            account = Account("aws", "aws", profile=None if profile == "default" else profile)
            yield _Place(f"{_short(path)} [{profile}]", account)


def _aws_profiles(path: Path) -> set[str]:
    """Profiles of an AWS settings file that lead to credentials (a region alone does not)."""
    from configparser import Error, RawConfigParser

    parser = RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (Error, OSError, UnicodeDecodeError):
        return set()
    ways = {"aws_access_key_id", "sso_session", "sso_start_url", "role_arn", "credential_process", "login_session"}
    return {
        section.removeprefix("profile ").strip()
        for section in parser.sections()
        if not section.startswith(("sso-session ", "services ")) and ways & set(parser.options(section))
    }


def _problem(account: Account) -> str | None:
    """What hinders reading a key, tried now; the key itself is let go at once."""
    if account.api_key_file is None:
        return None
    try:
        resolve(account)
    except AuthRefused as exc:
        return exc.text
    return None


def _from_variable(account: Account, name: str) -> str:
    key = os.environ.get(name, "").strip()
    if not key:
        shown = f"environment variable {name}" if name.isupper() else "environment variable that api_key_env names"
        raise _refused(account, f"the {shown} is not set", "Set it where gpudash is started.")
    return key


def _from_file(account: Account, path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise _refused(account, f"others can read {path}", f"Try: chmod 600 {path}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise _refused(account, f"{path} cannot be read: {why}", "Put the key there, alone on one line.") from exc
    key = key_in(text, path, account.provider)
    if not key:
        raise _refused(account, f"{path} holds no key", "Put the key there, alone on one line.")
    return key


def _from_command(account: Account, command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else f"no answer in {COMMAND_TIMEOUT_S:g} s"
        raise _refused(account, f"api_key_command {command[0]} failed: {why}", "Run it by hand to see.") from None
    key = done.stdout.strip()
    if done.returncode or not key or len(key.split()) > 1:
        said = (done.stderr.strip().splitlines() or ["it printed no key"])[-1][:200]
        why = said if done.returncode or not key else "it printed more than one word"
        raise _refused(
            account, f"api_key_command {command[0]} (exit {done.returncode}): {why}", "Run it by hand to see."
        )
    return key


def _from_keyring(account: Account, place: str) -> str:
    service, _, user = place.partition("/")
    try:
        import keyring
    except ImportError:
        raise _refused(account, "keyring is not installed", "Try: pip install 'gpudash[keyring]'") from None
    try:
        key = keyring.get_password(service, user or account.name)
    except keyring.errors.KeyringError as exc:
        raise _refused(account, f"the key chain did not answer: {exc}", "Unlock it, and try again.") from exc
    if not key:
        command = f"keyring set {service} {user or account.name}"
        raise _refused(account, f"the key chain has no key for {service}", f"Try: {command}")
    return str(key)


def _refused(account: Account, why: str, hint: str) -> AuthRefused:
    return AuthRefused(f"Account {account.name} ({account.provider}): {why}.", hint=hint)


def _plain(name: str) -> str:
    """A profile's name as part of an account's."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def _short(path: Path) -> str:
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
