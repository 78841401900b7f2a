from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from rich.console import Console

from benchmarks.quality.errors import QualityError
from benchmarks.quality.page import write_page
from benchmarks.quality.pair import Setting
from benchmarks.quality.plan import comparison_pairs
from benchmarks.quality.records import Record, read_records, write_records
from benchmarks.quality.report import score_pairs, write_report
from benchmarks.quality.statistics import figures, paired_difference
from benchmarks.quality.store import Store
from benchmarks.quality.tables import comparison_table, concept_table, encoder_table
from benchmarks.quality.texts import comparison_text
from benchmarks.quality.work import run_pairs
from tests.L0.benchmarks.quality_fakes import FakeScorer, fake_run, make_record
from training.evaluation.draw import Drawn
from training.evaluation.scorer import Scorer
from training.evaluation.subject import Subject, load_subjects
from training.evaluation.suite import Prompt

QUIET = Console(quiet=True)
REQUIRED = {"method", "concept", "identity_crop", "identity_floor", "identity_ceiling", "retrieval_map"} | {
    "text",
    "diversity",
    "copying",
    "seconds",
}


def test_intervals_of_a_case_worked_by_hand() -> None:
    # differences 0.1 and 0.3: resampled means are 0.1, 0.2, 0.3 with chances 1/4, 1/2, 1/4
    difference = paired_difference({"a": 0.5, "b": 0.5}, {"b": 0.8, "a": 0.6})
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.2, 0.1, 0.3))
    assert difference.sure
    assert str(difference) == "+0.200 [+0.100, +0.300]"


def test_concepts_are_paired_not_pooled() -> None:
    ours = {f"c{i}": i / 10 for i in range(8)}
    steady = paired_difference(ours, {concept: value - 0.01 for concept, value in ours.items()})
    assert (steady.low, steady.high) == pytest.approx((-0.01, -0.01))
    mixed = paired_difference(ours, {c: v + (0.1 if i % 2 else -0.1) for i, (c, v) in enumerate(ours.items())})
    assert not mixed.sure
    assert mixed.low < 0 < mixed.high


@pytest.mark.parametrize("theirs", [{"a": 1.0}, {"a": 1.0, "c": 1.0}, {}])
def test_what_cannot_be_paired_is_refused(theirs: dict[str, float]) -> None:
    with pytest.raises(QualityError, match="paired"):
        paired_difference({"a": 1.0, "b": 1.0}, theirs)


def test_records_survive_the_file(tmp_path: Path) -> None:
    records = [make_record("vico", "ark", 0.5), make_record("textual-inversion", "ark", 0.123456789)]
    write_records(tmp_path / "q.json", records)
    content = json.loads((tmp_path / "q.json").read_text())
    assert isinstance(content, list)
    assert all(entry.keys() >= REQUIRED for entry in content)
    assert content[1]["identity_crop"] == 0.12346
    assert read_records(tmp_path / "q.json")[0] == records[0]


@pytest.mark.parametrize(
    ("change", "field"), [({"copying": 1.5}, "copying"), ({"seconds": None}, "seconds"), ({"colour": 1}, "colour")]
)
def test_records_that_are_not_so_are_refused_by_field(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(json.dumps([make_record("a", "b", 0.5).model_dump() | change]))
    with pytest.raises(QualityError, match=field):
        read_records(tmp_path / "q.json")
    with pytest.raises(QualityError, match="no other"):
        read_records(tmp_path / "other.json")


def test_the_gap_that_is_closed() -> None:
    assert make_record("a", "b", 0.2).closed == 0
    assert make_record("a", "b", 0.8).closed == pytest.approx(1)
    assert make_record("a", "b", 0.35).closed == pytest.approx(0.25)


def test_tables_have_a_row_per_method_and_per_concept() -> None:
    records = [
        make_record(method, concept, identity, text)
        for method, identity, text in (("vico", 0.5, 0.5), ("other", 0.4, 0.4))
        for concept in ("a", "b")
    ]
    rows = [line.split(" | ") for line in comparison_table(records, "vico").splitlines()[2:]]
    assert [row[0] for row in rows] == ["| `vico`", "| `other`"]
    assert [row[1:4] for row in rows] == [["0.500", "–", "50%"], ["0.400", "-0.100 [-0.100, -0.100]", "33%"]]
    assert [row[6] for row in rows] == ["1.000", "0.800"]
    assert {len(line.split("|")) for line in comparison_table(records, "vico").splitlines()} == {15}
    assert "| `other` | 0.400 |" in encoder_table(records)
    assert "| a | 0.200 | 0.500 | 0.400 | 0.800 |" in concept_table(records)
    assert figures(records, "other", "text") == {"a": 0.4, "b": 0.4}


def test_more_methods_than_concepts_go_down_the_page() -> None:
    records = [make_record(method, "a", identity) for method, identity in (("vico", 0.5), ("other", 0.4))]
    assert concept_table(records).splitlines() == [
        "| concept | a |",
        "|---|---|",
        "| floor | 0.200 |",
        "| `vico` | 0.500 |",
        "| `other` | 0.400 |",
        "| ceiling | 0.800 |",
    ]


def test_report_from_finished_pairs(setting: Setting, tmp_path: Path) -> None:
    pairs, store = comparison_pairs(setting, ["vico", "textual-inversion"]), Store(tmp_path / "work")
    subjects = load_subjects(setting.photos, 32)
    scorer = cast(Scorer, FakeScorer())
    with pytest.raises(QualityError, match="not there"):
        score_pairs(pairs, store, lambda: scorer, subjects, QUIET)
    run_pairs(pairs, store, QUIET, ThreadPoolExecutor(1), fake_run)
    scored = score_pairs(pairs, store, lambda: scorer, subjects, QUIET)
    write_report(tmp_path / "docs", "quality", scored, subjects, comparison_text(pairs))
    records = read_records(tmp_path / "docs" / "quality.json")
    assert [(r.method, r.concept) for r in records] == [(p.label, p.concept) for p in pairs if p.method != "plain"]
    assert (records[0].identity_crop, records[0].identity_floor, records[0].closed) == pytest.approx((0.6, 0.5, 0.375))
    text = (tmp_path / "docs" / "quality.md").read_text()
    assert "3 concepts" in text
    assert "| `textual-inversion` | 0.610 | +0.000 [+0.000, +0.000] |" in text
    assert Image.open(tmp_path / "docs" / "quality.png").mode == "P"


def test_the_page_is_small_enough_to_commit(tmp_path: Path) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    prompt = Prompt("restyle", "a rendering of a {}", "x")
    rows = [
        (Subject(f"thing-{i}", "toy", (noise,), ()), {m: [Drawn(prompt, 0, noise)] for m in "abcdef"})
        for i in range(12)
    ]
    write_page(tmp_path / "page.png", rows, list("abcdef"))
    assert (tmp_path / "page.png").stat().st_size < 1_500_000
    assert Image.open(tmp_path / "page.png").width > 7 * 100


def test_record_fields_are_documented_in_the_issue() -> None:
    assert set(Record.model_fields) >= REQUIRED
