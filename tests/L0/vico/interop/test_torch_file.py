"""Reading torch.save files without unpickling: the same tensors as torch's own reader, and nothing hostile runs."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vico.interop.errors import CheckpointError
from vico.interop.tensor_file import flat_tensors, read_tensor_file

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LAYOUTS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(path: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_tensor_file(path, "embedding")
    assert str(caught.value).startswith("embedding: ")
    assert str(path.parent) not in str(caught.value)
    return str(caught.value)


@LAYOUTS
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_numbers_as_torch(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    tensor = (torch.randn(3, 5, 2) * 3).to(dtype)
    views = {"whole": tensor, "turned": tensor.transpose(0, 2), "part": tensor[1:, ::2], "one": tensor[1, 2, 1]}
    found = read_tensor_file(save(tmp_path / "x.pt", views, zipped), "file")
    for name, view in views.items():
        expected = view.float() if dtype == torch.bfloat16 else view
        np.testing.assert_array_equal(found[name], expected.numpy(), strict=True)


@LAYOUTS
def test_state_dicts_parameters_and_parameter_dicts(tmp_path: Path, zipped: bool) -> None:
    layer = torch.nn.Linear(3, 2)
    content: dict[str, Any] = {
        "string_to_token": {"*": torch.arange(77)[3]},
        "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.randn(1, 4))}),
        "layer": layer.state_dict(),
        "plain": {"p": torch.nn.Parameter(torch.ones(2)), "n": 3, "s": "text", "none": None, "f": 0.5, "b": True},
    }
    found = read_tensor_file(save(tmp_path / "x.pt", content, zipped), "file")
    assert found["string_to_token"]["*"] == 3
    np.testing.assert_array_equal(found["string_to_param"]["*"], content["string_to_param"]["*"].detach().numpy())
    np.testing.assert_array_equal(found["layer"]["weight"], layer.weight.detach().numpy())
    assert {k: v for k, v in found["plain"].items() if k != "p"} == {
        "n": 3,
        "s": "text",
        "none": None,
        "f": 0.5,
        "b": 1,
    }


def test_safetensors_too(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {"a": torch.randn(2, 3), "b": torch.randn(4).bfloat16(), "c": torch.randn(1).half()}
    save_file(tensors, tmp_path / "x.safetensors")
    found = flat_tensors(read_tensor_file(tmp_path / "x.safetensors", "file"), "file")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], (tensor.float() if name == "b" else tensor).numpy())


class _Calls:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _named(name: str, *arguments: Any) -> bytes:
    """A pickle that calls a dotted name, by opcodes."""
    module, _, attribute = name.rpartition(".")
    packed = pickle.dumps(arguments, protocol=2)[2:-1]
    return b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + packed + b"R."


def archive(path: Path, program: bytes, records: dict[str, bytes] | None = None, compress: bool = False) -> Path:
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr("archive/data.pkl", program)
        for name, content in (records or {}).items():
            file.writestr(name, content)
    return path


@LAYOUTS
@pytest.mark.parametrize(
    "hostile",
    [
        lambda marker: _Calls(os.system, f"touch {marker}"),
        lambda marker: _Calls(eval, f"open({str(marker)!r}, 'w')"),
        lambda marker: _Calls(getattr, os, "system"),
        lambda marker: {"*": torch.zeros(2), "x": [_Calls(os.mkdir, str(marker))]},
        lambda marker: OrderedDict(a=_Calls(Path.touch, marker)),
        lambda marker: _Calls(torch.hub.load, str(marker), "x"),
        lambda marker: torch.nn.Linear(2, 2),
        lambda marker: {"a": np.zeros(2)},
        lambda marker: {"a": torch.zeros(2).storage()},  # type: ignore[no-untyped-call]
        lambda marker: {"a": torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (2,))},
    ],
)
def test_what_calls_anything_is_refused_and_does_nothing(tmp_path: Path, hostile: Any, zipped: bool) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "x.pt"
    try:
        save(path, hostile(marker), zipped)
    except TypeError:
        pytest.skip("torch will not write it so")
    refusal(path)
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "builtins.exec",
        "torch.load",
        "torch.storage._load_from_bytes",
        "torch._utils._rebuild_wrapper_subclass",
        "torch._tensor._rebuild_from_type_v2",
        "torch.storage.UntypedStorage",
        "torch.Tensor",
        "collections.Counter",
        "torch._utils._rebuild_tensor_v3",
        "vico.interop.program.run_program",
        "_codecs.encode",
    ],
)
def test_names_are_refused_by_name(tmp_path: Path, name: str) -> None:
    assert repr(name) in refusal(archive(tmp_path / "x.pt", _named(name, "touch /tmp/never")))


def test_opcodes_that_tensors_do_not_need(tmp_path: Path) -> None:
    for number, (program, opcode) in enumerate(
        [
            (b"\x80\x02(S'touch x'\nios\nsystem\n.", "STRING"),
            (b"\x80\x02(ios\nsystem\n.", "INST"),
            (b"\x80\x02\x82\x01.", "EXT1"),
            (b"\x80\x02]2.", "DUP"),
            (b"\x80\x02Psome\n.", "PERSID"),
            (b"\x80\x05\x97.", "NEXT_BUFFER"),
        ]
    ):
        assert f"uses {opcode}" in refusal(archive(tmp_path / f"{number}.pt", program))


def test_altering_a_listed_name_is_refused(tmp_path: Path) -> None:
    """BUILD could set attributes of what a name stands for."""
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__K\x01sb."
    assert "alters a 'torch._utils._rebuild_tensor_v2'" in refusal(archive(tmp_path / "x.pt", program))


def tensor_program(
    elements: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], key: str = "0"
) -> bytes:
    """A pickle of {"*": tensor} whose numbers need not fit together."""

    def body(value: Any) -> bytes:
        return pickle.dumps(value, protocol=2)[2:-1]

    stored = b"(" + body("storage") + b"ctorch\nFloatStorage\n" + body(key) + body("cpu") + body(elements) + b"tQ"
    arguments = b"(" + stored + body(offset) + body(shape) + body(strides) + b"\x89" + body(None) + b"t"
    return b"\x80\x02}" + body("*") + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


def test_views_must_lie_inside_their_storage(tmp_path: Path) -> None:
    data = {"archive/data/0": np.arange(6, dtype=np.float32).tobytes()}
    good = read_tensor_file(archive(tmp_path / "good.pt", tensor_program(6, 0, (2, 3), (3, 1)), data), "file")
    np.testing.assert_array_equal(good["*"], np.arange(6, dtype=np.float32).reshape(2, 3))
    for elements, offset, shape, strides in [
        (6, 1, (2, 3), (3, 1)),  # past the end
        (6, 0, (2, 3), (2**39, 1)),
        (6, 0, (1000, 1000), (0, 0)),  # a million from one
        (6, 0, (2**39, 2), (0, 0)),
        (6, 0, (0, 3), (3, 1)),
        (6, -1, (2,), (1,)),
        (6, 0, (-2,), (-1,)),
        (6, 0, (2, 3), (3,)),
        (6, 0, (True,), (1,)),
        (2**60, 0, (2,), (1,)),
        (7, 0, (2,), (1,)),  # not what the record holds
        (2**38, 0, (2,), (1,)),  # a terabyte, announced
    ]:
        refusal(archive(tmp_path / "bad.pt", tensor_program(elements, offset, shape, strides), data))


def test_hostile_archives(tmp_path: Path) -> None:
    program = tensor_program(6, 0, (6,), (1,))
    data = {"archive/data/0": bytes(24)}
    bomb = archive(tmp_path / "bomb.pt", program, {"archive/data/0": bytes(2**24)}, compress=True)
    assert bomb.stat().st_size < 2**16
    assert "compressed" in refusal(bomb)
    for name in ("archive/../../../tmp/evil", "/etc/evil", "archive\\..\\evil", "evil"):
        assert "is called" in refusal(archive(tmp_path / "names.pt", program, {**data, name: b"evil"}))
    with zipfile.ZipFile(tmp_path / "twice.pt", "w") as file:
        file.writestr("archive/data/0", bytes(24))
        file.writestr("other/data/0", bytes(24))
    assert "stands twice" in refusal(tmp_path / "twice.pt")
    many = {f"archive/data/{i}": b"" for i in range(40_000)}
    assert "too many records" in refusal(archive(tmp_path / "many.pt", program, many))
    assert "missing or torn" in refusal(archive(tmp_path / "gone.pt", program))
    assert "missing or torn" in refusal(archive(tmp_path / "up.pt", tensor_program(6, 0, (6,), (1,), "../0"), data))
    assert "little-endian" in refusal(archive(tmp_path / "big.pt", program, {**data, "archive/byteorder": b"big"}))
    with zipfile.ZipFile(tmp_path / "empty.pt", "w") as file:
        file.writestr("archive/other", b"")
    assert "no data.pkl" in refusal(tmp_path / "empty.pt")


def test_an_archive_that_announces_terabytes(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pt", tensor_program(6, 0, (6,), (1,)), {"archive/data/0": bytes(24)})
    content = bytearray(path.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    path.write_bytes(content)
    assert "too large" in refusal(path)


def test_a_small_pickle_that_unfolds_without_end(tmp_path: Path) -> None:
    one: dict[str, Any] = {"x": 1}
    for _ in range(3):
        one = {str(i): one for i in range(1000)}
    assert "too many things" in refusal(archive(tmp_path / "x.pt", pickle.dumps(one, protocol=2)))
    round_and_round: dict[str, Any] = {}
    round_and_round["again"] = round_and_round
    refusal(archive(tmp_path / "round.pt", pickle.dumps(round_and_round, protocol=2)))


@LAYOUTS
@SLOW
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_anywhere(tmp_path: Path, zipped: bool, share: float) -> None:
    whole = save(tmp_path / "x.pt", {"a": torch.randn(3, 4)}, zipped).read_bytes()
    torn = tmp_path / "torn.pt"
    torn.write_bytes(whole[: int(len(whole) * share)])
    refusal(torn)


@LAYOUTS
@SLOW
@given(data=st.data())
def test_altered_anywhere_never_breaks_the_reader(tmp_path: Path, zipped: bool, data: st.DataObject) -> None:
    content = bytearray(
        save(tmp_path / "x.pt", {"a": torch.randn(3, 4), "b": {"c": torch.ones(2)}}, zipped).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    altered = tmp_path / "altered.pt"
    altered.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        read_tensor_file(altered, "embedding")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=st.binary(max_size=60))
@example(program=b"\x80\x02")
@example(program=b"r\xff\xff\xff\xff.")
@example(program=b"\x80\x02]r\xff\xff\xff\xff.")
@example(program=b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.")
@example(program=b"((((t.")
@example(program=b"0.")
def test_any_bytes_as_a_pickle(tmp_path: Path, program: bytes) -> None:
    refusal(archive(tmp_path / "x.pt", program))


@pytest.mark.parametrize("content", [b"", b"\x80", b"PK\x03\x04", b"hello", bytes(100), b"\x80\x02N.\x80\x02N."])
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    refusal(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"gone\.pt is not a file"):
        read_tensor_file(tmp_path / "gone.pt", "embedding")


def test_free_of_torch_and_of_unpickling() -> None:
    import subprocess
    import sys

    code = "import sys, vico.interop.tensor_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    sources = (Path(__file__).parents[4] / "vico" / "interop").glob("*.py")
    assert not [s.name for s in sources if "torch.load" in s.read_text() or "import pickle\n" in s.read_text()]
