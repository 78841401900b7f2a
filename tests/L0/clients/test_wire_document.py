"""docs/wire.md and clients/proto, held to what the server is configured to take, does take, and answers."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import vico_client
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tritonclient.grpc import service_pb2
from vico_client.status import error_from_status

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests" / "L0" / "serving"))

from fake_runners import GRAPHSET  # noqa: E402

from serving.concepts.listing import MAX_LISTED, PATTERN, parse_pattern  # noqa: E402
from serving.errors import InvalidField, Status  # noqa: E402
from serving.front.check import MAX_TIMEOUT_MICROSECONDS, REQUEST_ID  # noqa: E402
from serving.front.config import Limits  # noqa: E402
from serving.report import StageReport, build_info  # noqa: E402
from serving.request import GenerateRequest, parse_request  # noqa: E402
from vico.sampling import PRESETS  # noqa: E402

DOCUMENT = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
PROTO = (ROOT / "clients" / "proto" / "vico_inference.proto").read_text(encoding="utf-8")
DTYPES: dict[str, Any] = {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "BYTES": np.object_}
DIGEST = "@" + "0123456789abcdef" * 4


def table(first: str) -> list[list[str]]:
    """Rows of the table whose first heading is `first`: their cells."""
    lines = DOCUMENT.partition(f"| {first} |")[2].splitlines()[2:]
    rows = lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


INPUTS = {row[0].strip("`"): row for row in table("input")}


def configured(kind: str, model: str = "vico") -> dict[str, tuple[str, str]]:
    """Name → (KServe datatype, shape) of an ensemble's inputs or outputs."""
    text = (ROOT / "model_repository" / model / "config.pbtxt").read_text(encoding="utf-8")
    found = re.findall(rf'^{kind} {{ name: "(\w+)" data_type: TYPE_(\w+) dims: \[ (.+?) \]', text, re.MULTILINE)
    return {name: ("BYTES" if dtype == "STRING" else dtype, f"[{dims}]") for name, dtype, dims in found}


def value(name: str, content: Any) -> npt.NDArray[Any]:
    encoded = content.encode() if isinstance(content, str) else content
    return np.array([encoded], DTYPES[INPUTS[name][1]])


def parsed(**fields: Any) -> GenerateRequest:
    return parse_request({name: value(name, content) for name, content in ({"prompt": "a"} | fields).items()}, GRAPHSET)


def refused_field(**fields: Any) -> str | None:
    try:
        parsed(**fields)
    except InvalidField as error:
        return error.field
    return None


def test_inputs_are_the_ensembles() -> None:
    public = configured("input")
    del public["caller"]  # the front door's own
    assert {name: (row[1], row[2].strip("`")) for name, row in INPUTS.items()} == public


def test_outputs_are_the_ensembles() -> None:
    documented = {row[0].strip("`"): (row[1], row[2].strip("`")) for row in table("output")}
    assert documented == {"images": ("BYTES", "[num_images]"), "info": ("BYTES", "[1]")}
    assert configured("output") == {"images": ("BYTES", "[-1]"), "info": ("BYTES", "[1]")}


def test_defaults() -> None:
    request = dataclasses.asdict(parsed())
    for name, row in INPUTS.items():
        default = re.match(r"`([^`]*)`", row[4])
        if default and name not in ("height", "width"):
            assert str(request[name]) in (default[1].strip('"'), f"{default[1]}.0"), name
    assert parsed(height=0, width=0) == parsed()
    assert refused_field(prompt="") == "prompt"


@pytest.mark.parametrize(("name", "of"), [("steps", "steps"), ("sampler", "sampler")])
def test_defaults_of_the_presets(name: str, of: str) -> None:
    assert INPUTS["preset"][5].replace("`", "").split(", ") == list(PRESETS)
    documented = INPUTS[name][4].partition(": ")[2].split(", ")
    assert documented == [str(getattr(preset, of)) for preset in PRESETS.values()]


RANGES = {
    name: (float(found[1]), float(found[2]), found[3])
    for name, row in INPUTS.items()
    if (found := re.match(r"([0-9.]+) to ([0-9.]+)( characters)?", row[5]))
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges(name: str) -> None:
    low, high, characters = RANGES[name]
    accepted: list[Any]
    refused: list[Any]
    if characters:
        accepted, refused = ["a" * int(low), "a" * int(high)], ["a" * (int(high) + 1)] + [""] * (low > 0)
    elif INPUTS[name][1] == "FP32":
        accepted = [low, high]
        refused = [np.nextafter(np.float32(low), np.float32(-9)), np.nextafter(np.float32(high), np.float32(99))]
        refused += [float("nan"), float("inf")]
    else:
        exact = int(INPUTS[name][5].split(" to ")[1].split()[0])
        accepted = [int(low), exact]
        refused = [int(low) - 1] + [exact + 1] * (exact < np.iinfo(DTYPES[INPUTS[name][1]]).max)
    assert [refused_field(**{name: content}) for content in accepted] == [None] * len(accepted)
    assert [refused_field(**{name: content}) for content in refused] == [name] * len(refused)


def test_every_input_is_checked_by_one_of_these_tests() -> None:
    others = {"concept", "preset", "sampler", "output_format", "height", "width", "reference_image"}
    assert others | set(RANGES) == set(INPUTS)


@pytest.mark.parametrize("name", ["preset", "sampler", "output_format"])
def test_choices(name: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parsed(**{name: "nothing"})
    assert set(re.findall(r"`(\w+)`", INPUTS[name][5])) == set(re.findall(r"\w+", caught.value.accepted)) - {"or"}


def test_sizes_concepts_and_photos() -> None:
    step, limit = GRAPHSET.size_multiple, GRAPHSET.max_size
    for name in ("height", "width"):
        assert [refused_field(**{name: size}) for size in (step, limit, step + 1, limit + step, -step)] == [
            None, None, name, name, name,
        ]  # fmt: skip
    forms = ["toy", f"toy{DIGEST}", "toy@1", "To y"]
    assert [refused_field(concept=form) for form in forms] == [None, None, "concept", "concept"]
    (most,) = re.findall(r"at most ([0-9]+) bytes", INPUTS["reference_image"][5])
    assert refused_field(concept="toy", reference_image=bytes(int(most))) is None
    assert refused_field(concept="toy", reference_image=bytes(int(most) + 1)) == "reference_image"
    assert refused_field(reference_image=b"photo") == "reference_image"


def test_limits_of_the_front_door() -> None:
    assert "The whole message may have 9 MiB" in DOCUMENT
    assert Limits().message_bytes == 9 * 2**20
    rules = {row[0]: row[1] for row in table("field")}
    assert "1–64 of `A-Z a-z 0-9 . _ : -`" in rules["`id`"]
    assert REQUEST_ID.fullmatch("a" * 64)
    assert REQUEST_ID.fullmatch("Z9._:-a")
    assert not any(REQUEST_ID.fullmatch(bad) for bad in ("", "a" * 65, "-a", "a b", "é"))
    assert MAX_TIMEOUT_MICROSECONDS > 0


def test_the_list_of_concepts() -> None:
    section = DOCUMENT.partition("## Which concepts there are")[2].partition("\n## ")[0]
    assert configured("input", "vico_concepts") == {"caller": ("BYTES", "[1]"), "pattern": ("BYTES", "[1]")}
    assert configured("output", "vico_concepts") == {"concepts": ("BYTES", "[1]")}
    assert f"At most {MAX_LISTED};" in section
    assert (PATTERN.low, PATTERN.high) == (1, 64)
    assert "1 to 64 of `a-z 0-9 . _ - * ?`" in section
    for good in "az09._-*?":
        assert parse_pattern({"pattern": np.array([good.encode()], object)}) == good
    for bad in "AZ é/[]@\0":
        with pytest.raises(InvalidField):
            parse_pattern({"pattern": np.array([bad.encode()], object)})


def test_keys_of_info() -> None:
    told = json.loads(build_info(parsed(), [StageReport("unet_loop", 1.0)]))
    documented = {name for row in table("key of `info`") for name in re.findall(r"`(\w+)`", row[0])}
    assert documented == set(told)


def test_errors() -> None:
    rows = {row[0]: row for row in table("status")}
    assert set(rows) == {str(status) for status in Status} | {"UNAUTHENTICATED", "PERMISSION_DENIED"}
    for status, row in rows.items():
        error = error_from_status(status, "steps: 0; accepted: 1 to 100")
        assert type(error) is getattr(vico_client, row[3].strip("`")), status


def _fields(message: Descriptor) -> dict[str, tuple[int, Any, bool]]:
    names = {
        FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_BOOL: "bool", FieldDescriptor.TYPE_INT64: "int64",
        FieldDescriptor.TYPE_INT32: "int32", FieldDescriptor.TYPE_FLOAT: "float", FieldDescriptor.TYPE_BYTES: "bytes",
    }  # fmt: skip
    return {
        field.name: (field.number, names.get(field.type) or getattr(field.message_type, "name", ""), field.is_repeated)
        for field in message.fields
    }


def test_the_proto_is_a_part_of_tritons() -> None:
    file, checked = service_pb2.DESCRIPTOR, 0
    stack: list[Any] = []
    for line in PROTO.splitlines():
        words = line.strip()
        if opened := re.match(r"message (\w+) {", words):
            parent = stack[-1].nested_types_by_name if stack else file.message_types_by_name
            stack.append(parent[opened[1]])
        elif re.match(r"(service|oneof) ", words):
            stack.append(stack[-1] if stack else None)
        elif words == "}":
            stack.pop()
        elif field := re.match(r"(repeated )?(map<string, (\w+)>|\w+) (\w+) = (\d+);", words):
            kind = "ParametersEntry" if field[3] else field[2]
            assert _fields(stack[-1])[field[4]] == (int(field[5]), kind, bool(field[1] or field[3])), words
            checked += 1
        elif method := re.match(r"rpc (\w+)\((\w+)\) returns \((\w+)\)", words):
            theirs = file.services_by_name["GRPCInferenceService"].methods_by_name[method[1]]
            assert (theirs.input_type.name, theirs.output_type.name) == (method[2], method[3])
            checked += 1
    assert checked == len(re.findall(r"= \d+;|rpc ", PROTO))
    assert f"package {file.package};" in PROTO
