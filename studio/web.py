"""The page as a web server: nothing on it comes from elsewhere, and nobody else's page can frame it."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response

from studio.errors import StudioError
from studio.page import build_page
from studio.session import Studio

_FONTS = ["system-ui", "sans-serif"]
_MONO = ["ui-monospace", "monospace"]
_CONTENT_POLICY = "; ".join(
    [
        "default-src 'self'",
        # Gradio's page sets itself up by inline scripts, and compiles HTML templates
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "frame-ancestors 'none'",
    ]
)


@dataclass(frozen=True)
class Web:
    """Where to listen. port: 0 = any free one. password: "" = none."""

    host: str = "127.0.0.1"
    port: int = 7860
    password: str = ""


def build_app(studio: Studio, password: str = "") -> FastAPI:
    """The page, behind a password if there is one (whatever the user name)."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def guard(request: Request, ask: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await ask(request)
        response.headers["Content-Security-Policy"] = _CONTENT_POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    def knows(_user: str, given: str) -> bool:
        return hmac.compare_digest(given.encode(), password.encode())

    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(studio),
        path="/",
        auth=knows if password else None,
        auth_message="The password of this studio; any name will do.",
        theme=gr.themes.Soft(font=_FONTS, font_mono=_MONO),
        css_paths=Path(__file__).with_name("style.css"),
        max_file_size=studio.workshop.limits.bytes_each,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        app_kwargs={"docs_url": None, "redoc_url": None},
    )
    return mounted


def serve(studio: Studio, web: Web, announce: Callable[[str], None]) -> None:
    """Listen until SIGTERM or Ctrl-C; `announce` gets the page's URL.

    Raises:
        StudioError: the address cannot be listened on.
    """
    app = build_app(studio, web.password)
    with _listen(web) as listening:
        host, port = listening.getsockname()[:2]
        announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listening])


def _listen(web: Web) -> socket.socket:
    try:
        family = socket.getaddrinfo(web.host, web.port)[0][0]
        return socket.create_server((web.host, web.port), family=family)
    except OSError:
        raise StudioError("host", f"{web.host} port {web.port} cannot be listened on", "a free port; 0 = any") from None
