"""The way in. Answers ``--version`` before anything is imported, then hands over to the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run gpudash with the arguments of the process."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from gpudash import __version__

        sys.stdout.write(f"gpudash {__version__}\n")
        return
    from gpudash.cli import main as run

    run()


if __name__ == "__main__":
    main()
