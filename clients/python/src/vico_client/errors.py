"""Everything `vico_client` raises: one root, one class for each thing a caller can do about it."""

from __future__ import annotations


class VicoClientError(Exception):
    """Root of all errors of the client. `str(error)` is the server's own line wherever the server wrote one.

    problem: what is wrong, without field and hint.
    field: the request's field that is wrong ("steps"), None if no single field is.
    hint: what would be accepted, or what to do; None if nobody knows.
    status: name of the gRPC status ("INVALID_ARGUMENT"), None if the error was found on this side of the wire.
    request_id: the id under which the server logged the request, None if the request was never sent.
    """

    def __init__(
        self,
        problem: str,
        *,
        field: str | None = None,
        hint: str | None = None,
        status: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = field
        self.hint = hint
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        """The contract's form `<field>: <problem>; accepted: <hint>`, as far as the parts are known."""
        line = f"{self.field}: {self.problem}" if self.field else self.problem
        if self.hint is None:
            return line
        return f"{line}; accepted: {self.hint}" if self.field else f"{line} ({self.hint})"


class InvalidRequest(VicoClientError):
    """A field of the request is wrong: correct it; sending it again will not help."""


class ConceptNotFound(VicoClientError):
    """The registry has no such concept, or not with that digest."""


class ConceptRejected(VicoClientError):
    """The concept exists but cannot be used: its package is damaged, or was trained on another base."""


class NotAllowed(VicoClientError):
    """The server asks for an API key and got none that it knows, or the call is not for clients."""


class Overloaded(VicoClientError):
    """The server refused the request because of its load: try again later."""


class DeadlineExceeded(VicoClientError):
    """The pictures were not ready within `timeout` seconds."""


class Unavailable(VicoClientError):
    """No server answers at the address, it went away, or it does not serve ViCo."""


class UntrustedServer(Unavailable):
    """TLS failed: its certificate is not of a trusted authority or of another host, or it does not trust ours."""


class Cancelled(VicoClientError):
    """The caller gave the request up, or closed the client; the server stops working on it."""


class ServerError(VicoClientError):
    """The server failed, or its answer breaks the contract: report it with the `request_id`."""


class VicoWarning(UserWarning):
    """The server did the work but has a remark, for example that it truncated the prompt.

    code: stable name of the remark ("prompt_truncated"); message: one line for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        """The message for people, with the code behind it."""
        return f"{self.message} [{self.code}]"
