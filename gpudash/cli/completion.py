"""Shell completion: the script for each shell, and the words that complete an instance."""

from __future__ import annotations

import click

from gpudash.cli.verb import Run, Verb, pass_run
from gpudash.errors import ExitCode, GpudashError


@click.command(cls=Verb, json=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_run
def completion(run: Run, shell: str) -> int:
    """Print the completion script of a shell.

    \b
    bash  eval "$(gpudash completion bash)"         in ~/.bashrc
    zsh   eval "$(gpudash completion zsh)"          in ~/.zshrc
    fish  gpudash completion fish | source          in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from gpudash.cli.main import cli

    known = get_completion_class(shell)
    if known is None:
        run.out.talk(f"gpudash: no completion for {shell}.")
        return int(ExitCode.FAILED)
    run.out.line(known(cli, {}, "gpudash", "_GPUDASH_COMPLETE").source())
    return int(ExitCode.OK)


def known_instances(*, with_account: bool = False) -> list[str]:
    """Names and ids of the last listings, or their ``account:id`` forms (which bash would split at the colon).

    Empty where there is no ledger or it cannot be read.
    """
    from gpudash import paths
    from gpudash.clock import SystemClock

    path = paths.ledger_file()
    if not path.exists():
        return []
    from gpudash.ledger import Ledger

    try:
        ledger = Ledger.open(path, SystemClock())
    except (GpudashError, OSError):
        return []
    try:
        machines = [machine for listing in ledger.load_listings() for machine in listing.items]
    except (GpudashError, OSError):
        return []
    finally:
        ledger.close()
    alive = [machine for machine in machines if not machine.state.is_terminal]
    words = (
        [str(machine.key) for machine in alive]
        if with_account
        else [word for machine in alive for word in (machine.name, machine.key.id)]
    )
    return sorted(dict.fromkeys(filter(None, words)))
