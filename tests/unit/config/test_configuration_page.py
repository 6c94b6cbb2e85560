"""docs/configuration.md tells the truth."""

import re
from pathlib import Path

import pytest

from gpudash import config
from gpudash.config.credentials import _VARIABLES

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()


def test_every_setting_is_on_the_page() -> None:
    """Its table is the one made from the fields; `cog -r docs/configuration.md` writes it anew."""
    assert config.readme_table() in PAGE


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_loads(tmp_path: Path, example: str) -> None:
    """As it stands."""
    path = tmp_path / "config.toml"
    path.write_text(example)
    assert config.load(path).selected()


@pytest.mark.parametrize("said", re.findall(r"^~/\.config/gpudash/config\.toml: (.*)$", PAGE, re.MULTILINE))
def test_every_error_is_the_real_one(tmp_path: Path, said: str) -> None:
    """The words on the page are those on the screen."""
    path = tmp_path / "config.toml"
    section, line = re.match(r"(\[\w+\]) (\w+(?: = \"[^\"]*\")?)", said).groups()
    path.write_text(f"{section}\n{line if '=' in line else line + ' = 1'}\n")
    with pytest.raises(config.reading.ConfigError) as caught:
        config.load(path)
    assert str(caught.value) == f"{path}: {said}"


def test_every_variable_is_on_the_page() -> None:
    """In the order in which they are looked at."""
    for names in _VARIABLES.values():
        assert ", ".join(f"`{name}`" for name in names) in PAGE
