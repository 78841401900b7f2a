"""`vico loadtest` against the real server: nothing unexplained, and pictures under load equal to the same alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from guarded import API_KEY, start_guarded
from served import Served

pytest.importorskip("hdrh", reason="the load generator is not installed: pip install 'clients/python[loadtest]'")
from typer.testing import CliRunner
from vico_client.loadtest.cli import app
from vico_client.loadtest.records import read_records

from serving.front.keys import Key, hashed, read_keys, write_keys

if TYPE_CHECKING:
    from conftest import Exported

PERF_ANALYZER = shutil.which("perf_analyzer") or os.environ.get("VICO_PERF_ANALYZER")


@pytest.fixture(scope="module")
def workload(exported: Exported, server: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for number in range(3):
        exported.make_concept(server.registry, f"load-{number}", seed=number)
    path = tmp_path_factory.mktemp("workload") / "workload.toml"
    path.write_text(
        'prompts = ["a photo of * on grass"]\nplain_prompts = ["a dog"]\n'
        '[concepts]\nids = ["load-{0..2}"]\nplain_share = 0.2\n'
        "[fields]\nsteps = {uniform = [1, 3]}\nnum_images = {choice = [1, 2], weights = [3, 1]}\n"
    )
    return path


def test_an_open_loop(server: Served, workload: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--rate", "4", "--duration", "5", "--warmup", "1", "--check", "0.3", "--quiet", "--json"]
    done = CliRunner().invoke(app, ["run", "-a", server.address, "-w", str(workload), "-o", str(out), *options])
    told = json.loads(done.stdout)
    assert done.exit_code == 0, told["verdict"]
    assert told["counts"]["unexplained"] == 0
    assert told["correctness"]["compared"] == told["correctness"]["equal"] > 0
    assert told["lanes"]["max"] >= 1
    assert set(told["stages"]) >= {"text_encoder", "unet_loop", "vae_decoder"}
    assert len(read_records(out)) == told["run"]["planned"]


def test_streams(server: Served, workload: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--users", "2", "--duration", "5", "--warmup", "0", "--check", "0.3", "--stream", "--quiet", "--json"]
    done = CliRunner().invoke(app, ["run", "-a", server.address, "-w", str(workload), "-o", str(out), *options])
    told = json.loads(done.stdout)
    assert done.exit_code == 0, told["verdict"]
    assert told["first_picture"]["count"] == told["counts"]["ok"] > 0
    assert told["first_preview"]["count"] > 0
    assert told["correctness"]["compared"] == told["correctness"]["equal"] > 0
    for record in read_records(out):
        assert record.first_picture is not None
        assert record.sent <= (record.first_preview or record.sent) <= record.first_picture <= record.done


def test_tenants_with_keys_over_tls(exported: Exported, workload: Path, tmp_path: Path) -> None:
    guarded = start_guarded(exported, tmp_path)
    try:
        keys = tmp_path / "keys.json"
        write_keys(keys, [*read_keys(keys), Key(client="other", tenant="other", sha256=hashed("vico_two"))])
        (tmp_path / "tenants").write_text(f"acme {API_KEY}\nother vico_two\n")
        options = ["--rate", "3", "--duration", "4", "--warmup", "0", "--check", "0.3", "--quiet", "--json"]
        access = ["-a", guarded.address, "--tls-ca", str(guarded.authority), "--tenants", str(tmp_path / "tenants")]
        where = ["-w", str(workload), "-c", "toy", "-o", str(tmp_path / "out")]
        done = CliRunner().invoke(app, ["run", *access, *where, *options])
    finally:
        status = guarded.served.stop()
    told = json.loads(done.stdout)
    assert done.exit_code == 0, told
    assert set(told["tenants"]) == {"acme", "other"}
    assert all(own["count"] > 0 for own in told["tenants"].values())
    assert status == 0, guarded.served.log()


@pytest.mark.skipif(PERF_ANALYZER is None, reason="perf_analyzer is not installed: see docs/loadtest.md")
def test_perf_analyzer_takes_our_requests(server: Served, workload: Path, tmp_path: Path) -> None:
    """Whether both agree is a measurement, for a machine that is idle; here: both measured the same requests."""
    out = tmp_path / "out"
    options = ["--users", "2", "--rounds", "1", "--cycle", "4", "--duration", "5", "--warmup", "1", "--quiet", "--json"]
    where = ["-a", server.address, "-w", str(workload), "-o", str(out), "--tool", str(PERF_ANALYZER)]
    done = CliRunner().invoke(app, ["perf-analyzer", *where, *options])
    assert done.exit_code in (0, 1), done.output
    (only,) = json.loads(done.stdout)["rounds"]
    assert only["ours"]["latency"]["count"] > 0
    assert only["theirs"]["latency"]["count"] > 0
