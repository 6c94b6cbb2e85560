"""The command line: thin. It parses words, asks `fleet`, and prints text or JSON.

This module imports nothing heavy, because every start of gpudash passes through it.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line with the arguments of the process, and leave with its exit code."""
    import sys

    from gpudash.cli.main import run

    sys.exit(run(sys.argv[1:]))


def reference() -> tuple[list[tuple[str, str]], list[tuple[int, str]]]:
    """Every command with its one line of help, and every exit code with its sentence; the README is made from it."""
    from gpudash.cli.main import command_table
    from gpudash.cli.output import exit_code_table

    return command_table(), exit_code_table()
