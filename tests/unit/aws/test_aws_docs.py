"""docs/aws.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gpudash.providers.aws import images, policies
from gpudash.providers.aws.options import LAUNCH_OPTIONS

PAGE = (Path(__file__).parents[3] / "docs" / "aws.md").read_text()


def test_policies_to_paste_are_those_of_the_code() -> None:
    """To the letter."""
    shown = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    assert shown == [policies.person_policy(), policies.instance_policy(), policies.trust_policy()]


def test_every_option_has_its_line() -> None:
    """And no line speaks of one that is not there."""
    table = PAGE[PAGE.index("Options (") : PAGE.index("## Tags")]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)}
    assert named == {option.name.replace("tag.", "tag.KEY") for option in LAUNCH_OPTIONS}
    assert all(f"`{alias}`" in table for alias in images.ALIASES)
