"""What `vico serve` is told reaches the stages; secrets come from files that nobody else reads."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper
from typer.testing import CliRunner

import serving.cli
from serving.config import ServingConfig
from serving.errors import LaunchError
from serving.outputs.checker import SafetyChecker
from serving.outputs.config import (
    Answer,
    CheckerConfig,
    Claim,
    OutputsConfig,
    ProvenanceConfig,
    WatermarkConfig,
)
from serving.outputs.finish import open_finisher
from serving.outputs.options import provenance_config
from serving.outputs.verdict import Verdict
from serving.secret_file import others_may_read, read_secret


class Captured(Exception):  # noqa: N818 - ends the command where the server would begin
    pass


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The config that `vico serve` makes of its options."""

    def ask(*options: str) -> ServingConfig:
        seen: list[ServingConfig] = []

        def capture(config: ServingConfig, **_: object) -> None:
            seen.append(config)
            raise Captured

        monkeypatch.setattr(serving.cli, "Server", capture)
        app = typer.Typer()
        app.command()(serving.cli.serve)
        result = CliRunner().invoke(app, ["--graphs", "g", "--registry", "r", *options])
        assert isinstance(result.exception, Captured), result.output
        return seen[0]

    return ask


def test_nothing_is_done_by_default(told: Any) -> None:
    config = told()
    assert config.outputs == OutputsConfig()
    finish = open_finisher(config.outputs)
    assert (finish.checker, finish.watermark, finish.signer) == (None, None, None)


def test_bounds_are_those_that_were_asked_for(told: Any) -> None:
    given = told("--max-rows", "6", "--max-client-queue", "9", "--batching", "request")
    assert (given.max_rows, given.max_client_queue, given.batching) == (6, 9, "request")
    default, fields = told(), ServingConfig(Path(), Path())
    for name in ("max_rows", "max_client_queue", "batching", "max_queue"):
        assert getattr(default, name) == getattr(fields, name)


def test_outputs_are_those_that_were_asked_for(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/operator")
    outputs = told(
        "--safety-checker", "a:b", "--safety-answer", "error", "--safety-seconds", "3", "--watermark-key-file", "key",
        "--watermark-id", "77", "--provenance-certificate", "c.pem", "--provenance-key", "k.pem",
        "--provenance-claim", "seed", "--provenance-claim", "concept",
    ).outputs  # fmt: skip
    assert outputs == OutputsConfig(
        CheckerConfig("a:b", Answer.ERROR, 3, python_path="/of/the/operator"),
        WatermarkConfig(Path("key"), 77),
        ProvenanceConfig(Path("c.pem"), Path("k.pem"), (Claim.SEED, Claim.CONCEPT)),
    )


def test_they_cross_the_environment(told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = told(
        "--safety-checker", "a:b", "--watermark-key-file", "key", "--provenance-certificate", "c", "--provenance-key",
        "k", "--provenance-claim", "seed",
    ).launched(tmp_path, "secret")  # fmt: skip
    for name, value in config.to_env().items():
        monkeypatch.setenv(name, value)
    assert ServingConfig.from_env() == config
    assert config.outputs.watermark.key_file == Path.cwd() / "key", "stages run in folders of their own"


def test_half_an_identity_is_refused() -> None:
    for certificate, key in ((Path("c"), None), (None, Path("k"))):
        with pytest.raises(LaunchError, match="provenance_certificate: not given together with provenance_key"):
            provenance_config(certificate, key, None)


def status(mode: int, user: int, group: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, user, group, 1, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "owner", "group", "open_to_others"),
    [
        (0o600, 10001, 10001, False),
        (0o400, 0, 0, False),
        (0o440, 0, 10001, False),  # as Kubernetes mounts a secret with an fsGroup
        (0o640, 0, 10001, False),
        (0o440, 0, 20002, True),  # a group that is not ours
        (0o440, 10001, 10001, True),  # our own file could be 400
        (0o440, 30003, 10001, True),
        (0o444, 0, 10001, True),
        (0o404, 0, 10001, True),
        (0o460, 0, 10001, True),
        (0o450, 0, 10001, True),
        (0o402, 10001, 10001, True),
        (0o644, 10001, 10001, True),
    ],
)
def test_a_secret_is_ours_alone_or_mounted_for_us(mode: int, owner: int, group: int, open_to_others: bool) -> None:
    assert others_may_read(status(mode, owner, group), 10001, {10001}) is open_to_others
    if mode & 0o077:
        assert others_may_read(status(mode, owner, group), 0, {0, 10001}), "root has no need of a group"


def test_the_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="watermark_key_file: cannot be read"):
        open_finisher(OutputsConfig(watermark=WatermarkConfig(tmp_path / "none")))
    (tmp_path / "open").write_text("a secret of sixteen characters")
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(LaunchError, match="x: others than its owner"):
        read_secret(tmp_path / "open", "x")


def test_the_example_checker_asks_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that takes the brightness of a picture for its probability."""
    shape = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 224, 224])]
    mean = helper.make_node("ReduceMean", ["image"], ["unsafe"], axes=[1, 2, 3], keepdims=0)
    out = [helper.make_tensor_value_info("unsafe", TensorProto.FLOAT, ["n"])]
    graph = helper.make_graph([mean], "g", shape, out)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), str(tmp_path / "m"))
    monkeypatch.setenv("VICO_SAFETY_MODEL", str(tmp_path / "m"))
    checker = SafetyChecker(CheckerConfig("examples.safety_checker:check", seconds=60))
    pictures = [np.full((16, 24, 3), level, np.uint8) for level in (20, 150, 250)]
    try:
        assert checker.judge(pictures, {"kind": "picture"}) == [Verdict.ALLOW, Verdict.BLUR, Verdict.REFUSE]
    finally:
        checker.close()
    monkeypatch.delenv("VICO_SAFETY_MODEL")
    with pytest.raises(LaunchError, match="KeyError"):
        SafetyChecker(CheckerConfig("examples.safety_checker:check"))
