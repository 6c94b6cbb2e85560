"""SFTP on a sandbox host: plain file system calls, relative to the host's home.

Attributes are set here and not by paramiko's `set_file_attr`, which truncates what was just uploaded; every session
ends with exit status 0, without which `scp` reports a perfect copy as failed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import paramiko  # noqa: TID253  the host's process only; the dashboard never imports this module
from paramiko.sftp import SFTP_OK  # noqa: TID253  as above

T = TypeVar("T")


class _Handle(paramiko.SFTPHandle):  # type: ignore[misc]  # paramiko has no types
    """One open file; reads and writes say where, so no file position is shared."""

    def __init__(self, descriptor: int, flags: int) -> None:
        super().__init__(flags)
        self._descriptor = descriptor
        self._appends = bool(flags & os.O_APPEND)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self, offset: int, length: int) -> bytes | int:
        return _data(lambda: os.pread(self._descriptor, length, offset))

    def write(self, offset: int, data: bytes) -> int:
        def put() -> None:
            done = 0
            while done < len(data):
                rest = data[done:]
                done += (
                    os.write(self._descriptor, rest)
                    if self._appends
                    else os.pwrite(self._descriptor, rest, offset + done)
                )

        return _status(put)

    def stat(self) -> paramiko.SFTPAttributes | int:
        return _data(lambda: paramiko.SFTPAttributes.from_stat(os.fstat(self._descriptor)))

    def chattr(self, attr: paramiko.SFTPAttributes) -> int:
        return _status(lambda: _set_attributes(self._descriptor, attr))


class HostFiles(paramiko.SFTPServerInterface):  # type: ignore[misc]  # paramiko has no types
    """The file system as one host shows it."""

    def __init__(self, server: Any, home: Path) -> None:
        super().__init__(server)
        self._home = home

    def canonicalize(self, path: str) -> str:
        return os.path.normpath(self._at(path))

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        def entries() -> list[paramiko.SFTPAttributes]:
            found = []
            with os.scandir(self._at(path)) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found.append(paramiko.SFTPAttributes.from_stat(status, filename=entry.name))
            return found

        return _data(entries)

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        return _data(lambda: paramiko.SFTPAttributes.from_stat(os.stat(self._at(path))))

    def lstat(self, path: str) -> paramiko.SFTPAttributes | int:
        return _data(lambda: paramiko.SFTPAttributes.from_stat(os.lstat(self._at(path))))

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> _Handle | int:
        mode = 0o666 if attr.st_mode is None else attr.st_mode & 0o7777
        return _data(lambda: _Handle(os.open(self._at(path), flags | os.O_CLOEXEC, mode), flags))

    def remove(self, path: str) -> int:
        return _status(lambda: os.remove(self._at(path)))

    def rename(self, oldpath: str, newpath: str) -> int:
        """As the protocol has it: an existing target is refused."""

        def move() -> None:
            if os.path.lexists(self._at(newpath)):
                raise FileExistsError(newpath)
            os.rename(self._at(oldpath), self._at(newpath))

        return _status(move)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return _status(lambda: os.replace(self._at(oldpath), self._at(newpath)))

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        mode = 0o777 if attr.st_mode is None else attr.st_mode & 0o7777
        return _status(lambda: os.mkdir(self._at(path), mode))

    def rmdir(self, path: str) -> int:
        return _status(lambda: os.rmdir(self._at(path)))

    def chattr(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return _status(lambda: _set_attributes(self._at(path), attr))

    def readlink(self, path: str) -> str | int:
        return _data(lambda: os.readlink(self._at(path)))

    def symlink(self, target_path: str, path: str) -> int:
        return _status(lambda: os.symlink(target_path, self._at(path)))

    def _at(self, path: str) -> str:
        return os.path.join(self._home, path)


class SftpSession(paramiko.SFTPServer):  # type: ignore[misc]  # paramiko has no types
    """The subsystem; says exit status 0 before it closes."""

    def finish_subsystem(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self.sock.send_exit_status(0)
        super().finish_subsystem()


def _data(ask: Callable[[], T]) -> T | int:
    try:
        return ask()
    except OSError as exc:
        return _code(exc)


def _code(exc: OSError) -> int:
    return int(paramiko.SFTPServer.convert_errno(exc.errno))


def _status(act: Callable[[], object]) -> int:
    try:
        act()
    except OSError as exc:
        return _code(exc)
    return int(SFTP_OK)


def _set_attributes(target: int | str, attr: paramiko.SFTPAttributes) -> None:
    has = attr._flags
    if has & attr.FLAG_SIZE:
        os.truncate(target, attr.st_size)
    if has & attr.FLAG_UIDGID:
        with contextlib.suppress(PermissionError):  # a plain user cannot give files away; OpenSSH only warns too
            os.chown(target, attr.st_uid, attr.st_gid)
    if has & attr.FLAG_PERMISSIONS:
        os.chmod(target, attr.st_mode & 0o7777)
    if has & attr.FLAG_AMTIME:
        os.utime(target, (attr.st_atime, attr.st_mtime))
