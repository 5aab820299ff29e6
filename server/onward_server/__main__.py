"""``python -m onward_server`` is ``onward-server``."""

from onward_server.cli import main

main()
