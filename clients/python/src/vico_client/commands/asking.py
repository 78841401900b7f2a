"""One request of a command: watched by whoever sits at the terminal, plain in a script."""

from __future__ import annotations

import warnings

from vico_client.client import Client
from vico_client.commands.access import Access
from vico_client.errors import VicoWarning
from vico_client.messages import GenerateOptions, GenerateResult
from vico_client.progress import stepping
from vico_client.stream_messages import Picture, Progress


def ask(access: Access, prompt: str, options: GenerateOptions) -> GenerateResult:
    """The pictures; the server's warnings are in the result only. VicoClientError as of the SDK."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VicoWarning)
        with Client(**access.arguments()) as client, stepping(f"Waiting for {access.address}") as bar:
            if bar is None:
                return client.generate_result(prompt, **options)
            pictures: dict[int, Picture] = {}
            with client.stream(prompt, **options) as stream:
                for event in stream:
                    if isinstance(event, Progress):
                        bar(event.step, event.steps, event.fraction)
                    elif isinstance(event, Picture):
                        pictures[event.index] = event
            made = [pictures[index] for index in sorted(pictures)]
            assert stream.info is not None  # a stream that ends without it raises
            images, files = tuple(one.image for one in made), tuple(one.file for one in made)
            return GenerateResult(images, files, stream.info, stream.request_id)
