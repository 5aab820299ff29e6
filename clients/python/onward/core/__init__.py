"""The protocol, sans-IO: bytes in, trusted values or errors out.

Nothing here opens a file, a socket or a clock. The current time, randomness and bytes
are arguments, so every function can be tested and replayed exactly.
"""
