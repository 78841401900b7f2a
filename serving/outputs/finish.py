"""The one place where pixels become what a client gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serving.outputs.checker import SafetyChecker
from serving.outputs.config import Answer, OutputsConfig
from serving.outputs.encoding import Pixels, encode_image
from serving.outputs.provenance import Signer
from serving.outputs.verdict import UnsafePicture, Verdict, facts_of, shown
from serving.outputs.watermark import Watermark
from serving.report import Notice
from serving.request import GenerateRequest
from serving.secret_file import read_secret

_WORDS = {Verdict.REFUSE: "refused by the safety checker, and blank", Verdict.BLUR: "blurred by the safety checker"}


@dataclass(frozen=True)
class Finished:
    """The pictures of a request."""

    images: list[bytes]
    """Files, or pixels."""
    warnings: tuple[Notice, ...]


@dataclass(frozen=True)
class Finisher:
    """Checked, marked, encoded, signed: whatever of it the operator wants, and in this order."""

    checker: SafetyChecker | None = None
    answer: Answer = Answer.BLANK
    watermark: Watermark | None = None
    signer: Signer | None = None

    def __call__(self, request: GenerateRequest, pictures: Sequence[Pixels]) -> Finished:
        """Pictures [H, W, 3] of one request → files of its format.

        Raises:
            UnsafePicture: one is refused, and the operator wants an error then.
            Unchecked: the checker failed.
        """
        verdicts = [Verdict.ALLOW] * len(pictures)
        if self.checker is not None:
            verdicts = self.checker.judge(pictures, facts_of(request, "picture"))
        images, warnings = [], []
        for index, (pixels, verdict) in enumerate(zip(pictures, verdicts, strict=True), request.first_image):
            if verdict is Verdict.REFUSE and self.answer is Answer.ERROR:
                raise UnsafePicture(
                    "images", f"picture {index} is refused by the safety checker", "another prompt or seed"
                )
            if verdict is not Verdict.ALLOW:
                warnings.append(Notice("safety", f"picture {index}: {_WORDS[verdict]}"))
            images.append(self._file(request, index, shown(pixels, verdict), blank=verdict is Verdict.REFUSE))
        return Finished(images, tuple(warnings))

    def _file(self, request: GenerateRequest, index: int, pixels: Pixels, blank: bool) -> bytes:
        if self.watermark is not None and not blank:
            pixels = self.watermark.embed(pixels)
        file = encode_image(pixels, request.output_format)
        if self.signer is not None and request.output_format != "raw":
            file = self.signer.sign(file, request, index)
        return file


def open_finisher(config: OutputsConfig) -> Finisher:
    """What the operator wants.

    Raises:
        LaunchError: the checker cannot be loaded; a file is absent or unfit.
    """
    mark = config.watermark
    watermark = Watermark(read_secret(mark.key_file, "watermark_key_file").encode(), mark.deployment) if mark else None
    signer = Signer(config.provenance) if config.provenance else None
    checker = SafetyChecker(config.checker) if config.checker else None
    answer = config.checker.answer if config.checker else Answer.BLANK
    return Finisher(checker, answer, watermark, signer)
