"""The unit by which systemd keeps statusd running on a host: after a crash, and after a reboot. Pure.

Which keys there are, and how words are quoted: systemd.unit(5), systemd.service(5). All of them are known to systemd 230
and later; Ubuntu 20.04 has 245, Amazon Linux 2023 has 252.
"""

from __future__ import annotations

import re

_UNIT = """\
[Unit]
Description=gpudash statusd: ends this machine at its lease or when idle
After=network.target
StartLimitIntervalSec=0

[Service]
User={uid}
ExecStart={python} -I -S {current} --home {home} --foreground
Restart=always
RestartSec=2
UMask=0077
WorkingDirectory=/

[Install]
WantedBy=multi-user.target
"""


def unit_text(*, uid: int, python: str, home: str) -> str:
    """The unit for one host: a system unit that runs as the person who logs in there.

    Args:
        uid: the number of that user; a name may hold letters that systemd takes ill.
        python: path of the interpreter there.
        home: folder of statusd there.
    """
    # Variables are put in for arguments only, so a `$` in the program's own path stays as it is.
    program = _quoted(python)
    if "\\" in python or '"' in python or "'" in python:  # systemd refuses these letters in the program's path
        program = f"/usr/bin/env {program.replace('$', '$$')}"
    words = {"current": f"{home}/current", "home": home}
    return _UNIT.format(
        uid=uid, python=program, **{key: _quoted(word).replace("$", "$$") for key, word in words.items()}
    )


def _quoted(word: str) -> str:
    r"""A word of ExecStart that systemd reads as `word`: a home may be `/home/DOMAIN\user`."""
    if re.fullmatch(r"[\w/.,:@+$=-]+", word, re.ASCII):
        return word
    return '"{}"'.format(word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%"))
