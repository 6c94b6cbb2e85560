"""Opens the dashboard: alone, or as `demo`. The only module of the command line that reaches the screen."""

from __future__ import annotations

import sys

import click

from gpudash.cli.verb import Run, Verb, pass_run
from gpudash.errors import UsageError


@click.command(cls=Verb, json=False)
@click.option(
    "--speed", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Leases and idle run N× faster."
)
@click.option("--fresh", is_flag=True, help="Remove what an earlier demo left first.")
@click.option(
    "--synthetic", type=click.IntRange(1, 100_000), metavar="N", help="N made-up rows that tick; nothing real."
)
@pass_run
def demo(run: Run, speed: float, fresh: bool, synthetic: int | None) -> int:
    """The dashboard on the sandbox alone; no cloud, no money."""
    return _open(run, demo=True, speed=speed, fresh=fresh, synthetic=synthetic)


def open_dashboard(run: Run) -> int:
    """The dashboard over the accounts of the settings."""
    return _open(run, demo=False, speed=1.0, fresh=False, synthetic=None)


def _open(run: Run, *, demo: bool, speed: float, fresh: bool, synthetic: int | None) -> int:
    """Hand the terminal to the screen.

    Raises:
        UsageError: there is no terminal.
    """
    run.out.command = "demo" if demo else "dashboard"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("The dashboard needs a terminal.", hint="`gpudash ls` prints, `gpudash --help` lists verbs.")
    config = run.config
    from gpudash.ui import run_dashboard

    return run_dashboard(
        config,
        demo=demo,
        speed=speed,
        fresh=fresh,
        synthetic=synthetic,
        read_only=run.read_only or config.defaults.read_only,
    )
