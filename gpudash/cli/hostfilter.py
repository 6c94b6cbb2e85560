"""Options of `offers` and `launch` about the machine behind an offer, for clouds where hosts differ.

A cloud that does not tell what is asked for has its offers left out, and that is said: unknown is not good enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import click

from gpudash.cli.output import Output
from gpudash.cli.verb import USD
from gpudash.errors import UsageError
from gpudash.model.capability import Capabilities
from gpudash.model.offer import OfferFilter

F = TypeVar("F", bound=Callable[..., Any])


class Number(click.ParamType[Decimal]):
    """A decimal number above zero, at most `most`."""

    name = "number"

    def __init__(self, like: str, most: Decimal) -> None:
        self._like, self._most = like, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        if isinstance(value, Decimal):
            return value
        try:
            number = Decimal(str(value).strip())
        except InvalidOperation:
            number = Decimal(0)
        if not 0 < number <= self._most:
            name = max(param.opts, key=len) if isinstance(param, click.Option) else "number"
            raise UsageError(f"{name}: {value!r} does not fit.", hint=f"Write it like {self._like}.")
        return number


_OPTIONS = (
    click.option("--not-region", "not_regions", multiple=True, metavar="R", help="Not there; may be repeated."),
    click.option(
        "--disk", "disk_gb", type=click.IntRange(1), metavar="GB", help="Room for such a disk, and its price."
    ),
    click.option(
        "--cuda", type=Number("12.4", Decimal(99)), metavar="VERSION", help="Driver for that CUDA version or newer."
    ),
    click.option(
        "--reliability",
        "min_reliability",
        type=Number("0.99", Decimal(1)),
        metavar="0..1",
        help="Host rated at least so.",
    ),
    click.option("--unverified", "with_unverified", is_flag=True, help="Hosts that the cloud has not looked at, too."),
    click.option("--down", "min_down_mbps", type=click.IntRange(1), metavar="MBPS", help="Download at least so fast."),
    click.option("--up", "min_up_mbps", type=click.IntRange(1), metavar="MBPS", help="Upload at least so fast."),
    click.option(
        "--traffic-price", "max_traffic_usd_per_gb", type=USD, metavar="USD", help="At most that much a GB, each way."
    ),
)


def host_options(command: F) -> F:
    """Add the options; the command gets them by the names that `OfferFilter` has."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def say_left_out(out: Output, wanted: OfferFilter, clouds: Iterable[tuple[str, Capabilities]]) -> None:
    """A line for each account whose offers are all left out because its cloud does not tell what was asked for."""
    for account, can in clouds:
        untold = sorted(wanted.asks_for - can.offer_facts)
        if untold and wanted.account in (None, account):
            out.talk(f"gpudash: {account} does not tell {', '.join(untold)} of its offers; they are left out.")
