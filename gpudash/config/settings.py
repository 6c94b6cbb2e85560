"""Every setting there is: a field with its docstring under it.

README's table, the check of names and the error for a wrong value come from these fields and docstrings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

from gpudash.config.kinds import (
    ACTION,
    COMMAND,
    CONSENT,
    CONSENT_SENTENCE,
    DURATION,
    FILE,
    FLAG,
    MONEY,
    NAMES,
    ORIGIN,
    PORT,
    TEXT,
    URL_PATH,
    VARIABLE,
    kind_of,
    setting,
    shown,
)
from gpudash.model.duration import format_duration
from gpudash.model.policy import EndAction

PROVIDERS = ("aws", "lambda", "runpod", "sandbox", "vast")
"""Clouds an account can name; whether this version has an adapter for it is the registry's to say."""

SANDBOX = "sandbox"
"""The account that always exists."""

CREDENTIALS = ("api_key_env", "api_key_file", "api_key_command", "keyring")
"""Where an account's key may be kept; one of them at most."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """``[defaults]``: what holds where a command or an account says nothing else."""

    lease: timedelta = setting(DURATION, '"4h"', timedelta(hours=4))
    """How long a launched instance may live before it is ended, unless extended."""
    max_lease: timedelta = setting(DURATION, '"24h"', timedelta(hours=24))
    """The hard deadline, counted from launch. No extend moves a lease past it."""
    idle_timeout: timedelta = setting(DURATION, '"30m"', timedelta(minutes=30))
    """How long without any activity before the idle action."""
    idle_action: EndAction = setting(ACTION, '"stop"', EndAction.STOP)
    """What happens to an idle instance. Where a cloud cannot do it, launch says so and offers what it can."""
    region: str | None = setting(TEXT, '"us-east-1"')
    """Region that `launch` and `offers` look in; unset means all."""
    refresh: timedelta | None = setting(DURATION, '"10s"')
    """Time between two questions to a cloud; unset means what suits that cloud."""
    read_only: bool = setting(FLAG, "true", False)
    """Look, and change nothing anywhere: every verb that changes the world is refused."""
    theme: str | None = setting(TEXT, '"nord"')
    """Colours of the dashboard: a theme that is shipped, or a file in the folder `themes` beside this one."""
    max_price_usd_per_hour: Decimal | None = setting(MONEY, "4.00")
    """Nothing dearer is launched; an unknown price counts as dearer. Unset means no cap."""
    service_port: int = setting(PORT, "8000", 8000)
    """Remote port of the service that `ready` waits for and `t` opens a tunnel to."""
    health_path: str = setting(URL_PATH, '"/health"', "/health")
    """Path on that port that answers 200 once the service is ready."""


@dataclass(frozen=True, slots=True)
class Account:
    """``[accounts.NAME]``: one set of credentials at one cloud."""

    name: str
    provider: str = setting(TEXT, '"lambda"')
    """The cloud: aws, lambda, runpod, vast or sandbox. May be left out where the account has that name."""
    api_key_env: str | None = setting(VARIABLE, '"LAMBDA_API_KEY"')
    """Environment variable that holds the key."""
    api_key_file: Path | None = setting(FILE, '"~/.config/lambda.key"')
    """File that holds the key and that only you can read; the vendors' own key files are understood too."""
    api_key_command: tuple[str, ...] | None = setting(COMMAND, '"pass show lambda"')
    """Command that prints the key; run without a shell when the key is needed."""
    keyring: str | None = setting(TEXT, '"gpudash"')
    """Service in the platform's key chain (the user is the account's name), or `SERVICE/USER`."""
    profile: str | None = setting(TEXT, '"work"', only="aws")
    """Profile of AWS's own settings files; aws only. Unset means AWS's own order of places."""
    regions: tuple[str, ...] | None = setting(NAMES, '["us-east-1", "eu-west-1"]')
    """Regions to watch; unset means those of the cloud that can hold instances."""
    read_only: bool = setting(FLAG, "true", False)
    """Look at this account and change nothing in it."""
    monthly_budget_usd: Decimal | None = setting(MONEY, "500")
    """Spending a calendar month may reach before the dashboard raises an alarm. It ends nothing."""
    key_on_hosts: bool = setting(CONSENT, f'"{CONSENT_SENTENCE}"', False, only="lambda")
    """Put the account's key on its hosts, which then end themselves; lambda only. A wrong value shows the sentence."""
    base_url: str | None = setting(ORIGIN, '"http://127.0.0.1:5000"')
    """Scheme, host and port used in place of the vendor's; paths stay the same (aws: the endpoint URL)."""
    serverless_url: str | None = setting(ORIGIN, '"http://127.0.0.1:5001"', only="runpod")
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


def as_written(account: Account) -> dict[str, str | bool | int | float | list[str] | None]:
    """The settings of an account that differ from what holds without them, as the file has them.

    Raises:
        NotImplementedError: a value of a sort that gpudash never writes.
    """
    written: dict[str, str | bool | int | float | list[str] | None] = {}
    for name, item in settings_of(Account).items():
        value = getattr(account, name)
        if value is None or value == item.default:
            continue
        if isinstance(value, Path):
            home = Path.home()
            value = f"~/{value.relative_to(home)}" if value.is_relative_to(home) else str(value)
        elif isinstance(value, tuple):
            value = list(value)
        elif not isinstance(value, str | bool):
            raise NotImplementedError(f"{name} of an account is not written by gpudash")
        written[name] = value
    return written


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
        for name, item in settings_of(cls).items():
            rows.append(SettingRow(f"{section}.{name}", kind_of(item).name, _written(item.default), meanings[name]))
    return rows


def readme_table() -> str:
    """The same as the Markdown table of README and docs/configuration.md."""
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for row in settings_table():
        default = row.default if row.default == "–" else f"`{row.default}`"
        lines.append(f"| `{row.name}` | {row.type} | {default} | {row.meaning} |")
    return "\n".join(lines) + "\n"


def settings_of(cls: type) -> dict[str, Field[Any]]:
    """The fields of a section that the file may set."""
    return {item.name: item for item in fields(cls) if "kind" in item.metadata}


def _written(default: Any) -> str:
    if default is None or default is MISSING:
        return "–"
    return f'"{format_duration(default)}"' if isinstance(default, timedelta) else shown(default)


def _docstrings(cls: type) -> dict[str, str]:
    import ast
    import inspect
    import textwrap

    body = cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]).body
    return {
        cast(ast.Name, above.target).id: " ".join(str(below.value.value).split())
        for above, below in pairwise(body)
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }
