"""The comparison as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from benchmarks.quality.records import Record
from benchmarks.quality.statistics import figures, paired_difference

_COLUMNS = ("identity_crop", "closed", "retrieval_map", "text", "diversity", "copying", "seconds", "steps")
_ALONE = "–"


def methods_in(records: Sequence[Record]) -> list[str]:
    """Names of the methods in the order in which they come."""
    return list(dict.fromkeys(record.method for record in records))


def comparison_table(records: Sequence[Record], against: str) -> str:
    """A row per method: means over concepts, and the paired differences to the method `against`."""
    methods = methods_in(records)
    best_text = max(_mean(records, method, "text") for method in methods)
    rows = [
        f"| method | identity, object crop | less `{against}` [95 %] | gap closed | retrieval mAP | text |"
        f" ratio to best | less `{against}` [95 %] | diversity | copying | training, s | steps | parameters |",
        "|---|" + "---|" * 12,
    ]
    for method in methods:
        identity, closed, retrieval, text, diversity, copying, seconds, steps = (
            _mean(records, method, column) for column in _COLUMNS
        )
        cells = [
            f"`{method}`",
            f"{identity:.3f}",
            _difference(records, method, against, "identity_crop"),
            f"{closed:.0%}",
            f"{retrieval:.3f}",
            f"{text:.3f}",
            f"{text / best_text:.3f}" if best_text else _ALONE,
            _difference(records, method, against, "text"),
            f"{diversity:.3f}",
            f"{copying:.3f}",
            f"{seconds:.0f}",
            f"{steps:.0f}",
            f"{_mean(records, method, 'parameters'):,.0f}",
        ]
        rows.append(_row(cells))
    return "\n".join(rows)


def encoder_table(records: Sequence[Record]) -> str:
    """Identity of object crops under each encoder by itself, with floor and ceiling."""
    names = list(records[0].identity_crop_by_encoder)
    rows = ["| identity, object crop | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    fields = {
        "*floor*: init word, plain base": "identity_floor_by_encoder",
        "*ceiling*: real photos": "identity_ceiling_by_encoder",
    }
    some = [record for record in records if record.method == records[0].method]
    for title, field in fields.items():
        rows.append(
            f"| {title} | " + " | ".join(f"{fmean(getattr(r, field)[n] for r in some):.3f}" for n in names) + " |"
        )
    for method in methods_in(records):
        own = [record.identity_crop_by_encoder for record in records if record.method == method]
        rows.append(f"| `{method}` | " + " | ".join(f"{fmean(r[n] for r in own):.3f}" for n in names) + " |")
    return "\n".join(rows)


def concept_table(records: Sequence[Record]) -> str:
    """Identity of object crops of every method on every concept; the longer of the two goes down the page."""
    methods = methods_in(records)
    some = [record for record in records if record.method == methods[0]]
    table = [["concept", *(record.concept for record in some)]]
    table.append(["floor", *(f"{record.identity_floor:.3f}" for record in some)])
    for method in methods:
        own = figures(records, method, "identity_crop")
        table.append([f"`{method}`", *(f"{own[record.concept]:.3f}" for record in some)])
    table.append(["ceiling", *(f"{record.identity_ceiling:.3f}" for record in some)])
    head, *rows = table if len(methods) > len(some) else list(zip(*table, strict=True))
    return "\n".join([_row(head), "|" + "---|" * len(head), *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _mean(records: Sequence[Record], method: str, figure: str) -> float:
    return fmean(figures(records, method, figure).values())


def _difference(records: Sequence[Record], method: str, against: str, figure: str) -> str:
    if method == against:
        return _ALONE
    return str(paired_difference(figures(records, against, figure), figures(records, method, figure)))
