"""The command line ``onward``: the SDK for people and for programs in any language.

The modules without an underscore hold the commands: their names, arguments and help.
They import nothing heavy, so that help and completion answer at once. What a command
does is in a module with an underscore, which is imported when the command runs; only
those that talk to the exchange import grpc.

Standard output is data: a table for people, and with ``--json`` one JSON object, or one
on each line where things come one by one. Standard error is for people. What a program
ends with is in :class:`onward.cli.exits.Exit`.
"""
