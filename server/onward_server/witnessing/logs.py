"""The logs that a witness knows: a file that an operator may change at any time.

It is a list of lines ``log <vkey> [<url>]``, as a tlog-policy has them; a whole policy
does as well. A changed file is taken over with the next request. What is not sound is
reported, and the list before stays in force.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from onward._files import locked, write_atomically
from onward.core.errors import MalformedError
from onward.core.notes import Vkey
from onward.core.tlog_policy import Log, parse_logs

_log = structlog.get_logger(__name__)


class KnownLogs:
    """The logs of a file, as it is at present.

    Args:
        path: the file.

    Raises:
        MalformedError: it cannot be read, or is not sound, now when it is read first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _look(path)
        self._logs = read_logs(path)

    def present(self) -> tuple[Log, ...]:
        """Returns the logs, and takes over a changed file before."""
        state = _look(self._path)
        if state != self._state:
            self._state = state
            try:
                self._logs = read_logs(self._path)
            except MalformedError as error:
                _log.error("witness.logs_not_taken_over", rule=error.message)
            else:
                _log.info("witness.logs_taken_over", logs=len(self._logs))
        return self._logs

    def vkeys(self) -> list[Vkey]:
        """Returns the keys of the logs."""
        return [log.vkey for log in self.present()]


def read_logs(path: Path) -> tuple[Log, ...]:
    """Reads the file.

    Raises:
        MalformedError: it cannot be read, or a line is not allowed.
    """
    try:
        return parse_logs(path.read_text("utf-8"))
    except OSError as error:
        why = error.strerror or "it is no file"
        raise MalformedError(f"{path} cannot be read: {why}") from None
    except UnicodeDecodeError:
        raise MalformedError(f"{path} is not UTF-8") from None
    except MalformedError as error:
        raise MalformedError(f"{path}: {error.message}") from None


def add_log(path: Path, vkey: Vkey, url: str = "") -> bool:
    """Adds a log to the file; a running witness knows it from its next request on.

    Returns:
        False if the file lists the key already.

    Raises:
        MalformedError: the file is not sound, or the key is of no log.
        UnavailableError: the file cannot be written.
    """
    with locked(path.with_name(f".{path.name}.lock")):
        if vkey in (log.vkey for log in read_logs(path)):
            return False
        before = path.read_text("utf-8")
        line = f"log {vkey.format()} {url}".rstrip()
        after = f"{before}{'' if before.endswith(chr(10)) or not before else chr(10)}"
        text = f"{after}{line}\n"
        parse_logs(text)
        write_atomically(path, text.encode())
    return True


def _look(path: Path) -> tuple[int, int, int] | None:
    """Returns what changes when the file changes; None for one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
