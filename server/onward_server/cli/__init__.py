"""``onward-server``: running an exchange.

Exit codes: 0 done; 1 refused, or problems were found; 2 wrong usage or configuration;
3 not possible at present, try again; 70 a defect of Onward.
"""

from onward_server.cli.main import app, main

__all__ = ["app", "main"]
