"""Last stage of a stream: the loop's progress as it goes, then the pictures one by one, as `vico` would give them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from threading import Lock
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.calls import CallCancelled
from serving.config import ServingConfig
from serving.decoding import rows_of_a_run
from serving.fields import RawArray, RawFields
from serving.outputs.checker import SafetyChecker
from serving.outputs.config import Answer
from serving.outputs.previews import PreviewGuard
from serving.report import Notice, StageReport, Stopwatch, build_info
from serving.request import GenerateRequest
from serving.seal import Seal
from serving.stages.names import CONTROL, DECODER, DECODER_REPORT, EARLIER, LOOP_REPORT, STREAMS
from serving.stages.stage import bytes_tensor, report_of, request_of, text_tensor
from serving.streaming.letter import Letter
from serving.streaming.letterbox import Letterbox
from serving.streaming.preview import Thumbnail, encode_thumbnail

Tensors = Mapping[str, RawArray]
CallStage = Callable[[Tensors, Sequence[str]], dict[str, RawArray]]
"""Another stage, in a process of its own: inputs, and the outputs that are wanted. Raises what it refuses."""

Thumbnails = Sequence[Thumbnail | None]
"""Of every picture of a request; None before its first step."""

_LOOP_INPUTS = ("context", "reference_context", "placeholder_position", "reference_latent")


class Client(Protocol):
    """Whoever gets the responses of one stream."""

    def send(self, outputs: Tensors) -> None:
        """One response; in order, from any thread."""

    @property
    def gone(self) -> bool:
        """Whether nobody waits any more, as far as is known."""


class PictureStreamStage:
    """`request`, what `unet_loop` reads, the earlier stages' reports → responses of `event` [1], `preview` [n or 0],
    `images` [1 or 0] and `info` [1 or 0].

    Args:
        seal: of the server.
        letters: from the loop.
        loop: the stage `unet_loop`.
        decoder: the stage `vae_decoder`.
        guard: what may be seen of previews; None = all.
        all_or_none: no picture is sent before each has passed the checker.
    """

    name = STREAMS

    def __init__(
        self,
        seal: Seal,
        letters: Letterbox,
        loop: CallStage,
        decoder: CallStage,
        guard: PreviewGuard | None = None,
        *,
        all_or_none: bool = False,
    ) -> None:
        self._seal = seal
        self._guard = guard or PreviewGuard()
        self._letters = letters
        self._loop = loop
        self._decoder = decoder
        self._all_or_none = all_or_none

    def run(self, inputs: RawFields, client: Client) -> None:
        """Serve one request to its end.

        Raises:
            VicoError: it cannot be served; its text is meant for the client.
        """
        request = request_of(inputs, self._seal)
        request.deadline.check()
        show = _Show(client, lambda thumbnails: self._guard(request, thumbnails))
        with self._reading(request, show), show:
            sealed = self._sealed(replace(request, streamed=True))
            tensors = {"request": sealed} | {name: inputs[name] for name in _LOOP_INPUTS}
            made = self._loop(tensors, ("latent", LOOP_REPORT))
        reports = {f"{stage}_report": inputs[f"{stage}_report"] for stage in EARLIER[:2]} | {
            LOOP_REPORT: made[LOOP_REPORT]
        }
        watch, warnings = Stopwatch(), list[Notice]()
        images: Iterable[bytes] = self._images(request, made["latent"], reports, warnings)
        for index, image in enumerate(list(images) if self._all_or_none else images):
            if client.gone:
                raise CallCancelled
            event = {"type": "image", "index": index, "images": request.num_images}
            client.send(_response(event | {"height": request.height, "width": request.width}, images=[image]))
        decoded = StageReport(DECODER, watch.seconds, tuple(warnings))
        info = build_info(request, [*(report_of(reports, stage) for stage in EARLIER), decoded])
        client.send(_response({"type": "end"}, info=[info.encode()]))

    def close(self) -> None:
        """Listen to the loop no more."""
        self._letters.close()

    def _reading(self, request: GenerateRequest, show: _Show) -> AbstractContextManager[None]:
        return self._letters.reading(request.call, show.letter) if request.progress_every else nullcontext()

    def _images(
        self, request: GenerateRequest, latent: npt.NDArray[np.float32], reports: Tensors, warnings: list[Notice]
    ) -> Iterator[bytes]:
        """The files, decoded together as `vico` decodes them: what runs together may decide a picture's last bit."""
        rows = rows_of_a_run(request.height, request.width)
        for start in range(0, len(latent), rows):
            self._require_wanted(request.call)
            some = latent[start : start + rows]
            sealed = self._sealed(replace(request, num_images=len(some), first_image=start))
            done = self._decoder({"request": sealed, "latent": some, **reports}, ("images", DECODER_REPORT))
            warnings += report_of(done, DECODER).warnings
            yield from done["images"]

    def _require_wanted(self, call: str) -> None:
        """The loop knows whose client has gone; Triton does not say it here."""
        question = self._seal.of(CONTROL).close(json.dumps({"wanted": call}))
        self._loop({CONTROL: bytes_tensor([question])}, (LOOP_REPORT,))

    def _sealed(self, request: GenerateRequest) -> RawArray:
        return bytes_tensor([self._seal.close(request.to_json())])


class _Show:
    """Progress on its way to a client. Once it is left nothing more is shown: pictures come after all progress."""

    def __init__(self, client: Client, allowed: Callable[[Thumbnails], Thumbnails]) -> None:
        self._client = client
        self._allowed = allowed
        self._lock = Lock()
        self._over = False

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over = True

    def letter(self, letter: Letter) -> None:
        """One report."""
        if self._over:
            return
        allowed = self._allowed(letter.thumbnails)
        files = [b"" if shown is None else encode_thumbnail(shown) for shown in allowed]
        seconds = None if letter.seconds_left is None else round(letter.seconds_left, 3)
        event = {
            "type": "progress",
            "step": max(letter.done),
            "steps": letter.steps,
            "done": letter.done,
            "seconds_left": seconds,
        }
        with self._lock:
            if not self._over:
                self._client.send(_response(event, preview=files))


def _response(
    event: Mapping[str, object],
    preview: Sequence[bytes] = (),
    images: Sequence[bytes] = (),
    info: Sequence[bytes] = (),
) -> dict[str, RawArray]:
    tensors = {"preview": preview, "images": images, "info": info}
    return {"event": text_tensor(json.dumps(event))} | {name: bytes_tensor(files) for name, files in tensors.items()}


def open_picture_stream(config: ServingConfig, loop: CallStage, decoder: CallStage) -> PictureStreamStage:
    """The stage of the server of `config`, over the other stages."""
    checker = SafetyChecker(config.outputs.checker) if config.outputs.checker else None
    letters = Letterbox(config.progress_socket)
    refuses_all = config.outputs.checker is not None and config.outputs.checker.answer is Answer.ERROR
    guard = PreviewGuard(checker)
    return PictureStreamStage(Seal(config.secret), letters, loop, decoder, guard, all_or_none=refuses_all)
