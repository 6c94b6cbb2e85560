"""The key in files of other tools, every layout that is named, and nothing else taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpudash.config import all_credentials, as_written, save_account, soong
from gpudash.config.keyfiles import key_in
from gpudash.config.reading import load
from gpudash.config.settings import Account
from gpudash.errors import ConfigError

DSTACK = """
projects:
- name: main
  backends:
  - type: aws
    creds: {type: default}
  - type: lambda
    creds: {type: api_key, api_key: k-lambda}
  - type: vastai
    creds:
      api_key: k-vast
"""
SOONG = """
lambda:
  api_key: k-1
  default_region: us-west-1
  filesystem_name: coding-stack
status_daemon: {token: tok-of-soong, port: 8080}
defaults: {model: deepseek-r1-70b, gpu: gpu_1x_a10, lease_hours: 6}
ssh: {key_path: ~/.ssh/lambda}
tunnel: {sglang_port: 8001}
custom_models:
  mine: {hf_path: a/b, params_billions: 7, quantization: int4, context_length: 8192}
"""


@pytest.mark.parametrize(
    ("name", "text", "provider", "key"),
    [
        ("key", "k-1\n", "lambda", "k-1"),
        ("lambda_keys", "api_key = k-1\n", "lambda", "k-1"),
        ("config.toml", '[default]\napi_key = "k-1"\n', "runpod", "k-1"),
        ("config.toml", "apikey = 'k-1'\napiurl = 'https://x'\n", "runpod", "k-1"),
        (".runpod.yaml", "apikey: k-1\napiurl: https://x\n", "runpod", "k-1"),
        (".runpod.yaml", "apiKey: k-1\n", "runpod", "k-1"),
        ("config.yml", DSTACK, "lambda", "k-lambda"),
        ("config.yml", DSTACK, "vast", "k-vast"),
        ("config.yml", DSTACK, "runpod", None),
        ("config.yaml", SOONG, "lambda", "k-1"),
        ("config.yaml", SOONG, "vast", None),
        ("config.yaml", "[1, 2]", "lambda", None),
        ("config.yaml", "a: [", "lambda", None),
        ("config.yaml", "projects: [1, {backends: [x]}]", "lambda", None),
        ("key", "", "lambda", None),
        ("key", "two words", "lambda", None),
    ],
)
def test_layouts(name: str, text: str, provider: str, key: str | None) -> None:
    """One a line."""
    assert key_in(text, Path(name), provider) == key


def private(path: Path, text: str) -> Path:
    """A file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_every_key_has_an_account_and_the_same_key_counts_once(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two places with one key are one account; profiles of AWS are accounts each; what cannot be read says why."""
    monkeypatch.setenv("LAMBDA_API_KEY", "k-1")
    monkeypatch.setenv("LAMBDA_CLOUD_API_TOKEN", "k-1")
    private(own_home / ".lambda_cloud" / "lambda_keys", "api_key = k-2\n")
    private(own_home / ".dstack" / "server" / "config.yml", DSTACK)
    private(own_home / ".vast_api_key", "k-3").chmod(0o644)
    body = "[default]\naws_access_key_id = a\n[team x]\naws_access_key_id = b\n"
    private(own_home / ".aws" / "credentials", body)
    found = {item.account.name: item for item in all_credentials(["aws", "lambda", "vast"])}
    assert {name: item.where for name, item in found.items()} == {
        "aws": "~/.aws/credentials [default]",
        "aws-team-x": "~/.aws/credentials [team x]",
        "lambda": "$LAMBDA_API_KEY",
        "lambda-2": "~/.lambda_cloud/lambda_keys",
        "lambda-3": "~/.dstack/server/config.yml",
        "vast": "~/.vast_api_key",
        "vast-2": "~/.dstack/server/config.yml",
    }
    assert found["lambda-3"].usable
    assert "others can read" in (found["vast"].problem or "")


def test_an_account_is_written_and_read_back(own_home: Path) -> None:
    """Comments stay; a path in the home begins with ~; a name with a dot is one section."""
    path = private(own_home / "config.toml", "# mine\n[defaults]\nlease = '2h' # short\n")
    accounts = [
        Account("lambda", "lambda", api_key_file=own_home / "key"),
        Account("a.b", "aws", profile="a.b", regions=("us-east-1",), read_only=True),
        Account("c", "vast", api_key_command=("pass", "show", "vast key")),
    ]
    for account in accounts:
        save_account(path, account)
    assert 'api_key_file = "~/key"' in path.read_text()
    assert "# mine\n[defaults]\nlease = '2h' # short\n" in path.read_text()
    read = load(path).accounts
    assert [read[account.name] for account in accounts] == accounts
    assert as_written(accounts[0]) == {"provider": "lambda", "api_key_file": "~/key"}


def test_soongs_settings_in_our_words(own_home: Path) -> None:
    """Its key stays where it is; what has no setting here is named with what to do instead."""
    path = private(soong.usual_file(), SOONG)
    taken = soong.read(path, ["sandbox"])
    assert taken.account == Account("lambda", "lambda", api_key_file=path)
    assert taken.settings == {"defaults.lease": "6h", "defaults.service_port": 8001}
    assert dict(taken.left_out)["lambda.filesystem_name"] == "give it to a launch: -o file_system=coding-stack"
    assert [name for name, _ in taken.left_out] == [
        "lambda.default_region", "lambda.filesystem_name", "defaults.gpu", "defaults.model", "ssh.key_path",
    ]  # fmt: skip
    assert [(one.id, one.command, one.missing) for one in taken.models] == [
        (
            "mine",
            "gpudash models add mine --name a/b --parameters 7b --precision int4 --context 8192 "
            "--heads HEADS --kv-heads KV_HEADS --head-dim HEAD_DIM --layers LAYERS",
            ("HEADS", "KV_HEADS", "HEAD_DIM", "LAYERS"),
        )
    ]
    assert "k-1" not in str(taken)
    assert "tok-of-soong" not in str(taken)
    assert soong.read(path, ["lambda"]).account.name == "soong"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (None, 0o600, "cannot be read: No such file or directory. Name the file: --import-soong FILE"),
        (SOONG, 0o644, "Others can read"),
        ("lambda: {}", 0o600, "so it is not soong's"),
        ("a: [", 0o600, "so it is not soong's"),
    ],
)
def test_a_file_that_is_not_soongs(own_home: Path, text: str | None, mode: int, said: str) -> None:
    """Named, with the reason."""
    path = own_home / "config.yaml"
    if text is not None:
        private(path, text).chmod(mode)
    with pytest.raises(ConfigError) as caught:
        soong.read(path, [])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("model", "words", "missing"),
    [
        ("My/Model: {params_billions: 7.5, quantization: INT8}", "my-model --parameters 7.5b --precision fp8", "CONTEXT"),
        ("m: {quantization: fp32, context_length: 512}", "m --parameters PARAMETERS --precision PRECISION --context 512",
         "PARAMETERS PRECISION"),
        ("'$(id)': {hf_path: 'a b; id'}", "id- --name 'a b; id' --parameters", "PARAMETERS PRECISION CONTEXT"),
        ("'/': 3", "MODEL --parameters", "MODEL PARAMETERS PRECISION CONTEXT"),
        ("m: {params_billions: true, context_length: -1, hf_path: 1}", "m --parameters", "PARAMETERS PRECISION CONTEXT"),
    ],
)  # fmt: skip
def test_what_a_model_of_soong_lacks_is_a_word_in_capitals(
    own_home: Path, model: str, words: str, missing: str
) -> None:
    """A command that can be pasted whatever the file says: quoted, and with an id of ours."""
    (found,) = soong.read(
        private(own_home / "config.yaml", f"lambda: {{api_key: k}}\ncustom_models:\n  {model}\n"), []
    ).models
    assert found.command.startswith(f"gpudash models add {words}")
    assert found.missing == (*missing.split(), "HEADS", "KV_HEADS", "HEAD_DIM", "LAYERS")


def test_values_of_soong_that_cannot_be_are_left_alone(own_home: Path) -> None:
    """A lease of a text, a port of nothing."""
    body = "lambda: {api_key: k}\ndefaults: {lease_hours: soon}\ntunnel: {sglang_port: 99999}\ncustom_models: 3\n"
    taken = soong.read(private(own_home / "config.yaml", body), [])
    assert (taken.settings, taken.left_out, taken.models) == ({}, (), ())
