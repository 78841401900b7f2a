"""What a checkpoint's pickle says, without unpickling it.

A pickle is a program. `pickletools.genops` only splits it into opcodes; the few that `torch.save` needs for nested
dicts of tensors are carried out here, on inert values. No name in the file is ever imported or called, so a hostile
pickle has nothing to run: it is refused at the first opcode or name that is not listed.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vico.interop.errors import CheckpointError

ACCEPTED = "a checkpoint of nothing but tensors"
MAX_PICKLE_BYTES = 16 * 2**20

STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
"""torch's storage classes → element types, named as in safetensors."""


@dataclass(frozen=True)
class Global:
    """A name in the pickle, `module.attribute`; never looked up."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of elements elsewhere in the file."""

    key: str
    dtype: str
    elements: int


@dataclass(frozen=True)
class TensorRef:
    """A tensor, described: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements


class _ParameterDict(dict[str, Any]):
    """`torch.nn.ParameterDict`, in which the published code keeps its embeddings."""


_MARK = object()


def run_program(stream: io.BytesIO, field: str) -> Any:
    """The value of the pickle at `stream`: dicts, lists, numbers, texts and `TensorRef`s; leaves the stream behind it.

    Raises:
        CheckpointError: the pickle is torn, or wants anything but tensors; the opcode or name is told.
    """
    machine = _Machine(field)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.pop()
            machine.do(opcode.name, argument)
    except (ValueError, IndexError, struct.error, OverflowError):
        pass
    raise CheckpointError(field, "its pickle is torn", ACCEPTED)


class _Machine:
    """Stack and memo of one pickle."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def do(self, opcode: str, argument: Any) -> None:
        """Carry out one opcode."""
        if opcode in _LITERALS:
            self._stack.append(_LITERALS[opcode](argument))
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME"):
            raise self.refusal(f"its pickle uses {opcode}")

    def pop(self) -> Any:
        """The topmost value."""
        value = self._stack.pop()
        if value is _MARK:
            raise self.refusal("its pickle is malformed")
        return value

    def refusal(self, problem: str) -> CheckpointError:
        """The error to raise."""
        return CheckpointError(self._field, problem, ACCEPTED)

    def items(self) -> list[Any]:
        """Everything above the last mark, which goes too."""
        items: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]

    def mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def put(self, place: Any) -> None:
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def get(self, place: int) -> None:
        if place not in self._memo:
            raise self.refusal("its pickle is malformed")
        self._stack.append(self._memo[place])

    def tuple_of(self, count: int | None) -> None:
        values = self.items() if count is None else [self.pop() for _ in range(count)][::-1]
        self._stack.append(tuple(values))

    def append(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise self.refusal("its pickle is malformed")
        self._stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise self.refusal("its pickle is malformed")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str):
                raise self.refusal(f"a key of it is a {type(key).__name__}")
            target[key] = value

    def name(self, written: str) -> None:
        self._stack.append(Global(written.replace(" ", ".", 1)))

    def stack_name(self, _: Any) -> None:
        attribute, module = self.pop(), self.pop()
        self._stack.append(Global(f"{module}.{attribute}"))

    def reduce(self, _: Any) -> None:
        arguments, called = self.pop(), self.pop()
        known = _CALLS.get(called.name) if isinstance(called, Global) else None
        if known is None or not isinstance(arguments, tuple):
            raise self.refusal(f"its pickle calls {_shown(called)}")
        value = known(arguments)
        if value is None:
            raise self.refusal(f"its pickle calls {_shown(called)} in an unknown way")
        self._stack.append(value)

    def new_object(self, _: Any) -> None:
        arguments, kind = self.pop(), self.pop()
        if kind != Global("torch.nn.modules.container.ParameterDict") or arguments != ():
            raise self.refusal(f"its pickle makes a {_shown(kind)}")
        self._stack.append(_ParameterDict())

    def build(self, _: Any) -> None:
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, _ParameterDict) and isinstance(state, dict):
            parameters = state.get("_parameters")
            target.update(parameters if isinstance(parameters, dict) else {})
        elif type(target) is not dict:
            raise self.refusal(f"its pickle alters a {_shown(target)}")

    def refer(self, _: Any) -> None:
        match self.pop():
            # before zip archives, torch wrote a module's class with its source code, which is passed over
            case ("module", Global() as kind, str() | None, str() | None):
                self._stack.append(kind)
            case named:
                self._stack.append(self._storage(named))

    def _storage(self, named: Any) -> Storage:
        if isinstance(named, tuple) and len(named) in (5, 6) and named[0] == "storage" and isinstance(named[1], Global):
            _, kind, key, _, elements, *view = named
            dtype = STORAGES.get(kind.name.removeprefix("torch."))
            if dtype is None:
                raise self.refusal(f"its pickle names {_shown(kind)}")
            if isinstance(key, str) and _counts((elements,)) and view in ([], [None]):
                return Storage(key, dtype, elements)
        raise self.refusal("its pickle refers to something unknown")


def _rebuild_tensor(arguments: tuple[Any, ...]) -> TensorRef | None:
    """(storage, offset, shape, strides, …) of `torch._utils._rebuild_tensor` and its second version."""
    match arguments:
        case (Storage() as storage, int() as offset, tuple() as shape, tuple() as strides, *_):
            whole = _counts((offset, *shape, *strides)) and len(shape) == len(strides) <= 8
            return TensorRef(storage, offset, shape, strides) if whole else None
    return None


def _rebuild_parameter(arguments: tuple[Any, ...]) -> TensorRef | None:
    return arguments[0] if arguments and isinstance(arguments[0], TensorRef) else None


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[str, Any] | None:
    return {} if arguments in ((), ([],)) else None


def _set(arguments: tuple[Any, ...]) -> list[Any] | None:
    """Sets stand in a module's state, which is passed over."""
    return [] if len(arguments) == 1 and isinstance(arguments[0], list) else None


def _counts(values: tuple[Any, ...]) -> bool:
    return all(type(value) is int and 0 <= value < 2**40 for value in values)


def _shown(value: Any) -> str:
    return repr(value.name[:80]) if isinstance(value, Global) else type(value).__name__


_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "builtins.set": _set,
    "__builtin__.set": _set,
}
_LITERALS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"), lambda text: text),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), lambda number: number),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.get),
    "TUPLE": lambda machine, _: machine.tuple_of(None),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.items()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.items()),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.refer,
}
