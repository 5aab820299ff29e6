"""Channels to the servers, the same for both."""

from __future__ import annotations

from typing import Final

import grpc

from onward.home import Home

SERVER_OPTIONS: Final = (
    # Those of the exchange's own port that bear on the speed of a call.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 5 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.keepalive_time_ms", 30_000),
)


def open_channel(home: Home, address: str) -> grpc.aio.Channel:
    """Opens a channel with a member's certificate, without retries.

    Args:
        home: the member's.
        address: of a server with the exchange's certificate.
    """
    credentials = grpc.ssl_channel_credentials(
        home.server_ca, home.tls_key, home.certificate_chain
    )
    options = (
        ("grpc.ssl_target_name_override", home.settings.server_name),
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", -1),
    )
    return grpc.aio.secure_channel(address, credentials, options=options)
