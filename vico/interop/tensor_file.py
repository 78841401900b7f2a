"""Any file of tensors from elsewhere: safetensors, or either layout of `torch.save`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, deserialize

from vico.interop.arrays import MAX_TENSOR_BYTES, Array, as_array
from vico.interop.errors import CheckpointError
from vico.interop.torch_file import PICKLE_MAGIC, ZIP_MAGIC, read_torch_file

_MAX_NAME = 300
_ACCEPTED = ".safetensors, or a .pt or .bin of torch.save that holds nothing but tensors"


def read_tensor_file(path: Path, field: str) -> dict[str, Any]:
    """What a file holds: tensors by name, or dicts of such. The content decides how it is read, not the suffix.

    Raises:
        CheckpointError: names what is absent, torn, unsafe or too large.
    """
    if not path.is_file():
        raise CheckpointError(field, f"{path.name} is not a file", _ACCEPTED)
    if (size := path.stat().st_size) > 2 * MAX_TENSOR_BYTES:
        raise CheckpointError(field, f"{path.name} has {size} bytes", f"at most {2 * MAX_TENSOR_BYTES}")
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start == ZIP_MAGIC or start.startswith(PICKLE_MAGIC):
            content: dict[str, Any] = read_torch_file(path, field)
            return content
        return _read_safetensors(path, field)
    except OSError:
        raise CheckpointError(field, f"{path.name} cannot be read", _ACCEPTED) from None


def flat_tensors(content: dict[str, Any], field: str) -> dict[str, Array]:
    """A dict of nothing but tensors, as a state dict is; one level of `state_dict` around it is taken off."""
    inner = content.get("state_dict", content)
    if not isinstance(inner, dict):
        raise CheckpointError(field, "'state_dict' of it is no dict", "a dict of tensors")
    for name, value in inner.items():
        if len(name) > _MAX_NAME:
            raise CheckpointError(field, f"a name of it has {len(name)} characters", f"at most {_MAX_NAME}")
        if not hasattr(value, "dtype"):
            raise CheckpointError(field, f"{name[:80]!r} of it is not a tensor", "a dict of tensors")
    return inner


def _read_safetensors(path: Path, field: str) -> dict[str, Array]:
    try:
        entries = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError:
        raise CheckpointError(field, f"{path.name} is torn, or of no known format", _ACCEPTED) from None
    return {
        name: as_array(bytes(entry["data"]), entry["dtype"], field).reshape(entry["shape"]) for name, entry in entries
    }
