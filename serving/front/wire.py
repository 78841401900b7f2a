"""What of Triton's gRPC protocol clients may use, and the few messages of it that the front door reads."""

from __future__ import annotations

from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2 as configs
from tritonclient.grpc import service_pb2 as pb

from serving.caller import TENSOR

STREAM_MODEL = "vico_stream"
PUBLIC_MODELS = ("vico", STREAM_MODEL, "vico_concepts")
"""All else in the repository is ours."""
TIMED_MODELS = ("vico", STREAM_MODEL)
"""Those that make pictures."""

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"
SERVER_NAME = "vico"

_BYTES_OF = {"INT32": 4, "INT64": 8, "FP32": 4, "BOOL": 1}
"""Size of one element; BYTES have a length of their own."""


@dataclass(frozen=True)
class TensorSpec:
    """One input of a public model."""

    datatype: str
    shape: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        """Size of one element; 0 = each has its own (BYTES)."""
        return _BYTES_OF.get(self.datatype, 0)


@dataclass(frozen=True)
class ModelSpec:
    """What clients may send to a public model, and ask of it."""

    inputs: dict[str, TensorSpec]
    outputs: frozenset[str]
    metadata: bytes
    """`ModelMetadataResponse` for clients."""
    config: bytes
    """`ModelConfigResponse` for clients."""


def model_spec(response: bytes, config: bytes) -> ModelSpec:
    """From Triton's metadata and config responses; what only the front door may send is left out."""
    message = pb.ModelMetadataResponse.FromString(response)
    public = [tensor for tensor in message.inputs if tensor.name != TENSOR]
    del message.inputs[:]
    message.inputs.extend(public)
    inputs = {tensor.name: TensorSpec(tensor.datatype, tuple(tensor.shape)) for tensor in message.inputs}
    outputs = frozenset(tensor.name for tensor in message.outputs)
    return ModelSpec(inputs, outputs, message.SerializeToString(), _public_config(config))


def _public_config(response: bytes) -> bytes:
    """What the metadata says as well, and which inputs may be left out: clients such as perf_analyzer ask for it.

    The stages behind an ensemble, their files, devices and parameters are nobody's business.
    """
    whole = pb.ModelConfigResponse.FromString(response).config
    public = configs.ModelConfig(name=whole.name, max_batch_size=whole.max_batch_size)
    for tensor in whole.input:
        if tensor.name != TENSOR:
            public.input.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, optional=tensor.optional)
    for tensor in whole.output:
        public.output.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    public.model_transaction_policy.decoupled = whole.name == STREAM_MODEL
    content: bytes = pb.ModelConfigResponse(config=public).SerializeToString()
    return content
