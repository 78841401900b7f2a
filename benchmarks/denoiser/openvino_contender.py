"""OpenVINO on the CPU."""

from __future__ import annotations

from benchmarks.denoiser.feeds import step_feeds
from benchmarks.denoiser.graphs import PlainUnet, plain_signature
from benchmarks.denoiser.prepared import read_prepared
from benchmarks.denoiser.settings import Settings
from benchmarks.denoiser.worker import Action


class PlainOpenvino:
    """Plain Stable Diffusion, converted from torch once and kept beside the graphs."""

    def __init__(self, settings: Settings) -> None:
        import openvino

        self._settings, self._prepared = settings, read_prepared(settings)
        self._signature = plain_signature(self._prepared.geometry)
        # beside the exported graph: its folder's name stands for the same weights
        model = self._prepared.plain.parent / f"openvino-{settings.latent}.xml"
        core = openvino.Core()
        if not model.is_file():
            self._convert(model)
        config = {"INFERENCE_NUM_THREADS": settings.threads, "INFERENCE_PRECISION_HINT": "f32"}
        self._request = core.compile_model(model, "CPU", config).create_infer_request()
        self.prepare("step")()

    def _convert(self, model: object) -> None:
        import openvino
        import torch

        from benchmarks.denoiser.torch_contenders import load_unet

        feeds = step_feeds(self._signature, self._prepared, 2, self._settings.latent)
        example = tuple(torch.from_numpy(array) for array in feeds.values())
        module = PlainUnet(load_unet(self._prepared))
        with torch.no_grad():
            converted = openvino.convert_model(module, example_input=example, input=[list(t.shape) for t in example])
        openvino.save_model(converted, model, compress_to_fp16=False)

    def prepare(self, work: str) -> Action:
        """One step of one picture with guidance."""
        feeds = step_feeds(self._signature, self._prepared, 2, self._settings.latent)
        inputs = dict(enumerate(feeds.values()))
        return lambda: self._request.infer(inputs)
