"""`gpudash configure` as people run it: what is found, what works, what is written, and that no key is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from support import moto_server
from support.http_cloud import HttpCloud
from support.lambda_cloud import KEY_VARIABLE
from support.lambda_server import KEY, FakeLambda
from support.runpod_cloud import KEY as RUNPOD_KEY
from support.runpod_cloud import FakeRunpod
from support.vast_fake import KEY as VAST_KEY
from support.vast_fake import FakeVast

from gpudash.clock import SystemClock
from tests.support.cli import Cli

STALE = "test-key-that-nobody-takes"
NOWHERE = "http://127.0.0.1:9"
"""A proxy that does not listen: whatever is found is asked at its vendor's, and no packet leaves this machine."""


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeLambda]:
    """A Lambda account with one machine."""
    cloud = FakeLambda(SystemClock())
    cloud.add_machine()
    yield cloud
    cloud.close()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A home with credentials of AWS that work and a key of Lambda that does not."""
    program = Cli(tmp_path / "home")
    program.env |= {
        "AWS_ENDPOINT_URL": moto_server.server_url(), "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1", "HTTPS_PROXY": NOWHERE, KEY_VARIABLE: STALE,
    }  # fmt: skip
    for name in ("AWS_PROFILE", "NO_PROXY", "no_proxy", "https_proxy"):
        program.env.pop(name, None)
    return program


def test_what_works_is_written_and_comments_stay(cli: Cli) -> None:
    """A key whose cloud does not answer is shown with the reason and left out; again, everything is known."""
    cli.config("# mine\n[defaults]\ntheme = 'nord'  # dark\n")
    looked = cli("configure")
    assert (looked.code, "nothing was written" in looked.err) == (0, True)
    assert cli.config_file.read_text() == "# mine\n[defaults]\ntheme = 'nord'  # dark\n"
    body = cli.ok("configure", "--yes")
    rows = {row["account"]: row for row in body["accounts"]}
    assert (rows["aws"]["works"], rows["aws"]["written"], rows["aws"]["where"]) == (True, True, "$AWS_ACCESS_KEY_ID")
    assert (rows["lambda"]["works"], rows["lambda"]["written"]) == (False, False)
    assert "no connection" in rows["lambda"]["problem"]
    text = cli.config_file.read_text()
    assert text.startswith("# mine\n[defaults]\ntheme = 'nord'  # dark\n")
    assert '[accounts.aws]\nprovider = "aws"\n' in text
    again = cli.ok("configure", "--yes", "--no-check")
    assert [(row["account"], row["new"]) for row in again["accounts"]] == [("aws", False), ("lambda", True)]


@pytest.mark.parametrize(
    ("provider", "make", "key"),
    [("lambda", FakeLambda, KEY), ("runpod", FakeRunpod, RUNPOD_KEY), ("vast", FakeVast, VAST_KEY)],
)
def test_each_key_is_tried_at_its_cloud(cli: Cli, provider: str, make: type[HttpCloud], key: str) -> None:
    """One that works, one that was taken back, and a cloud that cannot be reached are told apart; no key is shown."""
    cloud = make(SystemClock())
    try:
        cli.env |= {"GOOD": key, "REVOKED": STALE}
        cli.config(
            "\n".join(
                f'[accounts.{name}]\nprovider = "{provider}"\nbase_url = "{url}"\napi_key_env = "{variable}"\n'
                for name, url, variable in (
                    ("valid", cloud.url, "GOOD"), ("revoked", cloud.url, "REVOKED"), ("away", NOWHERE, "GOOD"),
                )
            )
        )  # fmt: skip
        answer = cli("configure", "--json")
    finally:
        cloud.close()
    rows = {row["account"]: row for row in answer.doc["accounts"] if not row["new"]}
    assert answer.code == 5
    assert {name: (row["works"], row["instances"]) for name, row in rows.items()} == {
        "valid": (True, 0), "revoked": (False, None), "away": (False, None),
    }  # fmt: skip
    assert "no connection" in rows["away"]["problem"]
    assert "no connection" not in rows["revoked"]["problem"]
    assert key not in answer.out + answer.err
    assert STALE not in answer.out + answer.err


def test_several_accounts_of_one_cloud(cli: Cli, fake: FakeLambda) -> None:
    """Each with its own key; one that is refused makes exit code 5 and says what to do."""
    for name in ("one", "two"):
        key_file = cli.home / f"{name}.key"
        key_file.write_text(KEY)
        key_file.chmod(0o600)
    sections = [
        f'[accounts.{name}]\nprovider = "lambda"\nbase_url = "{fake.url}"\n{key}\n'
        for name, key in (("one", 'api_key_file = "~/one.key"'), ("two", 'api_key_env = "SECOND"'))
    ]
    cli.config("\n".join(sections))
    cli.env["SECOND"] = KEY
    both = cli.ok("configure")
    assert [(r["account"], r["works"], r["instances"]) for r in both["accounts"] if not r["new"]] == [
        ("one", True, 1), ("two", True, 1),
    ]  # fmt: skip
    cli.env["SECOND"] = "another-test-key"
    refused = cli("configure")
    assert refused.code == 5
    assert "API key was invalid" in refused.out
    assert "Make a key at" in refused.out


def test_soongs_file_is_taken_over(cli: Cli) -> None:
    """The account names the file, the key is not copied; a lease of our own is not overwritten."""
    path = cli.home / ".config" / "gpu-dashboard" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        f"lambda: {{api_key: {KEY}, default_region: us-west-1}}\ndefaults: {{lease_hours: 6}}\n"
        "custom_models: {mine: {hf_path: a/b, params_billions: 7, quantization: int4, context_length: 8192}}\n"
    )
    path.chmod(0o600)
    text = cli("configure", "--no-check", "--import-soong", "--yes")
    assert text.code == 0
    assert "soong's lambda.default_region has no setting here: give it to a launch: --region us-west-1" in text.out
    assert "soong's model mine lacks figures: put in HEADS, KV_HEADS, HEAD_DIM, LAYERS" in text.out
    (command,) = [line.split() for line in text.out.splitlines() if line.startswith("  gpudash models add mine ")]
    pasted = [
        {"HEADS": "32", "KV_HEADS": "8", "HEAD_DIM": "128", "LAYERS": "28"}.get(word, word) for word in command[1:]
    ]
    added = cli.ok(*pasted)["model"]
    assert (added["parameters"], added["precision"], added["heads"], added["layers"]) == (7_000_000_000, "int4", 32, 28)
    written = cli.config_file.read_text()
    assert 'lease = "6h"' in written
    assert 'api_key_file = "~/.config/gpu-dashboard/config.yaml"' in written
    assert KEY not in written + text.out + text.err
    cli.config('[defaults]\nlease = "2h"\n')
    kept = cli.ok("configure", "--no-check", "--import-soong", str(path), "--yes")
    assert kept["imported"]["settings"] == {}
    assert [model["missing"] for model in kept["imported"]["models"]] == [["HEADS", "KV_HEADS", "HEAD_DIM", "LAYERS"]]
    assert 'lease = "2h"' in cli.config_file.read_text()
    assert cli("configure", "--import-soong", "/nowhere.yaml").code == 2


def test_nothing_found_says_what_to_do(cli: Cli) -> None:
    """The usual variables, and where a key's place is written down."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", KEY_VARIABLE):
        cli.env.pop(name)
    answer = cli("configure")
    assert answer.code == 0
    assert "Set LAMBDA_API_KEY" in answer.out
    assert str(cli.config_file) in answer.out


def test_nothing_is_written_against_read_only(cli: Cli) -> None:
    """Looking is fine."""
    assert cli("configure", "--read-only", "--no-check").code == 0
    answer = cli("configure", "--read-only", "--no-check", "--yes")
    assert (answer.code, "--read-only was given" in answer.err) == (4, True)
    assert not cli.config_file.exists()


def test_on_a_terminal_each_account_is_asked_for(cli: Cli) -> None:
    """Yes to one, no to the other."""
    with pexpect.spawn(
        sys.executable, ["-m", "gpudash", "configure", "--no-check"], env=cli.env, cwd=str(cli.home), encoding="utf-8",
        dimensions=(40, 160), timeout=30,
    ) as person:  # fmt: skip
        person.expect_exact("Write account aws ($AWS_ACCESS_KEY_ID)? [Y/n] ")
        person.sendline("n")
        person.expect_exact("Write account lambda ($LAMBDA_API_KEY)? [Y/n] ")
        person.sendline("")
        person.expect_exact("wrote account lambda to ")
        person.expect(pexpect.EOF)
    assert cli.config_file.read_text() == '[accounts.lambda]\nprovider = "lambda"\napi_key_env = "LAMBDA_API_KEY"\n'
    assert STALE not in (person.before or "")
