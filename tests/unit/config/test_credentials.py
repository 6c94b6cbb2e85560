"""Where keys are kept: fetched from the place an account names, found where vendors' tools keep them, never shown."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gpudash import config, paths
from gpudash.config import Account, credential, found_credentials
from gpudash.errors import AuthRefused

PLACES = (
    "LAMBDA_API_KEY", "LAMBDA_CLOUD_API_TOKEN", "LAMBDA_CLOUD_TOKEN", "LAMBDA_API_TOKEN", "LAMBDALABS_API_KEY",
    "RUNPOD_API_KEY", "RUNPOD_POD_ID", "VAST_API_KEY", "CONTAINER_ID", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_keys_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own credentials are none of these tests' business."""
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)


def put(name: str, text: str, mode: int = 0o600) -> Path:
    """A file in the home folder."""
    path = Path.home() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def account(provider: str = "lambda", **source: object) -> Account:
    return Account("lab", provider, **source)


def refusal(asked: Account) -> str:
    with pytest.raises(AuthRefused) as caught:
        credential(asked)
    assert "lab" in str(caught.value)
    return str(caught.value)


# The place an account names


def test_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the line end that some shells leave."""
    monkeypatch.setenv("MY_KEY", "k-1\n")
    assert credential(account(api_key_env="MY_KEY")) == "k-1"


def test_a_variable_that_is_not_set() -> None:
    """Its name is in the error; unless it looks as if it were the key itself."""
    assert "environment variable MY_KEY is not set" in refusal(account(api_key_env="MY_KEY"))
    assert "hunter2" not in refusal(account(api_key_env="rpa_hunter2"))


def test_from_a_file() -> None:
    """The key alone on a line."""
    assert credential(account(api_key_file=put("key", "k-1\n"))) == "k-1"


def test_a_file_that_others_can_read_is_refused() -> None:
    """With the command that closes it."""
    path = put("key", "hunter2", 0o644)
    said = refusal(account(api_key_file=path))
    assert f"chmod 600 {path}" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("text", ["", "two words", "# nothing\n"])
def test_a_file_without_a_key(text: str) -> None:
    """Empty, or something else altogether."""
    assert "holds no key" in refusal(account(api_key_file=put("key", text)))


def test_a_missing_file() -> None:
    """With the system's words."""
    assert "No such file" in refusal(account(api_key_file=Path("/nowhere/key")))


def test_from_a_command() -> None:
    """Run when asked, without a shell."""
    command = (sys.executable, "-c", "print('k-1')")
    assert credential(account(api_key_command=command)) == "k-1"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('hunter2'); sys.exit('store is locked')", "(exit 1): store is locked"),
        ("pass", "it printed no key"),
        ("print('hunter2', 'hunter2')", "more than one word"),
    ],
)
def test_a_command_that_fails(code: str, said: str) -> None:
    """Its own last words, and nothing of what it printed."""
    text = refusal(account(api_key_command=(sys.executable, "-c", code)))
    assert said in text
    assert "hunter2" not in text


def test_a_command_that_does_not_exist() -> None:
    """Named."""
    assert "api_key_command /no/such failed: No such file" in refusal(account(api_key_command=("/no/such",)))


def test_a_command_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended."""
    monkeypatch.setattr("gpudash.config.credentials.COMMAND_TIMEOUT_S", 0.1)
    command = (sys.executable, "-c", "import threading; threading.Event().wait()")
    assert "no answer in 0.1 s" in refusal(account(api_key_command=command))


class FakeKeyring(ModuleType):
    """The little of `keyring` that is used."""

    errors = SimpleNamespace(KeyringError=RuntimeError)

    def get_password(self, service: str, user: str) -> str | None:
        if service == "locked":
            raise RuntimeError("the collection is locked")
        return {("gpudash", "lab"): "k-1", ("gpudash", "me"): "k-2"}.get((service, user))


@pytest.mark.parametrize(("place", "key"), [("gpudash", "k-1"), ("gpudash/me", "k-2")])
def test_from_the_key_chain(monkeypatch: pytest.MonkeyPatch, place: str, key: str) -> None:
    """The user is the account's name unless said otherwise."""
    monkeypatch.setitem(sys.modules, "keyring", FakeKeyring("keyring"))
    assert credential(account(keyring=place)) == key


@pytest.mark.parametrize(
    ("place", "said"), [("other", "keyring set other lab"), ("locked", "the collection is locked")]
)
def test_a_key_chain_without_the_key(monkeypatch: pytest.MonkeyPatch, place: str, said: str) -> None:
    """With the command that puts it there, or the chain's own words."""
    monkeypatch.setitem(sys.modules, "keyring", FakeKeyring("keyring"))
    assert said in refusal(account(keyring=place))


def test_no_key_chain_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "pip install 'gpudash[keyring]'" in refusal(account(keyring="gpudash"))


# Vendors' usual places


def test_nothing_is_found_in_an_empty_home() -> None:
    """The welcome screen offers the sandbox."""
    assert found_credentials(config.PROVIDERS) == []


FILES = {
    "lambda": (".lambda_cloud/lambda_keys", "api_key = k-1\n"),
    "runpod": (".runpod/config.toml", '[default]\napi_key = "k-1"\n'),
    "vast": (".config/vastai/vast_api_key", "k-1"),
}


@pytest.mark.parametrize("provider", FILES)
def test_a_vendors_own_file_just_works(provider: str) -> None:
    """Found, named for people, usable, and read without any setting."""
    name, text = FILES[provider]
    put(name, text)
    (found,) = found_credentials([provider])
    assert (found.provider, found.where, found.usable, found.problem) == (provider, f"~/{name}", True, None)
    assert credential(found.account) == "k-1"
    assert credential(account(provider)) == "k-1"


@pytest.mark.parametrize(
    "text",
    [
        '[default]\napi_key = "k-1"\n[other]\napi_key = "k-2"',
        '[other]\napi_key = "k-2"\n[default]\napi_key = "k-1"',
        'apikey = "k-1"\nrestapiurl = "https://x"',
        'apiKey = "k-1"',
        '[work]\napi_key = "k-1"',
    ],
)
def test_runpods_layouts(text: str) -> None:
    """Its Python client and its command line write different ones."""
    put(".runpod/config.toml", text)
    assert credential(account("runpod")) == "k-1"


@pytest.mark.parametrize("name", [name for name in PLACES if name.startswith("LAMBDA")])
def test_lambdas_variables(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each of those in use."""
    monkeypatch.setenv(name, "k-1")
    (found,) = found_credentials(["lambda"])
    assert (found.where, credential(found.account)) == (f"${name}", "k-1")


def test_a_variable_wins_over_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the vendors' own tools."""
    put(*FILES["vast"])
    monkeypatch.setenv("VAST_API_KEY", "k-2")
    assert credential(account("vast")) == "k-2"


@pytest.mark.parametrize(("provider", "mark"), [("runpod", "RUNPOD_POD_ID"), ("vast", "CONTAINER_ID")])
def test_a_key_for_one_machine_is_no_accounts_key(monkeypatch: pytest.MonkeyPatch, provider: str, mark: str) -> None:
    """Inside a machine of that cloud the usual places hold one."""
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "k-1")
    monkeypatch.setenv(mark, "abc")
    assert found_credentials(config.PROVIDERS) == []


def test_a_cloud_without_an_adapter_is_shown_but_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The welcome screen says so."""
    monkeypatch.setenv("LAMBDA_API_KEY", "k-1")
    assert [found.usable for found in found_credentials(["sandbox"])] == [False]


def test_a_key_that_cannot_be_used_says_why() -> None:
    """Others can read it."""
    put(*FILES["vast"], mode=0o644)
    (found,) = found_credentials(["vast"])
    assert not found.usable
    assert "others can read" in (found.problem or "")


@pytest.mark.parametrize(
    ("files", "where", "profile"),
    [
        ({"credentials": "[default]\naws_access_key_id = A\n"}, "~/.aws/credentials [default]", None),
        ({"credentials": "[work]\naws_access_key_id = A\n"}, "~/.aws/credentials [work]", "work"),
        (
            {"config": "[profile sso]\nsso_session = s\n[sso-session s]\nsso_start_url = u\n"},
            "~/.aws/config [sso]",
            "sso",
        ),
    ],
)
def test_aws_profiles(files: dict[str, str], where: str, profile: str | None) -> None:
    """The default one, else the first that leads to credentials."""
    for name, text in files.items():
        put(f".aws/{name}", text)
    (found,) = found_credentials(["aws"])
    assert (found.where, found.account.profile, found.usable) == (where, profile, True)


def test_aws_chosen_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in the environment."""
    put(".aws/credentials", "[default]\naws_access_key_id = A\n[work]\naws_access_key_id = B\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert [found.account.profile for found in found_credentials()] == ["work"]


@pytest.mark.parametrize("text", ["[default]\nregion = us-east-1\n", "no ini at all", "\0"])
def test_aws_settings_without_credentials(text: str) -> None:
    """A region alone, or a file that is none."""
    put(".aws/config", text)
    assert found_credentials() == []


def test_aws_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    assert found_credentials() == []
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S")
    assert [found.where for found in found_credentials()] == ["$AWS_ACCESS_KEY_ID"]


def test_no_key_anywhere_says_where_it_was_looked_for() -> None:
    """And how to name another place."""
    said = refusal(account("vast"))
    assert "$VAST_API_KEY" in said
    assert "~/.vast_api_key" in said
    assert "api_key_env" in said


def test_found_keys_make_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any file, once there is an adapter; an account of that cloud in the file takes their place."""
    monkeypatch.setenv("VAST_API_KEY", "k-1")
    assert [found.name for found in config.load(adapters=["vast"]).selected()] == ["vast"]
    assert [found.name for found in config.load().selected()] == ["sandbox"]
    config.save_setting(paths.config_file(), "accounts.lab.provider", "vast")
    assert [found.name for found in config.load(adapters=["vast"]).selected()] == ["lab"]


def test_a_found_key_is_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places only."""
    monkeypatch.setenv("VAST_API_KEY", "hunter2")
    put(".runpod/config.toml", 'apikey = "hunter2"')
    assert "hunter2" not in repr(found_credentials(config.PROVIDERS))
