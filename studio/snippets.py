"""The same picture by code: for Python with the SDK, for a shell with curl and the gateway."""

from __future__ import annotations

import json
import shlex
from typing import Any

from studio.wish import Wish

BASE_MODEL = "vico:base"
"""The gateway's name for the plain base."""
_QUALITY = {"fast": "low", "balanced": "medium", "quality": "high"}
"""The server's preset → the gateway's `quality`."""


def python_code(wish: Wish, address: str) -> str:
    """A program that draws `wish`."""
    options = "".join(f"        {name}={value!r},\n" for name, value in wish.options().items())
    return (
        "from vico_client import Client\n\n"
        f"with Client({address!r}) as client:\n"
        f"    (picture,) = client.generate(\n        {wish.prompt!r},\n{options}    )\n"
        'picture.save("picture.png")\n'
    )


def request_body(wish: Wish) -> dict[str, Any]:
    """What the gateway is sent."""
    options = wish.options()
    concept, preset = options.pop("concept", BASE_MODEL), options.pop("preset")
    return {
        "model": concept,
        "prompt": wish.prompt,
        "quality": _QUALITY.get(preset, "auto"),
        "response_format": "b64_json",
        "vico": options,
    }


def curl_code(wish: Wish, gateway: str) -> str:
    """A shell command that draws `wish`. gateway: its URL."""
    url = shlex.quote(f"{gateway.rstrip('/')}/v1/images/generations")
    body = shlex.quote(json.dumps(request_body(wish), ensure_ascii=False))
    return (
        f"curl --fail-with-body --silent --show-error {url} \\\n"
        "  --header 'Content-Type: application/json' \\\n"
        f"  --data {body} \\\n"
        "  | jq --raw-output '.data[0].b64_json' | base64 --decode > picture.png\n"
    )
