"""The HTTP application: OpenAI's images API over the SDK."""

# No `from __future__ import annotations`: FastAPI reads these annotations, on Python 3.9 too.
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, Optional, Union

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from vico_client.aio import AsyncClient
from vico_client.concepts import ConceptList
from vico_client.gateway.answers import ErrorAnswer, ImagesAnswer, ModelCard, ModelList, images_answer, model_cards
from vico_client.gateway.fields import BASE, ImageFields
from vico_client.gateway.handlers import add_handlers
from vico_client.gateway.leaving import while_connected
from vico_client.gateway.limits import BodyLimit, Limits
from vico_client.gateway.photo import FORM_SCHEMA, read_form
from vico_client.gateway.refusal import Refusal
from vico_client.gateway.translate import options_of, user_of
from vico_client.gateway.watching import Family, Relay
from vico_client.messages import GenerateRequest, GenerateResult

Credentials = Annotated[
    Optional[HTTPAuthorizationCredentials],
    Depends(HTTPBearer(auto_error=False, description="An API key of the server, passed on to it.")),
]
_ERRORS: dict[Union[int, str], dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 413, 415, 422, 429, 500, 502, 503, 504)
}
_EVENT = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
_EVENTS: dict[Union[int, str], dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": _EVENT}}, "description": "Pictures, or events as they are made."}
}
_NO_KEY: dict[str, Any] = {"security": [{}]}  # a server without keys needs none
_FORM = {
    **_NO_KEY,
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    **FORM_SCHEMA,
                    "properties": {**FORM_SCHEMA["properties"], "image": {"type": "string", "format": "binary"}},
                    "required": ["image", "prompt"],
                }
            }
        },
    },
}


class Gateway:
    """The endpoints. client: has no API key of its own; each call is made with its caller's."""

    def __init__(self, client: AsyncClient, limits: Limits) -> None:
        self._client = client
        self._limits = limits

    async def generations(self, request: Request, asked: ImageFields, credentials: Credentials) -> Response:
        """Pictures of a prompt; of a concept, where `model` names one."""
        return await self._pictures(request, asked, None, credentials, "image_generation")

    async def edits(self, request: Request, credentials: Credentials) -> Response:
        """Pictures of a concept after the uploaded photo of it, instead of the photos that it was trained on."""
        asked, photo = await read_form(request, self._limits)
        return await self._pictures(request, asked, photo, credentials, "image_edit")

    async def models(self, credentials: Credentials) -> ModelList:
        """The plain base and all concepts that the caller may ask for."""
        found = await self._concepts(credentials, "*")
        return ModelList(data=model_cards([concept.name for concept in found]), has_more=found.more)

    async def model(self, model: str, credentials: Credentials) -> ModelCard:
        """One of them, by id, alias, or either with the digest that it has now."""
        name, _, digest = model.partition("@")
        if model != BASE:
            found = [] if set(name) & set("*?") else await self._concepts(credentials, name)
            if not any(one.name == name and digest in ("", one.version.partition("@")[2]) for one in found):
                raise Refusal(
                    404,
                    "invalid_request_error",
                    "model_not_found",
                    f"model: no concept {model!r}; accepted: one of GET /v1/models",
                    "model",
                )
        return ModelCard(id=model)

    async def _pictures(
        self,
        request: Request,
        asked: ImageFields,
        photo: Optional[bytes],
        credentials: Optional[HTTPAuthorizationCredentials],
        family: Family,
    ) -> Response:
        client = self._client.acting_for(_key(credentials), user_of(asked))
        options, seconds = options_of(asked, photo), asked.vico.deadline
        if asked.stream:
            stream = client.stream(asked.prompt, timeout=seconds, **options)
            relay = Relay(asked, stream, family)
            await while_connected(request, relay.open())
            headers = {"x-request-id": stream.request_id, "cache-control": "no-store"}
            return StreamingResponse(relay.events(), media_type="text/event-stream", headers=headers)
        generation = GenerateRequest(asked.prompt, **options)
        result: GenerateResult = await while_connected(request, client.send(generation, timeout=seconds))
        body = await asyncio.to_thread(images_answer, asked, result)
        return Response(body, media_type="application/json", headers={"x-request-id": result.request_id})

    async def _concepts(self, credentials: Optional[HTTPAuthorizationCredentials], pattern: str) -> ConceptList:
        return await self._client.acting_for(_key(credentials)).concepts(pattern)


def create_app(client: AsyncClient, ready: Callable[[], Awaitable[bool]], limits: Optional[Limits] = None) -> FastAPI:
    """The application. It closes `client` when it stops; `ready` says whether a server serves."""
    bounds = limits or Limits()
    gateway = Gateway(client, bounds)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await client.close()

    app = FastAPI(
        title="ViCo gateway", version=version("vico-client"), lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.add_middleware(BodyLimit, limits=bounds)
    add_handlers(app)
    answers: dict[str, Any] = {"response_model": ImagesAnswer, "responses": {**_ERRORS, **_EVENTS}}
    app.post("/v1/images/generations", openapi_extra=_NO_KEY, **answers)(gateway.generations)
    app.post("/v1/images/edits", openapi_extra=_FORM, **answers)(gateway.edits)
    app.get("/v1/models", openapi_extra=_NO_KEY, responses=_ERRORS)(gateway.models)
    app.get("/v1/models/{model}", openapi_extra=_NO_KEY, responses=_ERRORS)(gateway.model)

    @app.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether this process answers."""
        return {"live": True}

    @app.get("/health/ready", responses={503: {"description": "No server serves."}})
    async def is_ready(response: Response) -> dict[str, bool]:
        """Whether a server behind it serves."""
        serves = await ready()
        response.status_code = 200 if serves else 503
        return {"ready": serves}

    return app


def _key(credentials: Optional[HTTPAuthorizationCredentials]) -> str:
    return credentials.credentials if credentials else ""
