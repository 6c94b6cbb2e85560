"""Every command and every exit code as tables, for README and manual; made from the command line itself."""

from __future__ import annotations

from gpudash.cli.main import COMMANDS, MORE_COMMANDS
from gpudash.cli.output import SENTENCES


def commands() -> list[tuple[str, str]]:
    """Every command with its one line, the dashboard first."""
    table = [("gpudash", "The dashboard.")]
    for name, (_, text) in COMMANDS.items():
        table.append((f"gpudash {name}", text))
        table += [(f"gpudash {more}", line) for more, line in MORE_COMMANDS.items() if more.startswith(f"{name} ")]
    return table


def exit_codes() -> list[tuple[int, str]]:
    """Each exit code with its sentence."""
    return [(int(code), text) for code, text in SENTENCES.items()]


def readme_tables() -> str:
    """Both as Markdown."""
    lines = ["| command | |", "|---|---|"]
    lines += [f"| `{command}` | {text} |" for command, text in commands()]
    lines += ["", "| exit code | means |", "|---|---|"]
    lines += [f"| {code} | {text} |" for code, text in exit_codes()]
    return "\n".join(lines) + "\n"
