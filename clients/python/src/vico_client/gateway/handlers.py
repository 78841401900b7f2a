"""Whatever goes wrong is answered in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from vico_client.errors import VicoClientError
from vico_client.gateway.limits import too_large
from vico_client.gateway.refusal import Refusal, refusal_of
from vico_client.gateway.validation import invalid, refusal_of_validation


def add_handlers(app: FastAPI) -> None:
    """For every kind of error that the endpoints, FastAPI and Starlette raise."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(VicoClientError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _broken)


def _answer(refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.body, refusal.status, refusal.headers)


async def _refused(_request: Request, error: Any) -> JSONResponse:
    return _answer(error)


async def _failed(_request: Request, error: Any) -> JSONResponse:
    return _answer(refusal_of(error))


async def _invalid(_request: Request, error: Any) -> JSONResponse:
    return _answer(refusal_of_validation(error.errors()))


async def _http(request: Request, error: Any) -> JSONResponse:
    if error.status_code == 413:
        return _answer(too_large(int(error.detail)))
    if error.status_code == 404:
        return _answer(Refusal(404, "invalid_request_error", "unknown_url", f"no such URL: {request.url.path}"))
    answer = _answer(invalid(None, str(error.detail), status=error.status_code))
    answer.headers.update(error.headers or {})
    return answer


async def _broken(_request: Request, _error: Any) -> JSONResponse:
    """Starlette logs it, with its traceback."""
    return _answer(Refusal(500, "server_error", "server_error", "the gateway failed"))
