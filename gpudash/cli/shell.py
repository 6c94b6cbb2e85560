"""`ssh`: hands the terminal to the real OpenSSH, with our own known_hosts."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from gpudash.cli.tunnels import reachable
from gpudash.cli.verb import ID, Run, Verb, pass_run
from gpudash.errors import HostError, Refused

if TYPE_CHECKING:
    from gpudash.fleet.record import Record
    from gpudash.fleet.session import Session
    from gpudash.model.instance import Instance

VOUCH_S = 15.0
"""How long the first contact may take, which checks the host key that the cloud told."""
WAY_S = 5.0
"""For each address that leads to the machine, where there are several."""


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
    from gpudash import paths
    from gpudash.hosts.sshcmd import ssh_argv

    program = shutil.which("ssh")
    if program is None:
        raise HostError("There is no ssh program on this machine.", hint="Install OpenSSH's client.")
    with run.session_for(target) as session:
        record = reachable(session, target)
        words = command[command[:1] == ("--",) :] or None
        if words:
            _takes_commands(record.instance)
        _vouch(session, record)
        machine = _on_open_way(record.instance)
        argv = ssh_argv(machine, command=words, state_dir=paths.state_dir())
    os.execv(program, argv)  # noqa: S606 — the terminal, the signals and the exit code become ssh's own


def _takes_commands(machine: Instance) -> None:
    """Raise `Refused` where the address lets a person type and would drop the command unseen."""
    if machine.ssh is not None and machine.ssh.only_a_shell is not None:
        raise Refused(
            f"{machine.name} takes no command over SSH: {machine.ssh.only_a_shell}.",
            hint=f"`gpudash ssh {machine.key}` opens a shell to type it into.",
        )


def _on_open_way(machine: Instance) -> Instance:
    """The same machine at the address that answers: OpenSSH tries one only."""
    from gpudash.hosts.connect import open_way

    return machine if machine.ssh is None else replace(machine, ssh=open_way(machine.ssh, WAY_S))


def _vouch(session: Session, record: Record) -> None:
    """Have our own link check and keep a host key that the cloud told; OpenSSH could only ask a person."""
    from gpudash import paths
    from gpudash.hosts.hostkeys import KnownHosts, alias_of

    address = record.instance.ssh
    told = address is not None and address.host_key_fingerprint is not None
    if told and not KnownHosts(paths.known_hosts_file()).held(alias_of(record.instance)):
        session.hosts.link(record.instance).wait_up(VOUCH_S)
