"""gRPC's own settings of the front door: its limits hold before our code sees anything."""

from __future__ import annotations

from serving.front.config import Limits

_NEVER = 2**31 - 1


def server_options(limits: Limits) -> list[tuple[str, int]]:
    """Channel arguments of the server."""
    keepalive = int(limits.keepalive_seconds * 1000)
    age = int(limits.connection_seconds * 1000) or _NEVER
    return [
        # else a second server on the same port would take half of the connections
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.message_bytes),
        # answers are ours
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
        # gRPC spreads it by a tenth, so that not all come at once; without a grace of its own it cuts no call
        ("grpc.max_connection_age_ms", age),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.keepalive_time_ms", keepalive),
        ("grpc.keepalive_timeout_ms", keepalive // 2),
        ("grpc.keepalive_permit_without_calls", 1),
        # how often a client may ask us: more is an attack
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 4),
    ]
