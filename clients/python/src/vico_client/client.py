"""The blocking client."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from PIL import Image
from tritonclient.grpc import InferenceServerClient

from vico_client.connection import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    MODEL,
    TLS,
    channel_arguments,
    checked_timeout,
    closed_error,
    infer_arguments,
    key_headers,
    typed_errors,
    warn_user,
)
from vico_client.decode import decode_result
from vico_client.errors import DeadlineExceeded, Unavailable
from vico_client.messages import GenerateOptions, GenerateRequest, GenerateResult

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class Client:
    """Asks one ViCo server for pictures; keeps one connection open; may be shared by threads."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        tls: TLS | None = None,
        api_key: str | None = None,
    ) -> None:
        """address: `host:port` of the server's gRPC port. timeout: seconds for each call that names none.

        api_key: for a server that asks for one; that of the environment variable VICO_API_KEY if left out.
        """
        self.address = address
        self.timeout = checked_timeout(timeout, DEFAULT_TIMEOUT)
        self._headers = key_headers(api_key)
        self._rpc = InferenceServerClient(**channel_arguments(address, tls))
        self._closed = False

    def generate(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> list[Image.Image]:
        """`num_images` pictures of `prompt`. The options are the fields of `GenerateRequest`; timeout in seconds.

        Raises a VicoClientError: InvalidRequest, ConceptNotFound, ConceptRejected, NotAllowed, Overloaded,
        DeadlineExceeded, Unavailable or ServerError. Warnings of the server come as VicoWarning.
        """
        result = self.send(GenerateRequest(prompt, **options), timeout=timeout)
        warn_user(result.info, stacklevel=2)
        return list(result.images)

    def generate_result(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> GenerateResult:
        """As `generate`, with all the server said: the files as sent, seed, size, concept digest, warnings, timings."""
        result = self.send(GenerateRequest(prompt, **options), timeout=timeout)
        warn_user(result.info, stacklevel=2)
        return result

    def send(self, request: GenerateRequest, *, timeout: float | None = None) -> GenerateResult:
        """As `generate_result` for a ready-made request; the server's warnings are in the result only."""
        arguments = infer_arguments(request, checked_timeout(timeout, self.timeout), self._headers)
        self._check_open()
        with typed_errors(self.address, request.request_id):
            answer = self._rpc.infer(**arguments)
        return decode_result(answer.get_response(), request)

    def ready(self, *, timeout: float = 5.0) -> bool:
        """Whether the server answers within `timeout` seconds and can generate pictures."""
        self._check_open()
        try:
            with typed_errors(self.address):
                return bool(
                    self._rpc.is_model_ready(
                        MODEL, headers=self._headers, client_timeout=checked_timeout(timeout, self.timeout)
                    )
                )
        except (Unavailable, DeadlineExceeded):
            return False

    def close(self) -> None:
        """Close the connection; calls under way end as Unavailable."""
        self._closed = True
        self._rpc.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise closed_error()
