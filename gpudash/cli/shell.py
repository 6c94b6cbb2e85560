"""`ssh`: hands the terminal to the real OpenSSH, with our own known_hosts."""

from __future__ import annotations

import os
import shutil

import click

from gpudash.cli.listing import POLL_S
from gpudash.cli.verb import ID, Run, Verb, pass_run
from gpudash.errors import HostError


@click.command(
    cls=Verb, json=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@ID
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD…]")
@pass_run
def ssh(run: Run, target: str, command: tuple[str, ...]) -> int:
    """Open a shell on ID, or run CMD there; the exit code is that of the command.

    The words of CMD are joined with blanks and read by the host's shell, as ssh itself does it.
    """
    with run.session_for(target) as session:
        session.poll(POLL_S)
        record = session.resolve(target)
        argv = session.ssh_argv(record.key, command=" ".join(command) if command else None)
    program = shutil.which(argv[0])
    if program is None:
        raise HostError("There is no ssh program on this machine.", hint="Install OpenSSH's client.")
    os.execv(program, argv)
