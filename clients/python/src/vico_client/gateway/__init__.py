"""A ViCo server behind OpenAI's images API: a thin HTTP front of `AsyncClient` (needs the extra `gateway`)."""

from vico_client.gateway.app import create_app
from vico_client.gateway.limits import Limits

__all__ = ["Limits", "create_app"]
