"""Push to a host on which systemd runs: the unit that it writes there, checked by systemd's own program."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpudash.hosts import Hosts
from gpudash.hosts.client import StatusClient
from gpudash.hosts.probe import probe
from gpudash.hosts.push import push
from gpudash.hosts.unit import unit_text
from tests.e2e.test_push import config, newer
from tests.support.sshd import NSS_WRAPPER, Sshd, own_name
from tests.support.systemd import UNITS, machine_disk, systemd_says
from tests.support.waiting import PATIENCE_S

pytest_plugins = ["tests.support.link_fixtures"]

NAME = "gpudash-statusd.service"
SYSTEMCTL = """#!/bin/sh
[ "$1" = is-active ] || echo "$@" >>"$GPUDASH_ROOT/calls"
unit="$GPUDASH_ROOT/etc/systemd/system/gpudash-statusd.service"
line=$(sed -n 's/^ExecStart=//p' "$unit")
case "$1" in
  is-active) exit 0 ;;
  stop) set -- $line; "$1" -I -S "$4" --home "$6" --stop ;;
  restart) $line </dev/null >/dev/null 2>&1 & ;;
esac
"""
SUDO = '#!/bin/sh\n[ "$1" = -n ] || exit 1\nshift\necho "$@" >>"$GPUDASH_ROOT/as-root"\nexec "$@"\n'


@dataclass(frozen=True)
class Person:
    """Who logs in on machines of one kind."""

    name: str
    uid: int
    home: str
    python: str = "/usr/bin/python3"


PEOPLE = {
    "Amazon Linux": Person("ec2-user", 1000, "/home/ec2-user"),
    "Ubuntu": Person("ubuntu", 1000, "/home/ubuntu"),
    "Ubuntu, image with conda": Person("ubuntu", 1001, "/home/ubuntu", "/opt/conda/bin/python3"),
    "root": Person("root", 0, "/root"),
    "environment in a home": Person("max power", 1002, "/home/max power", "/home/max power/100% $env/bin/python3"),
    "user of a domain": Person(r"LAB\jane", 20_001, r"/home/LAB\jane", r"/home/LAB\jane/env/bin/python3"),
}


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("kind", PEOPLE)
def test_unit_of_each_kind_of_machine_is_one_that_systemd_takes(tmp_path: Path, kind: str) -> None:
    """Every key known, and the program is found on that machine's disk."""
    person = PEOPLE[kind]
    root = machine_disk(tmp_path, person.python)
    unit = root / UNITS / NAME
    unit.write_text(unit_text(uid=person.uid, python=person.python, home=f"{person.home}/.gpudash"))
    assert systemd_says(f"--root={root}", NAME) == ""
    lines = unit.read_text().splitlines()
    assert f"User={person.uid}" in lines
    (command,) = (line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart="))
    words = [word.replace("%%", "%") for word in shlex.split(command.removeprefix("/usr/bin/env "))]
    home = f"{person.home}/.gpudash"
    assert words == [person.python, "-I", "-S", f"{home}/current", "--home", home, "--foreground"]


@pytest.mark.needs("systemd-analyze")
def test_what_is_wrong_in_a_unit_is_told(tmp_path: Path) -> None:
    """So that silence means something: an unknown key, and a program that is not on that disk."""
    person = PEOPLE["Ubuntu"]
    root = machine_disk(tmp_path, person.python)
    text = unit_text(uid=person.uid, python=person.python, home=person.home)
    for right, wrong, words in (("Restart=", "Restrt=", "Restrt"), ("/usr/bin", "/opt", "is not executable")):
        (root / UNITS / NAME).write_text(text.replace(right, wrong))
        assert words in systemd_says(f"--root={root}", NAME)


@contextmanager
def systemd_host(person: Person) -> Iterator[tuple[Sshd, Path]]:
    """A host of that person with systemd and sudo by stand-ins; below /tmp, where anybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="gpudash-host-"))
    folder.chmod(0o755)
    root, is_other = folder / "root", person.uid != os.getuid()
    (root / "bin").mkdir(parents=True)
    for name, text in (("systemctl", SYSTEMCTL), ("sudo", SUDO)):
        (root / "bin" / name).write_text(text)
        (root / "bin" / name).chmod(0o755)
    for name in ("run/systemd/system", UNITS):
        (root / name).mkdir(parents=True)
    environment = {"GPUDASH_ROOT": str(root), "PATH": f"{root / 'bin'}:/usr/local/bin:/usr/bin:/bin"}
    sshd = Sshd(folder / "sshd", environment=environment, user=person.name, uid=person.uid)
    if is_other:
        for path in (root, sshd.home, *root.rglob("*")):
            os.chown(path, person.uid, person.uid)
    try:
        with sshd:
            yield sshd, root
    finally:
        shutil.rmtree(folder)


@pytest.mark.needs("sshd", "ssh-keygen", "systemd-analyze")
@pytest.mark.parametrize("name", ["ec2-user", "ubuntu", "root"])
def test_systemd_gets_a_unit_where_it_runs(hosts: Hosts, name: str) -> None:
    """Written, enabled and started, by sudo where the person is not root, and stopped for an upgrade; systemd finds
    nothing wrong in it, and an unchanged push leaves it alone.
    """
    if os.getuid() != 0 and name == "root":
        pytest.skip("only root may log in as root")
    uid = os.getuid() if os.getuid() != 0 or name == "root" else 1000
    if (name, uid) != (own_name(), os.getuid()) and NSS_WRAPPER is None:
        pytest.skip("needs libnss-wrapper")
    with systemd_host(Person(name, uid, "")) as (sshd, root):
        link = hosts.link(sshd.instance())
        push(link, config())
        push(link, config(), wanted=newer())
        assert StatusClient(link).status()["version"] == "0.2.0"
        unit, calls, sight = root / UNITS / NAME, (root / "calls").read_text().splitlines(), probe(link)
        assert not push(link, config(), wanted=newer()).changed
        assert (root / "calls").read_text().splitlines() == calls
        link.exec(f"'{sight.python}' ~/.gpudash/current --stop", timeout=PATIENCE_S)
        assert systemd_says(str(unit)) == ""
        assert unit.read_text() == unit_text(uid=uid, python=sight.python, home=f"{sshd.home}/.gpudash")
        assert unit.stat().st_mode & 0o777 == 0o644
        assert (root / "as-root").exists() == (uid != 0)
    assert calls[:4] == ["daemon-reload", f"enable {NAME}", f"restart {NAME}", f"stop {NAME}"]
