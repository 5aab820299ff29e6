"""``python -m onward``: the command line."""

from onward.cli.main import main

main()
