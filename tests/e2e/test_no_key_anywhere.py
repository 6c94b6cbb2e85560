"""The key of an account stands on no screen, in no file and in no process's arguments, though its cloud repeats it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fault_words import Words
from support.http_cloud import Fault, Reply
from support.http_faults import HTTP_CLOUDS, account_of

from gpudash.config import save_account
from tests.support.cli import Cli
from tests.support.processes import arguments

VARIABLE = "test-value-of-a-variable"


@pytest.fixture(params=HTTP_CLOUDS)
def under_test(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Words]]:
    """Each cloud behind HTTP in turn."""
    words, make = HTTP_CLOUDS[request.param]
    with make() as cloud:
        yield cloud, words


@pytest.fixture
def cli(under_test: tuple[Any, Words], tmp_path: Path) -> Cli:
    """A home with that account in its settings, and an SSH key."""
    cloud, words = under_test
    program = Cli(tmp_path / "home")
    program.env = {n: v for n, v in program.env.items() if v == words.key or not n.endswith(("_KEY", "_TOKEN"))}
    program.env["HTTPS_PROXY"] = (
        "http://127.0.0.1:9"  # nobody listens: whatever else is found here stays on this machine
    )
    program.config_file.parent.mkdir(mode=0o700, parents=True)
    save_account(program.config_file, account_of(cloud))
    (program.home / ".ssh").mkdir(mode=0o700)
    (program.home / ".ssh" / "id_ed25519.pub").write_text((Path.home() / ".ssh" / "id_ed25519.pub").read_text())
    return program


def test_the_key_is_nowhere(under_test: tuple[Any, Words], cli: Cli) -> None:
    """A launch, looks of every sort, and the same while the cloud answers with the key itself."""
    cloud, words = under_test
    order, account = cloud.order(), cloud.provider.account
    launch = f"launch --account {account} --type {order.instance_type} --no-wait --yes"
    takes_variables = any(option.name == "env." for option in cloud.provider.capabilities.launch_options)
    if takes_variables:
        launch += f" -o env.OF_THE_RUN={VARIABLE}"
    echo = f"The key {words.key} was revoked."
    broken = Fault("echo", Reply(401, {"error": {"code": "x", "message": echo}, "detail": echo, "msg": echo}))
    said, argvs = "", set[str]()
    for command in (launch, "ls", "doctor", "configure --json"):
        said += watched(cli, command, argvs)
    assert order.instance_type in said
    with cloud.fake.fault(broken):
        for command in ("ls --json", "offers", "leftovers", launch, "configure", "events"):
            said += watched(cli, command, argvs)
    assert "[key] was revoked" in said
    files = [path for path in cli.home.rglob("*") if path.is_file()]
    assert any(path.name == "ledger.db" for path in files)
    assert not [path for path in files if words.key.encode() in path.read_bytes()]
    assert words.key not in said + "".join(argvs)
    assert not [path for path in files if VARIABLE.encode() in path.read_bytes()]
    assert VARIABLE not in said
    if takes_variables:
        assert any(VARIABLE.encode() in request.content for request in cloud.fake.log), "the cloud got it"


def watched(cli: Cli, command: str, argvs: set[str]) -> str:
    """What a command says; the arguments of every process of this machine meanwhile are added to `argvs`."""
    process = cli.start(*command.split())
    while process.poll() is None:
        argvs.update(arguments().values())
        time.sleep(0.02)
    return "".join(process.communicate())
