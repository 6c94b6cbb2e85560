"""Gives a program the terminal on its standard input as controlling terminal, then becomes that program.

    python -I -S ptyhelper.py PROGRAM ARG…

It runs in a process of its own because code between fork and exec in a threaded server may deadlock.
"""

import fcntl
import os
import sys
import termios


def main() -> None:
    """Take the terminal, run the program."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606  becoming that program is the point


if __name__ == "__main__":
    main()
