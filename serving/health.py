"""Ask a Triton server over gRPC whether its models are ready."""

from __future__ import annotations

from collections.abc import Iterable

import grpc

Metadata = tuple[tuple[str, str], ...]


def models_ready(address: str, models: Iterable[str], timeout_seconds: float = 2.0, metadata: Metadata = ()) -> bool:
    """Whether the server at `address` answers that every one of `models` is ready."""
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
        try:
            return all(_is_ready(ask(_request(model), timeout=timeout_seconds, metadata=metadata)) for model in models)
        except grpc.RpcError:
            return False


def _request(model: str) -> bytes:
    """`ModelReadyRequest {name = 1}` in protobuf's wire format: two bytes do not warrant a generated module."""
    name = model.encode()
    return bytes([0x0A, len(name)]) + name


def _is_ready(response: bytes) -> bool:
    """`ModelReadyResponse {ready = 1}`."""
    return response == b"\x08\x01"
