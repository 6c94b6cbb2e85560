"""Settings: what is right becomes values, what is wrong is named with an example, and keys are kept out."""

import os
import stat
import subprocess
import sys
import tomllib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gpudash import config, paths
from gpudash.config import Account, Config, Defaults
from gpudash.config.settings import settings_of
from gpudash.errors import ConfigError, ExitCode, GpudashError
from gpudash.model.policy import EndAction

HOUR = timedelta(hours=1)


def load(text: str, mode: int = 0o600) -> Config:
    path = paths.config_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return config.load()


def error(text: str, mode: int = 0o600) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, mode)
    assert caught.value.exit_code is ExitCode.USAGE
    assert str(paths.config_file()) in str(caught.value)
    return str(caught.value).replace(str(paths.config_file()), "FILE")


def test_without_a_file_everything_has_a_default() -> None:
    """And the sandbox is what is used."""
    settings = config.load()
    assert settings == Config()
    assert settings.defaults == Defaults(4 * HOUR, 24 * HOUR, HOUR / 2, EndAction.STOP, service_port=8000)
    assert (settings.selected(), settings.path) == ((Account("sandbox", "sandbox"),), None)


def test_an_empty_file_is_the_same() -> None:
    """Except that it is known."""
    assert load("") == Config(path=paths.config_file())


def test_reads_every_setting_of_defaults() -> None:
    """Each as what it is."""
    settings = load("""
        [defaults]
        lease = "2h"
        max_lease = "2d"
        idle_timeout = "15m"
        idle_action = "terminate"
        region = "us-east-1"
        refresh = "30s"
        read_only = true
        theme = "nord"
        max_price_usd_per_hour = 2.50
        service_port = 9000
        health_path = "/ready"
    """)
    assert settings.defaults == Defaults(
        lease=2 * HOUR,
        max_lease=48 * HOUR,
        idle_timeout=HOUR / 4,
        idle_action=EndAction.TERMINATE,
        region="us-east-1",
        refresh=timedelta(seconds=30),
        read_only=True,
        theme="nord",
        max_price_usd_per_hour=Decimal("2.50"),
        service_port=9000,
        health_path="/ready",
    )


def test_money_is_read_exactly() -> None:
    """0.1 is a tenth and not what a float makes of it."""
    assert str(load("[defaults]\nmax_price_usd_per_hour = 0.10").defaults.max_price_usd_per_hour) == "0.10"


def test_reads_accounts() -> None:
    """By name; the sandbox is there as well, but no longer what `ls` uses."""
    settings = load("""
        [accounts.work]
        provider = "aws"
        profile = "work"
        regions = ["us-east-1", "eu-west-1"]
        monthly_budget_usd = 500
        base_url = "http://127.0.0.1:5000/"
        [accounts.runpod]
        api_key_file = "~/key"
        serverless_url = "https://localhost"
        [accounts.lab]
        provider = "lambda"
        api_key_command = "pass show 'my key'"
        read_only = true
    """)
    work = Account(
        "work", "aws", profile="work", regions=("us-east-1", "eu-west-1"), monthly_budget_usd=Decimal(500),
        base_url="http://127.0.0.1:5000",
    )  # fmt: skip
    runpod = Account("runpod", "runpod", api_key_file=Path.home() / "key", serverless_url="https://localhost")
    lab = Account("lab", "lambda", api_key_command=("pass", "show", "my key"), read_only=True)
    assert settings.selected() == (work, runpod, lab)
    assert list(settings.accounts) == ["sandbox", "work", "runpod", "lab"]


def test_the_sandbox_can_have_settings() -> None:
    """It is an account like others."""
    settings = load('[accounts.sandbox]\nread_only = true\nregions = ["sandbox-east"]')
    assert settings.selected() == (Account("sandbox", "sandbox", read_only=True, regions=("sandbox-east",)),)


def test_reads_keys_as_they_are() -> None:
    """One or several; whether the action exists is the screen's to say."""
    assert load('[keys]\nlaunch = "n"\nstop = ["x", "f8"]').keys == {"launch": "n", "stop": "x,f8"}


WRONG = {
    "[defaults]\nlease = 4": 'FILE: [defaults] lease = 4: expected a duration in quotes. Write it like: lease = "4h"',
    '[defaults]\nlease = "4 hours"': 'lease = "4 hours": expected a duration',
    '[defaults]\nrefresh = "0s"': "expected a duration",
    '[defaults]\nlease = "48h"': 'lease = "2d": it is longer than max_lease, 1d. Write it like: max_lease = "2d"',
    '[defaults]\nidle_action = "pause"': "expected stop, hibernate or terminate",
    '[defaults]\nread_only = "yes"': 'read_only = "yes": expected true or false, without quotes',
    "[defaults]\nread_only = 1": "read_only = 1: expected true or false",
    '[defaults]\nmax_price_usd_per_hour = "2"': "expected a sum in USD above zero, without quotes",
    "[defaults]\nmax_price_usd_per_hour = nan": "expected a sum in USD",
    "[defaults]\nmax_price_usd_per_hour = inf": "expected a sum in USD",
    "[defaults]\nmax_price_usd_per_hour = -1": "expected a sum in USD",
    "[defaults]\nmax_price_usd_per_hour = true": "expected a sum in USD",
    "[defaults]\nservice_port = 0": "service_port = 0: expected a port from 1 to 65535",
    "[defaults]\nservice_port = 65536": "expected a port",
    "[defaults]\nservice_port = true": "service_port = true: expected a port",
    '[defaults]\nhealth_path = "health"': "expected a path that begins with /",
    '[defaults]\nregion = ""': "expected text in quotes",
    '[defaults]\nleese = "4h"': "FILE: [defaults] leese: no such setting. Did you mean lease?",
    "[defaults]\nzzz = 1": "Known are: health_path, idle_action",
    "[default]\n": "FILE: default: no such section. Did you mean defaults?",
    "defaults = 3": "defaults is a section. Write it as a line of its own: [defaults]",
    "accounts.x = 3": "accounts.x is a section. Write: [accounts.x]",
    '[accounts.work]\nprovider = "lamda"': 'provider = "lamda": no such cloud. Did you mean lambda?',
    '[accounts.work]\napi_key_env = "X"': 'provider: it is missing. Write it like: provider = "lambda"',
    '[accounts."a:b"]\nprovider = "vast"': "[accounts.a:b] its name: letters, digits",
    '[accounts.vast]\nprovider = "lambda"': "the name vast is another cloud's",
    '[accounts.mine]\nprovider = "sandbox"': "there is one sandbox",
    '[accounts.sandbox]\nprovider = "vast"': "the name sandbox is another cloud's",
    '[accounts.vast]\napi_key_env = "V"\nkeyring = "v"': "api_key_env and keyring: a key is kept in one place",
    '[accounts.vast]\nprofile = "x"': "profile: it has a meaning for aws only, and this is vast",
    '[accounts.vast]\nserverless_url = "http://localhost"': "a meaning for runpod only",
    '[accounts.aws]\napi_key_env = "X"': 'aws has profiles instead. Write it like: profile = "work"',
    '[accounts.sandbox]\nbase_url = "http://localhost"': "the sandbox needs none",
    '[accounts.vast]\nregions = "east"': "expected a list of names. Write it like: regions = [",
    "[accounts.vast]\nregions = []": "expected a list of names",
    "[accounts.vast]\nregions = [1]": "expected a list of names",
    '[accounts.vast]\napi_key_file = "key"': "expected an absolute path, or one that begins with ~/",
    "[accounts.vast]\napi_key_command = []": "expected a command line, or a list of words",
    '[accounts.vast]\napi_key_command = "pass \'x"': "expected a command line",
    '[accounts.vast]\nbase_url = "localhost:80"': "base_url: expected scheme, host and port only",
    '[accounts.vast]\nbase_url = "http://h/api/v0"': "expected scheme, host and port only",
    '[accounts.vast]\nbase_url = "http://h:99999"': "expected scheme, host and port only",
    '[accounts.vast]\nbase_url = "http://vast.example"': "https unless it is on this machine, or the key would cross",
    '[accounts.vast]\nbase_url = "http://127.0.0.1.vast.example:80"': "https unless it is on this machine",
    '[accounts.runpod]\nserverless_url = "http://10.0.0.7"': "https unless it is on this machine",
    "[accounts.lambda]\nkey_on_hosts = true": "exactly this sentence, if that is what you want",
    '[accounts.lambda]\nkey_on_hosts = "yes"': "I accept that whoever gets into a host",
    "[accounts.vast]\nkey_on_hosts = true": "expected exactly this sentence",
    "[keys]\nlaunch = 3": 'launch = 3: expected a key, or several with commas. Write it like: launch = "x"',
    "[defaults\n": "FILE is not TOML: Expected ']'",
    "[defaults]\nlease = 4h": "line 2",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_named_with_an_example(text: str) -> None:
    """File, section, field, what was expected, and how it is written."""
    assert WRONG[text] in error(text)


def test_a_key_goes_on_hosts_only_after_a_sentence() -> None:
    """Promise 9: the person says yes in so many words; nothing shorter counts."""
    sentence = "I accept that whoever gets into a host of this account can use its key for everything"
    text = f'[accounts.lambda]\nkey_on_hosts = "{sentence}"'
    assert load(text).accounts["lambda"].key_on_hosts
    assert not load("[accounts.lambda]").accounts["lambda"].key_on_hosts
    assert "has a meaning for lambda only" in error(text.replace("lambda", "vast"))


def test_a_shorter_limit_shortens_the_lease() -> None:
    """Who lowers the limit alone means the default lease too."""
    assert load('[defaults]\nmax_lease = "2h"').defaults.lease == 2 * HOUR


def test_a_theme_is_checked_against_those_there_are() -> None:
    """Called by whoever knows them."""
    settings = load('[defaults]\ntheme = "norrd"')
    with pytest.raises(ConfigError, match=r'\[defaults\] theme = "norrd": no such theme\. Did you mean nord\?'):
        config.check_theme(settings, ["nord", "gruvbox"])
    config.check_theme(settings, ["norrd"])
    config.check_theme(Config(), [])


# Secrets


@pytest.mark.parametrize(
    "name", ["api_key", "apikey", "API_KEY", "key", "token", "secret", "aws_secret_access_key", "password", "api-key"]
)
def test_a_key_in_the_file_is_refused(name: str) -> None:
    """Whatever it is called; the error shows how to do it and not the key."""
    said = error(f'[accounts.vast]\n{name} = "hunter2"')
    assert f"{name}: keys do not belong in this file" in said
    assert 'api_key_env = "LAMBDA_API_KEY"' in said
    assert "hunter2" not in said


def test_a_key_at_the_top_of_the_file_is_refused_too() -> None:
    """Before any section."""
    assert "keys do not belong in this file" in error('api_key = "hunter2"')


def test_a_key_that_others_could_read_is_spent() -> None:
    """The error says that it must be replaced."""
    said = error('[accounts.vast]\napi_key = "hunter2"', 0o644)
    assert "Others can read this file: replace that key at the cloud, and chmod 600 FILE" in said


@pytest.mark.parametrize(
    "line",
    [
        'api_key_env = "sk-hunter2.x"',
        'base_url = "https://me:hunter2@localhost"',
        'base_url = "https://localhost?key=hunter2"',
        'keyring = ["hunter2"]',
        'api_key_file = "hunter2"',
    ],
)
def test_what_may_be_a_key_is_not_shown(line: str) -> None:
    """A person put the key where its place belongs."""
    assert "hunter2" not in error(f"[accounts.vast]\n{line}")


def test_a_readable_file_without_secrets_is_fine() -> None:
    """Many keep their settings in a public repository."""
    assert load('[accounts.vast]\napi_key_env = "V"', 0o644).accounts["vast"].api_key_env == "V"


def test_a_command_in_a_file_that_others_write_is_refused() -> None:
    """They would run what they like as this person."""
    assert "others can write this file. Try: chmod 600" in error('[accounts.vast]\napi_key_command = "x"', 0o666)


# Files that cannot be read


def test_a_folder_is_no_file() -> None:
    """With the system's own words."""
    paths.config_file().mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read: Is a directory"):
        config.load()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission() -> None:
    """Not the same as no file."""
    assert "cannot be read: Permission denied" in error("", 0o000)


def test_a_loop_of_links_is_no_missing_file() -> None:
    """It is somebody's mistake, and not silence."""
    path = paths.config_file()
    path.parent.mkdir(parents=True)
    path.symlink_to(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load()


def test_bytes_that_are_no_text() -> None:
    """Latin-1, perhaps."""
    path = paths.config_file()
    path.parent.mkdir(parents=True)
    path.write_bytes(b'[defaults]\ntheme = "\xe9"')
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 20\)"):
        config.load()


# Writing


def test_saving_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    """Comments, order, spacing, everything else."""
    path = tmp_path / "config.toml"
    path.write_text('# mine\n[defaults]\nlease = "2h"   # short\n\n[keys]\nlaunch = "n"\n')
    config.save_setting(path, "defaults.theme", "nord")
    config.save_setting(path, "defaults.lease", "3h")
    assert path.read_text() == '# mine\n[defaults]\nlease = "3h"   # short\ntheme = "nord"\n\n[keys]\nlaunch = "n"\n'


def test_saving_makes_a_private_file(tmp_path: Path) -> None:
    """And the folders above it."""
    path = tmp_path / "a" / "config.toml"
    config.save_setting(path, "accounts.lab.provider", "vast")
    assert config.load(path).selected() == (Account("lab", "vast"),)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["config.toml"]


def test_saving_keeps_mode_and_links(tmp_path: Path) -> None:
    """A file kept in a repository elsewhere stays there."""
    real, link = tmp_path / "real.toml", tmp_path / "config.toml"
    real.write_text("[defaults]\n")
    real.chmod(0o644)
    link.symlink_to(real)
    config.save_setting(link, "defaults.theme", "nord")
    assert link.is_symlink()
    assert 'theme = "nord"' in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o644


def test_saving_nothing_removes(tmp_path: Path) -> None:
    """Back to the default."""
    path = tmp_path / "config.toml"
    config.save_setting(path, "defaults.theme", "nord")
    config.save_setting(path, "defaults.theme", None)
    config.save_setting(path, "defaults.region", None)
    assert config.load(path).defaults == Defaults()


@pytest.mark.parametrize(
    ("name", "value"), [("defaults.lease", "soon"), ("defaults.leese", "4h"), ("accounts.v.api_key", "k")]
)
def test_saving_something_wrong_changes_nothing(tmp_path: Path, name: str, value: str) -> None:
    """The file is checked before it is replaced."""
    path = tmp_path / "config.toml"
    path.write_text('[defaults]\ntheme = "nord"\n')
    with pytest.raises(ConfigError):
        config.save_setting(path, name, value)
    assert path.read_text() == '[defaults]\ntheme = "nord"\n'


def test_saving_into_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    """It says what is broken."""
    path = tmp_path / "config.toml"
    path.write_text("[defaults\n")
    with pytest.raises(ConfigError, match="not TOML"):
        config.save_setting(path, "defaults.theme", "nord")
    assert path.read_text() == "[defaults\n"


# The table, and imports


def test_every_setting_has_a_meaning() -> None:
    """One sentence or more, from the docstring under its field."""
    rows = config.settings_table()
    assert {row.name for row in rows} >= {"defaults.lease", "accounts.NAME.api_key_command"}
    assert all(row.meaning.endswith(".") and row.meaning[0].isupper() for row in rows)
    assert {row.name: row.default for row in rows}["defaults.idle_timeout"] == '"30m"'


def test_every_setting_has_an_example_that_works() -> None:
    """The one an error shows."""
    for cls in (Defaults, Account):
        for item in settings_of(cls).values():
            body = tomllib.loads(f"x = {item.metadata['example']}", parse_float=Decimal)
            item.metadata["kind"].read(body["x"])


def test_reading_settings_is_light() -> None:
    """Nothing that only writing or asking for a key needs."""
    code = "import sys, gpudash.config as c; c.load(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not {"tomlkit", "keyring", "subprocess", "difflib", "gpudash.config.credentials"} & modules


# Paths


def test_folders_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are absolute; a relative one is ignored, as the specification wants it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    assert paths.ledger_file() == tmp_path / "s" / "gpudash" / "ledger.db"
    assert stat.S_IMODE(paths.state_dir().stat().st_mode) == 0o700
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    assert paths.config_file().is_absolute()


def test_a_state_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it and the way out."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(GpudashError, match=r"file/gpudash cannot be made.*XDG_STATE_HOME"):
        paths.state_dir()
