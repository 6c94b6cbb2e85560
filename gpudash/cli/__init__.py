"""The command line: thin. It parses words, asks `fleet`, and prints text or JSON.

This module imports nothing heavy, because every start of gpudash passes through it.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line with the arguments of the process, and leave with its exit code."""
    import sys

    from gpudash.cli.shortcut import dashboard

    code = dashboard(sys.argv[1:])
    if code is None:
        from gpudash.cli.main import run

        code = run(sys.argv[1:])
    sys.exit(code)
