"""What every command shares: the run it belongs to, options that stand before or after the verb, types of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli.output import Output
from gpudash.errors import UsageError
from gpudash.model.duration import parse_duration

if TYPE_CHECKING:
    from gpudash.clock import Clock
    from gpudash.config import Config
    from gpudash.fleet.session import Session


class Run:
    """One run of the command line: where it speaks, whether it may change anything, and what it opens when asked."""

    def __init__(self, out: Output | None = None) -> None:
        self.out = out or Output(json_wanted=False)
        self.read_only = False
        """``--read-only`` stood on the command line."""
        self._config: Config | None = None

    @property
    def config(self) -> Config:
        """The settings, read once.

        Raises:
            ConfigError: the file is wrong, or others can read the secrets in it.
        """
        if self._config is None:
            from gpudash import config
            from gpudash.providers import registry

            self._config = config.load(adapters=registry.names())
        return self._config

    def forbids(self) -> str | None:
        """Why nothing may be changed, or None."""
        if self.read_only:
            return "--read-only was given"
        return "read_only is set in config.toml" if self.config.defaults.read_only else None

    def session(self, accounts: Sequence[str] | None = None, *, actor: str = "cli") -> Session:
        """A session over those accounts, or over all that `ls` uses."""
        from gpudash.cli.output import log_to_file
        from gpudash.fleet.session import Session

        log_to_file()
        session = Session.open(self.config, accounts=accounts, read_only=self.read_only, actor=actor)
        if session.ledger.notice:
            self.out.talk(f"gpudash: {session.ledger.notice}")
        return session

    def session_for(self, target: str) -> Session:
        """A session that is wide enough to find one instance: only the account, where ``account:id`` names it."""
        account, colon, _ = target.partition(":")
        return self.session([account] if colon and account in self.config.accounts else None)

    def clock(self) -> Clock:
        """The clock of whatever `ls` shows: the sandbox's where that is all there is."""
        from gpudash import paths
        from gpudash.clock import ScaledClock, SystemClock

        alone = tuple(account.provider for account in self.config.selected()) == ("sandbox",)
        return ScaledClock(paths.sandbox_dir() / "clock.json") if alone else SystemClock()


pass_run = click.make_pass_decorator(Run)
"""Hands the `Run` of this process to a command."""


def _set_read_only(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Run).read_only = True


READ_ONLY = click.Option(
    ["--read-only"],
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_read_only,
    help="Refuse everything that would change anything.",
)
JSON = click.Option(["--json"], is_flag=True, expose_value=False, help="Print one JSON document.")


class Verb(click.Command):
    """A command with the options that all of them take. `json` off where stdout belongs to another program."""

    def __init__(self, *args: Any, json: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [JSON, READ_ONLY] if json else [READ_ONLY]


class Duration(click.ParamType[timedelta]):
    """``90s 30m 4h 1h30m 2d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        return parse_duration(str(value), field=_called(param))


class Usd(click.ParamType[Decimal]):
    """An amount of money: a decimal number above zero, with or without ``$``."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        if isinstance(value, Decimal):
            return value
        try:
            amount = Decimal(str(value).strip().removeprefix("$"))
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or amount <= 0:
            raise UsageError(f"{_called(param)}: {value!r} is not a price.", hint="Write USD an hour, like 2.50.")
        return amount


DURATION = Duration()
USD = Usd()


def _called(param: click.Parameter | None) -> str:
    if param is None:
        return "duration"
    return max(param.opts, key=len) if isinstance(param, click.Option) else (param.human_readable_name or "duration")


def complete_instance(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Names and ids that the last listings had, read from the ledger only; nothing is asked and nothing is made."""
    from gpudash.cli.completion import known_instances

    return [word for word in known_instances(with_account=":" in incomplete) if word.startswith(incomplete)]


def _remember(context: click.Context, _: click.Parameter, value: str) -> str:
    context.ensure_object(Run).out.subject = value
    return value


ID = click.argument("target", metavar="ID", is_eager=True, callback=_remember, shell_complete=complete_instance)
"""``account:id``, an unambiguous name, or an unambiguous prefix of the id."""
