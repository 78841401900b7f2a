"""ViCo's Python SDK: pictures of your own things, from a ViCo server, over gRPC.

    from vico_client import Client

    with Client("localhost:8001") as client:
        picture, = client.generate("a photo of * on the beach", concept="my-toy", seed=7)
    picture.save("picture.png")

It imports nothing of the server: numpy, Pillow and `tritonclient[grpc]` are all it needs.
"""

from vico_client.aio import AsyncClient
from vico_client.aio_stream import AsyncPictureStream
from vico_client.client import Client
from vico_client.concepts import Concept, ConceptList
from vico_client.errors import (
    Cancelled,
    ConceptNotFound,
    ConceptRejected,
    DeadlineExceeded,
    InvalidRequest,
    NotAllowed,
    Overloaded,
    ServerError,
    Unavailable,
    UntrustedServer,
    VicoClientError,
    VicoWarning,
)
from vico_client.messages import GenerateInfo, GenerateOptions, GenerateRequest, GenerateResult, ServerWarning
from vico_client.pending import PendingResult
from vico_client.retry import Retry
from vico_client.settings import TLS
from vico_client.stream import PictureStream
from vico_client.stream_messages import Picture, Preview, Progress, StreamEvent, StreamOptions, StreamRequest

__all__ = [
    "TLS",
    "AsyncClient",
    "AsyncPictureStream",
    "Cancelled",
    "Client",
    "Concept",
    "ConceptList",
    "ConceptNotFound",
    "ConceptRejected",
    "DeadlineExceeded",
    "GenerateInfo",
    "GenerateOptions",
    "GenerateRequest",
    "GenerateResult",
    "InvalidRequest",
    "NotAllowed",
    "Overloaded",
    "PendingResult",
    "Picture",
    "PictureStream",
    "Preview",
    "Progress",
    "Retry",
    "ServerError",
    "ServerWarning",
    "StreamEvent",
    "StreamOptions",
    "StreamRequest",
    "Unavailable",
    "UntrustedServer",
    "VicoClientError",
    "VicoWarning",
]
