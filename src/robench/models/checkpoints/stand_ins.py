"""Files of torch.save that hold other objects than weights, read without importing or calling anything that they name.

Tensors and dicts are built. Any other object becomes a stand-in, which runs nothing.
"""

from __future__ import annotations

import io
import mmap
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from robench.models.checkpoints import torch_archive

__all__ = ["Refused", "StandIn", "attributes", "find_stand_ins", "holds_tensors", "read_with_stand_ins"]

_HARMFUL = frozenset(
    ("nt", "os", "posix", "sys", "subprocess", "shutil", "socket", "importlib", "runpy", "pty", "ctypes", "webbrowser")
)
"""Modules that only a hostile file names; torch never reads the first four either."""
_PYTHON_2 = {"__builtin__": "builtins", "commands": "subprocess"}
"""Names by which pickles of protocol 2 call modules of Python 3."""
_HARMFUL_BUILTINS = frozenset(
    [
        *(
            "__import__",
            "breakpoint",
            "compile",
            "delattr",
            "eval",
            "exec",
            "exit",
            "globals",
            "input",
            "locals",
            "open",
        ),
        *("print", "quit", "setattr", "vars"),
    ]
)
_DICTS = frozenset(f"collections.{name}" for name in ("OrderedDict", "defaultdict", "Counter"))
_PAIRS = 1_000_000
"""Most items of dicts that a file makes of lists; a list can be used many times."""
_KEYS = (str, bytes, int, float, type(None))
"""Types of the keys that are kept; the hash of a nested tuple can exhaust the stack."""


class Refused(pickle.UnpicklingError):
    """A file names something that only a hostile file needs."""


@dataclass(eq=False)
class StandIn:
    """Placeholder for a class, a function or an object, which keeps the values that the file has for it.

    Attributes:
        name: Class or function with its module.
        parts: Arguments, state and items of the object.
    """

    name: str
    parts: list[object] = field(default_factory=list, repr=False)


def read_with_stand_ins(path: Path) -> object:
    """Return the content of a file of torch.save, with tensors on the CPU and a `StandIn` for every other object.

    Raises:
        Refused: The file names a module that only a hostile file needs.
        Exception: The file is damaged; its readers raise any error.
    """
    if "data.pkl" in torch_archive.names(path):
        with torch_archive.opened(path) as archive:
            return _read_archive(archive)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _read_legacy(content)


def attributes(value: object) -> Mapping[Any, object]:
    """Return a mapping as it is, or the attributes and items of a stand-in; empty for another value."""
    if isinstance(value, StandIn):
        return {name: inner for part in value.parts if isinstance(part, Mapping) for name, inner in part.items()}
    return value if isinstance(value, Mapping) else {}


def find_stand_ins(content: object) -> Iterator[StandIn]:
    """Yield the outermost stand-ins in dicts, lists and tuples."""
    for value in _walk(content, into_stand_ins=False):
        if isinstance(value, StandIn):
            yield value


def holds_tensors(content: object) -> bool:
    """Return whether a tensor is anywhere in a value, also in its stand-ins."""
    return any(isinstance(value, Tensor) for value in _walk(content, into_stand_ins=True))


def _walk(content: object, into_stand_ins: bool) -> Iterator[object]:
    """Yield a value and all values in it, each once, in their order."""
    seen: set[int] = set()
    values = [content]
    while values:
        value = values.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        inner: Iterable[object] = ()
        if isinstance(value, Mapping):
            inner = value.values()
        elif isinstance(value, list | tuple):
            inner = value
        elif isinstance(value, StandIn) and into_stand_ins:
            inner = value.parts
        values.extend(reversed([*inner]))


def _read_archive(archive: torch_archive.Archive) -> object:
    storages: dict[object, Tensor] = {}
    swapped = "byteorder" in archive.sizes and archive.read("byteorder").decode() != sys.byteorder

    def storage(pid: Any) -> Tensor:
        _, storage_type, key, _, values = pid
        _check_storage(key, values)
        if key not in storages:
            read = _values(archive.read(f"data/{key}"), values, storage_type)
            if swapped:
                read.untyped_storage().byteswap(read.dtype)
            storages[key] = read
        return storages[key]

    return _Reader(io.BytesIO(archive.read("data.pkl")), storage).load()


def _read_legacy(content: mmap.mmap) -> object:
    """Read the format before torch 1.6: pickles of a number, a version, the machine, the content and the keys, then values."""
    storages: dict[object, Tensor] = {}
    room = len(content)

    def storage(pid: Any) -> object:
        nonlocal room
        if pid[0] == "module":  # A class with its source code.
            return pid[1]
        _, storage_type, key, _, values, view = pid
        _check_storage(key, values)
        if key not in storages:
            room -= values * storage_type.itemsize
            if room < 0:
                raise ValueError("the file is shorter than its tensors")
            storages[key] = torch.empty(values, dtype=storage_type)
        return storages[key] if view is None else storages[key][view[1] : view[1] + view[2]]

    for _ in range(3):
        _Reader(content, storage).load()
    loaded = _Reader(content, storage).load()
    for key in _Reader(content, storage).load():
        values = int.from_bytes(content.read(8), "little")
        target = storages[key]
        target.copy_(_values(content.read(values * target.itemsize), target.numel(), target.dtype))
    return loaded


def _check_storage(key: object, values: int) -> None:
    if not isinstance(key, str | int) or values < 0:
        raise ValueError("a storage has no name or no size")


def _values(content: bytes, count: int, dtype: torch.dtype) -> Tensor:
    """Return the first values of a buffer as a tensor with memory of its own."""
    return torch.frombuffer(bytearray(content), dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)


# As in datasets.io.safe_pickle, Python's own subclass hook: the compiled Unpickler calls whatever a file names, and sizes
# its memo by the numbers of the file.
class _Reader(pickle._Unpickler):
    """Builds tensors and dicts, and stand-ins for all other objects."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[object], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any, storage: Callable[[Any], object]) -> None:
        super().__init__(file, encoding="latin-1")
        self.storage = storage
        self._room = _PAIRS

    def find_class(self, module: str, name: str) -> object:
        """Return a dtype for the name of one or of a storage, else a placeholder."""
        module = _PYTHON_2.get(module, module)
        if module.partition(".")[0] in _HARMFUL or (module == "builtins" and name in _HARMFUL_BUILTINS):
            raise Refused(f"{module}.{name}")
        if module in ("torch", "torch.storage"):
            if name == "UntypedStorage":
                return torch.uint8
            if name.endswith("Storage"):
                return torch.serialization.StorageType(name).dtype
            if isinstance(dtype := vars(torch).get(name), torch.dtype):
                return dtype
        return StandIn(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> object:
        """Return the values of a storage as a tensor of one dimension."""
        return self.storage(pid)

    def _call(self, called: object, arguments: Any) -> object:
        if not isinstance(called, StandIn):
            raise ValueError("it calls a value that is not a function")
        name = called.name
        match name, arguments:
            case "torch._utils._rebuild_tensor", (storage, offset, size, stride):
                return _strided(storage, offset, size, stride)
            case "torch._utils._rebuild_tensor_v2", (storage, offset, size, stride, _, _, *metadata) if not any(
                metadata
            ):
                return _strided(storage, offset, size, stride)
            case "torch._utils._rebuild_tensor_v3", (storage, offset, size, stride, _, _, dtype, *metadata) if not any(
                metadata
            ):
                return _strided(storage.view(dtype), offset, size, stride)
            case "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", (
                Tensor() as data,
                *_,
            ):
                return data
            case "torch._tensor._rebuild_from_type_v2", (function, _, inner, *_):  # A tensor of another class.
                return self._call(function, inner)
            case _, () if name in _DICTS:
                return {}
            case _, (Mapping() as items,) if name in _DICTS:
                return items
            case _, ([*pairs],) if name in _DICTS:
                self._room -= len(pairs)
                if self._room < 0:
                    raise ValueError("it makes too many items of lists")
                return {key: value for key, value in pairs if isinstance(key, _KEYS)}
            case _ if name in _DICTS:  # The first argument of a defaultdict is a function.
                return {}
        return StandIn(name, [called, arguments] if called.parts else [arguments])

    def _reduce(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        self.append(self._call(called, arguments))

    def _new(self) -> None:
        self._reduce()

    def _new_with_names(self) -> None:
        named, arguments, called = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.append(StandIn(str(getattr(called, "name", called)), [arguments, named]))

    def _instantiate(self, called: object, arguments: Any) -> None:
        self.append(self._call(called, tuple(arguments)))

    def _build(self) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        if isinstance(built, StandIn):
            built.parts.append(state)
        elif not isinstance(built, dict | Tensor):
            raise ValueError("it gives a state to a value that has none")

    def _append(self) -> None:
        self._extend([self.stack.pop()])

    def _extend_marked(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list[object]) -> None:
        target = self.stack[-1]
        (target.parts if isinstance(target, StandIn) else target).extend(items)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key], [value])

    def _set_items(self) -> None:
        pairs = self.pop_mark()
        self._fill(pairs[::2], pairs[1::2])

    def _fill(self, keys: list[Any], values: list[Any]) -> None:
        target = self.stack[-1]
        items = {key: value for key, value in zip(keys, values, strict=True) if isinstance(key, _KEYS)}
        if isinstance(target, StandIn):
            target.parts += [items, values]
        else:
            target.update(items)

    def _empty_set(self) -> None:
        self.append([])

    def _frozen_set(self) -> None:
        items = self.pop_mark()
        self.append(items)

    def _bytes(self) -> None:
        """Read bytes that can be changed; Python's own reader allocates as many as the file says before it reads them."""
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def _refuse(self) -> None:
        raise ValueError("it has an operation that torch.save does not write")

    dispatch |= {
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _new,
        pickle.NEWOBJ_EX[0]: _new_with_names,
        pickle.BUILD[0]: _build,
        pickle.APPEND[0]: _append,
        pickle.APPENDS[0]: _extend_marked,
        pickle.ADDITEMS[0]: _extend_marked,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.EMPTY_SET[0]: _empty_set,
        pickle.FROZENSET[0]: _frozen_set,
        pickle.DICT[0]: _refuse,
        pickle.EXT1[0]: _refuse,
        pickle.EXT2[0]: _refuse,
        pickle.EXT4[0]: _refuse,
        pickle.BYTEARRAY8[0]: _bytes,
        pickle.NEXT_BUFFER[0]: _refuse,
    }


def _strided(storage: Tensor, offset: int, size: Any, stride: Any) -> Tensor:
    """Return a view; RuntimeError if it is outside of the storage."""
    return storage.as_strided(tuple(size), tuple(stride), offset)
