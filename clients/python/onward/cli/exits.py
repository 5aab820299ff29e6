"""What the command line ends with."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes, the same for every command."""

    OK = 0
    """It was done; what was to be verified is proven."""
    REFUSED = 1
    """It was refused, is not proven, or is not as it should be."""
    USAGE = 2
    """The command or an input is not well-formed; what was to be verified could not
    be checked."""
    UNAVAILABLE = 3
    """It cannot be done at present. Run the same again later."""
    DEFECT = 70
    """Onward itself failed. ``--debug`` shows where."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """The signal TERM."""
