"""The programs that are first on a host's PATH, written anew at each boot (the interpreter may have moved)."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from gpudash.providers.sandbox import nvidia_smi
from gpudash.providers.sandbox.layout import HostDir
from gpudash.providers.sandbox.machine import PACKAGE_ROOT

_PYTHON = shlex.quote(sys.executable)


def furnish(host: HostDir) -> None:
    """Write every stand-in program, and what a new home needs so that a shell finds them."""
    host.bin.mkdir(mode=0o700, exist_ok=True)
    folder = shlex.quote(str(host.path))
    end = (
        f"PYTHONPATH={shlex.quote(str(PACKAGE_ROOT))} "
        f"exec {_PYTHON} -m gpudash.providers.sandbox.instance_end --dir {folder}"
    )
    programs = {
        "python3": f'exec {_PYTHON} "$@"',
        "nvidia-smi": f'exec {_PYTHON} -I -S {shlex.quote(nvidia_smi.__file__)} --sandbox-host {folder} "$@"',
        "instance-end": f'{end} "$@"',
        "poweroff": f"{end} stop",
        "halt": f"{end} stop",
        "shutdown": f'case "$*" in *-c*) exit 0;; *-r*) echo "a sandbox host cannot reboot itself" >&2; exit 1;; esac\n'
        f"{end} stop",
    }
    for name, body in programs.items():
        _write_program(host.bin / name, body)
    if not host.home.exists():
        host.home.mkdir(mode=0o700)
        (host.home / ".bashrc").write_text(_BASHRC)
        (host.home / ".bash_profile").write_text(". ~/.bashrc\n")


_BASHRC = """\
case ":$PATH:" in *":$GPUDASH_SANDBOX_HOST/bin:"*) ;; *) PATH="$GPUDASH_SANDBOX_HOST/bin:$PATH" ;; esac
PS1='\\[\\e[1m\\]'"$USER@${GPUDASH_HOST_NAME:-sandbox}"'\\[\\e[0m\\]:\\w\\$ '
"""


def _write_program(path: Path, body: str) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(f"#!/bin/sh\n{body}\n")
    draft.chmod(0o700)
    draft.replace(path)
