"""Settings: ``config.toml`` read into frozen values, or an error that names the file, the field and an example.

| part of the file    | becomes                | read by                          |
|---------------------|------------------------|----------------------------------|
| ``[defaults]``      | `Defaults`             | launch, lanes, screens           |
| ``[accounts.NAME]`` | `Account`, one a name  | the registry, to make providers  |
| ``[keys]``          | a mapping, as it is    | the screen's key table           |

A setting is a field with its docstring under it; README's table, the check of names and the error for a wrong value all
come from that one place. Nothing here imports an SDK; ``tomlkit`` is loaded only to write. Keys of clouds never stand in
the file: an account says where its key is kept, and `credential` fetches it when a provider is made.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from gpudash import paths
from gpudash.errors import ConfigError, UsageError
from gpudash.model.duration import format_duration, parse_duration
from gpudash.model.policy import EndAction

if TYPE_CHECKING:
    from gpudash.credentials import FoundCredential

T = TypeVar("T")

PROVIDERS = ("aws", "lambda", "runpod", "sandbox", "vast")
"""Clouds an account can name; whether this version has an adapter for it is the registry's to say."""

SANDBOX = "sandbox"
"""The account that always exists."""

CREDENTIALS = ("api_key_env", "api_key_file", "api_key_command", "keyring")
"""Where an account's key may be kept; one of them at most."""


class _Kind(NamedTuple):
    """One sort of value: what a wrong one is told, and how a right one is read (ValueError where it is not)."""

    name: str
    wanted: str
    read: Callable[[Any], Any]


def _exact(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value.__class__ is not kind or value == "":
            raise ValueError
        return value

    return read


def _duration(value: Any) -> timedelta:
    try:
        return parse_duration(_exact(str)(value))
    except UsageError as exc:
        raise ValueError(exc.text) from exc


def _money(value: Any) -> Decimal:
    if value.__class__ not in (int, Decimal) or not Decimal(value).is_finite() or value <= 0:
        raise ValueError
    return Decimal(value)


def _port(value: Any) -> int:
    if value.__class__ is not int or not 0 < value < 65536:
        raise ValueError
    return int(value)


def _url_path(value: Any) -> str:
    if not re.fullmatch(r"/[!-~]*", _exact(str)(value)):
        raise ValueError
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(item.__class__ is str and item for item in value):
        raise ValueError
    return tuple(value)


def _command(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        import shlex

        value = shlex.split(value)
    return _names(value)


def _variable(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", _exact(str)(value)):
        raise ValueError
    return str(value)


def _file(value: Any) -> Path:
    path = Path(_exact(str)(value)).expanduser()
    if not path.is_absolute():
        raise ValueError
    return path


def _origin(value: Any) -> str:
    parts = urlsplit(_exact(str)(value))
    bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not bare or parts.port == 0:
        raise ValueError
    return str(value).rstrip("/")


_TEXT = _Kind("text", "text in quotes", _exact(str))
_FLAG = _Kind("true or false", "true or false, without quotes", _exact(bool))
_DURATION = _Kind("duration", "a duration in quotes", _duration)
_ACTION = _Kind("stop, hibernate or terminate", "stop, hibernate or terminate", EndAction)
_MONEY = _Kind("USD", "a sum in USD above zero, without quotes", _money)
_PORT = _Kind("port", "a port from 1 to 65535, without quotes", _port)
_URL_PATH = _Kind("path", "a path that begins with /", _url_path)
_NAMES = _Kind("list of names", "a list of names", _names)
_VARIABLE = _Kind("variable", "the name of an environment variable", _variable)
_FILE = _Kind("file", "an absolute path, or one that begins with ~/", _file)
_COMMAND = _Kind("command", "a command line, or a list of words", _command)
_ORIGIN = _Kind("URL", "scheme, host and port only", _origin)


def _setting(kind: _Kind, example: str, default: Any = None, only: str | None = None) -> Any:
    """A field that the file may set; `only` names the one provider it has a meaning for."""
    return field(default=default, metadata={"kind": kind, "example": example, "only": only})


@dataclass(frozen=True, slots=True)
class Defaults:
    """``[defaults]``: what holds where a command or an account says nothing else."""

    lease: timedelta = _setting(_DURATION, '"4h"', timedelta(hours=4))
    """How long a launched instance may live before it is ended, unless extended."""
    max_lease: timedelta = _setting(_DURATION, '"24h"', timedelta(hours=24))
    """The hard deadline, counted from launch. No extend moves a lease past it."""
    idle_timeout: timedelta = _setting(_DURATION, '"30m"', timedelta(minutes=30))
    """How long without any activity before the idle action."""
    idle_action: EndAction = _setting(_ACTION, '"stop"', EndAction.STOP)
    """What happens to an idle instance. Where a cloud cannot do it, launch says so and offers what it can."""
    region: str | None = _setting(_TEXT, '"us-east-1"')
    """Region that `launch` and `offers` look in; unset means all."""
    refresh: timedelta | None = _setting(_DURATION, '"10s"')
    """Time between two questions to a cloud; unset means what suits that cloud."""
    read_only: bool = _setting(_FLAG, "true", False)
    """Look, and change nothing anywhere: every verb that changes the world is refused."""
    theme: str | None = _setting(_TEXT, '"nord"')
    """Colours of the dashboard: a theme that is shipped, or a file in the folder `themes` beside this one."""
    max_price_usd_per_hour: Decimal | None = _setting(_MONEY, "4.00")
    """Nothing dearer is launched; an unknown price counts as dearer. Unset means no cap."""
    service_port: int = _setting(_PORT, "8000", 8000)
    """Remote port of the service that `ready` waits for and `t` opens a tunnel to."""
    health_path: str = _setting(_URL_PATH, '"/health"', "/health")
    """Path on that port that answers 200 once the service is ready."""


@dataclass(frozen=True, slots=True)
class Account:
    """``[accounts.NAME]``: one set of credentials at one cloud."""

    name: str
    provider: str = _setting(_TEXT, '"lambda"')
    """The cloud: aws, lambda, runpod, vast or sandbox. May be left out where the account has that name."""
    api_key_env: str | None = _setting(_VARIABLE, '"LAMBDA_API_KEY"')
    """Environment variable that holds the key."""
    api_key_file: Path | None = _setting(_FILE, '"~/.config/lambda.key"')
    """File that holds the key and that only you can read; the vendors' own key files are understood too."""
    api_key_command: tuple[str, ...] | None = _setting(_COMMAND, '"pass show lambda"')
    """Command that prints the key; run without a shell when the key is needed."""
    keyring: str | None = _setting(_TEXT, '"gpudash"')
    """Service in the platform's key chain (the user is the account's name), or `SERVICE/USER`."""
    profile: str | None = _setting(_TEXT, '"work"', only="aws")
    """Profile of AWS's own settings files; aws only. Unset means AWS's own order of places."""
    regions: tuple[str, ...] | None = _setting(_NAMES, '["us-east-1", "eu-west-1"]')
    """Regions to watch; unset means those of the cloud that can hold instances."""
    read_only: bool = _setting(_FLAG, "true", False)
    """Look at this account and change nothing in it."""
    monthly_budget_usd: Decimal | None = _setting(_MONEY, "500")
    """Spending a calendar month may reach before the dashboard raises an alarm. It ends nothing."""
    base_url: str | None = _setting(_ORIGIN, '"http://127.0.0.1:5000"')
    """Scheme, host and port used in place of the vendor's; paths stay the same (aws: the endpoint URL)."""
    serverless_url: str | None = _setting(_ORIGIN, '"http://127.0.0.1:5001"', only="runpod")
    """The same for RunPod's serverless API; runpod only."""

    @property
    def credential_source(self) -> str | None:
        """Which of the four places this account's key is kept in; None where the vendor's usual places are asked."""
        return next((name for name in CREDENTIALS if getattr(self, name) is not None), None)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. `accounts` always holds ``sandbox``."""

    defaults: Defaults = field(default_factory=Defaults)
    accounts: Mapping[str, Account] = field(default_factory=lambda: {SANDBOX: Account(SANDBOX, SANDBOX)})
    keys: Mapping[str, str] = field(default_factory=dict)
    """Action → keys, as written; the screen's key table checks the names."""
    path: Path | None = None
    """The file they came from; None where there is none."""

    def selected(self) -> tuple[Account, ...]:
        """The accounts that `ls` and `launch` use: every cloud account, or the sandbox where there is none."""
        clouds = tuple(account for account in self.accounts.values() if account.provider != SANDBOX)
        return clouds or (self.accounts[SANDBOX],)

    def check_theme(self, known: Collection[str]) -> None:
        """Compare the theme with those there are.

        Raises:
            ConfigError: the file asks for one that does not exist.
        """
        theme = self.defaults.theme
        if theme is not None and theme not in known:
            raise _Part(self.path or paths.config_file(), "defaults").unknown(f"theme = {_shown(theme)}", theme, known)


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
    config = Config() if body is None else _config(path, body)
    taken = {account.provider for account in config.accounts.values()}
    implied = {
        found.provider: found.account
        for found in (found_credentials(adapters) if adapters else ())
        if found.usable and found.provider not in taken and found.provider not in config.accounts
    }
    return replace(config, accounts={**config.accounts, **implied}) if implied else config


def credential(account: Account) -> str:
    """The key of an account, fetched now from where the account says it is. Never logged, never kept.

    Raises:
        AuthRefused: it is not there or cannot be read; the text says where it was looked for.
    """
    from gpudash.credentials import resolve

    return resolve(account)


def found_credentials(adapters: Collection[str] = ()) -> list[FoundCredential]:
    """Credentials of clouds in their vendors' usual places, for the welcome screen. Shows where, never what.

    Args:
        adapters: clouds this version can talk to; only theirs are `usable`.
    """
    from gpudash.credentials import find

    return find(adapters)


def save_setting(path: Path, name: str, value: str | bool | int | float | list[str] | None) -> None:
    """Set one field (``defaults.theme``) and leave everything else, comments too, as it is. None removes it.

    The file is checked as a whole before it is replaced; a new one is readable by its owner alone.

    Raises:
        ConfigError: the file as it would become is wrong, or it cannot be read or written.
    """
    import tomlkit

    path = path.resolve()
    document = tomlkit.parse(_text(path) or "")
    *tables, last = name.split(".")
    table: Any = document
    for step in tables:
        if step not in table:
            table.add(step, tomlkit.table(is_super_table=step != tables[-1]))
        table = table[step]
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value
    text = tomlkit.dumps(document)
    _config(path, _parse(path, text))
    _replace(path, text)


class SettingRow(NamedTuple):
    """One line of the table of settings in README."""

    name: str
    type: str
    default: str
    meaning: str


def settings_table() -> list[SettingRow]:
    """Every setting with its type, default and meaning, from the fields above and the docstrings under them."""
    rows = []
    for section, cls in (("defaults", Defaults), ("accounts.NAME", Account)):
        meanings = _docstrings(cls)
        for name, item in _settings(cls).items():
            rows.append(SettingRow(f"{section}.{name}", _kind(item).name, _written(item.default), meanings[name]))
    return rows


# Reading


def _read(path: Path) -> dict[str, Any] | None:
    text = _text(path)
    return None if text is None else _parse(path, text)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8 text (byte {exc.start}).", hint="Save it as UTF-8.") from exc
    except OSError as exc:
        why = exc.strerror or str(exc)
        raise ConfigError(f"{path} cannot be read: {why}.", hint=f"Try: ls -ld {path}") from exc


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError) as exc:
        raise ConfigError(f"{path} is not TOML: {exc}.", hint='A setting is written like: lease = "4h"') from exc


def _config(path: Path, body: Mapping[str, Any]) -> Config:
    _Part(path, "").check_names(body, ("defaults", "accounts", "keys"), "section")
    for section in body:
        if not isinstance(body[section], dict):
            raise ConfigError(f"{path}: {section} is a section.", hint=f"Write it as a line of its own: [{section}]")
    defaults = _defaults(path, body.get("defaults", {}))
    accounts = [_account(path, name, part) for name, part in body.get("accounts", {}).items()]
    sandboxes = [account.name for account in accounts if account.provider == SANDBOX]
    if len(sandboxes) > 1 or sandboxes not in ([], [SANDBOX]):
        other = next(name for name in sandboxes if name != SANDBOX)
        raise _Part(path, f"accounts.{other}").wrong(
            'provider = "sandbox"', "there is one sandbox, and its account has that name", "[accounts.sandbox]"
        )
    sandbox = {} if sandboxes else {SANDBOX: Account(SANDBOX, SANDBOX)}
    named = {account.name: account for account in accounts}
    return Config(defaults, sandbox | named, _keys(path, body.get("keys", {})), path)


def _defaults(path: Path, body: Mapping[str, Any]) -> Defaults:
    part = _Part(path, "defaults")
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
    part = _Part(path, f"accounts.{name}")
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: accounts.{name} is a section.", hint=f"Write: [accounts.{name}]")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise part.wrong("its name", "letters, digits, . _ and - only", "[accounts.work]")
    found = part.read(Account, body)
    provider = found.setdefault("provider", name if name in PROVIDERS else None)
    if provider is None:
        raise part.wrong("provider", "it is missing", 'provider = "lambda"')
    if provider not in PROVIDERS:
        raise part.unknown(f"provider = {_shown(provider)}", provider, PROVIDERS)
    if name in PROVIDERS and name != provider:
        raise part.wrong(f"provider = {_shown(provider)}", f"the name {name} is another cloud's", "[accounts.work]")
    part.check_meaning(found, provider)
    sources = [source for source in CREDENTIALS if source in found]
    if len(sources) > 1:
        raise part.wrong(" and ".join(sources), "a key is kept in one place", 'api_key_env = "LAMBDA_API_KEY"')
    if "api_key_command" in sources and path.exists() and path.stat().st_mode & 0o002:
        raise part.wrong("api_key_command", "others can write this file", f"chmod 600 {path}", as_command=True)
    return Account(name, **found)


def _keys(path: Path, body: Mapping[str, Any]) -> dict[str, str]:
    part, keys = _Part(path, "keys"), {}
    for action, value in body.items():
        written = ",".join(value) if isinstance(value, list) and all(isinstance(key, str) for key in value) else value
        if not isinstance(written, str):
            raise part.wrong(f"{action} = {_shown(value)}", "expected a key, or several with commas", f'{action} = "x"')
        keys[action] = written
    return keys


@dataclass(frozen=True, slots=True)
class _Part:
    """One section of one file: reads its fields, and words what is wrong with them."""

    path: Path
    section: str

    def read(self, cls: type, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of `cls` that the section sets, each read by its kind."""
        settings = _settings(cls)
        self.refuse_secrets(body)
        self.check_names(body, tuple(settings), "setting")
        return {name: self._value(name, settings[name], value) for name, value in body.items()}

    def refuse_secrets(self, body: Mapping[str, Any]) -> None:
        """A key in the file is refused whatever it is called, and its value never shown."""
        for name in body:
            if _SECRET.fullmatch(name) is None:
                continue
            hint = 'Keep it elsewhere and say where: api_key_env = "LAMBDA_API_KEY"'
            if self.path.exists() and self.path.stat().st_mode & 0o077:
                hint += f" — and replace that key at the cloud: others can read it here until you chmod 600 {self.path}"
            raise ConfigError(f"{self._where} {name}: keys do not belong in this file.", hint=hint)

    def check_names(self, body: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
        """Refuse a name that means nothing, with the one that was probably meant."""
        for name in body:
            if name not in known:
                raise self.unknown(
                    f"{name}: no such {what}" if self.section else f"[{name}]: no such {what}", name, known
                )

    def check_meaning(self, found: Mapping[str, Any], provider: str) -> None:
        """Refuse settings that have no meaning at that cloud, rather than ignore them."""
        for name in found:
            only = _settings(Account)[name].metadata["only"]
            if only not in (None, provider):
                raise self.wrong(name, f"it has a meaning for {only} only, and this is {provider}", None)
            if name in CREDENTIALS and provider == "aws":
                raise self.wrong(name, "aws has profiles instead", 'profile = "work"')
            if name in {*CREDENTIALS, "base_url"} and provider == SANDBOX:
                raise self.wrong(name, "the sandbox needs none", None)

    def unknown(self, what: str, name: str, known: Collection[str]) -> ConfigError:
        """An error for a word that is none of those known."""
        from difflib import get_close_matches

        close = get_close_matches(name.casefold(), known, 1)
        hint = f"Did you mean {close[0]}?" if close else f"Known are: {', '.join(sorted(known))}."
        return ConfigError(
            f"{self._where} {what} is not known." if "no such" not in what else f"{self._where} {what}.", hint=hint
        )

    def wrong(self, what: str, why: str, example: str | None, *, as_command: bool = False) -> ConfigError:
        """An error for a value that cannot be."""
        hint = None if example is None else f"{'Try' if as_command else 'Write it like'}: {example}"
        return ConfigError(f"{self._where} {what}: {why}.", hint=hint)

    @property
    def _where(self) -> str:
        return f"{self.path}: [{self.section}]" if self.section else f"{self.path}:"

    def _value(self, name: str, item: Field[Any], value: Any) -> Any:
        kind = _kind(item)
        try:
            return kind.read(value)
        except ValueError:
            written = name if name in CREDENTIALS or kind is _ORIGIN else f"{name} = {_shown(value)}"
            raise self.wrong(written, f"expected {kind.wanted}", f"{name} = {item.metadata['example']}") from None


_SECRET = re.compile(
    r"(?i)(api[_-]?)?(key|token|secret)|(aws_)?(secret_access_key|access_key_id|session_token)|password|passwd|"
    r"(secret|access|auth)[_-]?(key|token)"
)


def _settings(cls: type) -> dict[str, Field[Any]]:
    return {item.name: item for item in fields(cls) if "kind" in item.metadata}


def _kind(item: Field[Any]) -> _Kind:
    return cast(_Kind, item.metadata["kind"])


def _shown(value: Any) -> str:
    """A value as the file has it, short."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


# The table, and writing


def _written(default: Any) -> str:
    if default is None or default is MISSING:
        return "–"
    return f'"{format_duration(default)}"' if isinstance(default, timedelta) else _shown(default)


def _docstrings(cls: type) -> dict[str, str]:
    import ast
    import inspect
    import textwrap

    body = cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]).body
    return {
        cast(ast.Name, above.target).id: str(below.value.value)
        for above, below in zip(body, body[1:], strict=False)
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        descriptor = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except OSError as exc:
        raise ConfigError(
            f"{path} cannot be written: {exc.strerror or exc}.", hint=f"Make {path.parent} writable."
        ) from exc
