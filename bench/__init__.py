"""The benchmark: what the exchange does in a second, beside what the machine could.

Each figure of the exchange stands beside one of a bare gRPC echo that answered the same
requests with replies of the same size in the same run, since seconds of one machine say
nothing about another, and little about the same one an hour later. See
``bench/README.md``.
"""
