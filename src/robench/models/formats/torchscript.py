"""TorchScript archives: code and weights in one file, read only after the code has been looked through.

Loading such an archive runs code of its own (`__setstate__` of its classes), and the language has operators that write files. So
before torch sees the file: every code file is parsed and may name only operators that `operators` allows, by whatever way the
language lets them be named; classes in C++ are refused but for quantized weights; and its pickles are read by a reader that
builds nothing, which also checks that every tensor lies within the bytes that the file has for it (torch's own does so only since lately).
TorchScript's lexer and Python's agree on plain ASCII without control characters (torch/csrc/jit/frontend/lexer.h), so other
code is refused. Such a model can still compute for ever, as any model can.
"""

from __future__ import annotations

import ast
import io
import pickle
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robench.errors import CheckpointError, DeviceError, one_line
from robench.models.checkpoints import torch_archive
from robench.models.checkpoints.read import file_sha256
from robench.models.checkpoints.torch_archive import Archive
from robench.models.formats import allowed_operators
from robench.models.formats.base import IN_TRAINING, LoadedModel, LoadRequest
from robench.models.preprocessing import assumed

__all__ = ["load", "matches"]

_PICKLES = ("data.pkl", "constants.pkl")
_FILES = (
    "version",
    "byteorder",
    "bytecode.pkl",
    "mobile_debug_handles.pkl",
    "callstack_debug_map.pkl",
    "traced_inputs.pkl",
)
"""Beside the pickles; what the lite interpreter and tracing leave, which torch.jit.load does not read."""
_FOLDERS = ("data/", "constants/", "extra/", ".data/", "traced_inputs/", "bytecode/")
_CLASSES = "__torch__.torch.classes."
_QUANTIZED = f"{_CLASSES}quantized"
_NAMES = ("print", "rpc_async", "rpc_sync", "rpc_remote", "eval", "exec", "open", "__import__")
"""Names of the language itself that no classifier needs: what they do is to be seen outside of it."""
_DROPOUT = re.compile(r"[a-z_]*dropout(\dd)?_?")
_VALUES = {
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "ShortStorage": 2,
    "IntStorage": 4,
    "LongStorage": 8,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "FloatStorage": 4,
    "DoubleStorage": 8,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "QInt8Storage": 1,
    "QUInt8Storage": 1,
    "QInt32Storage": 4,
}
"""Bytes of a value."""


def matches(path: Path) -> bool:
    """Whether a file is an archive with TorchScript's constants, whatever its extension."""
    return "constants.pkl" in torch_archive.names(path)


def load(request: LoadRequest) -> LoadedModel:
    """Return the archive's module, its weights on the device where they are to run."""
    path = request.path
    with torch_archive.opened(path) as opened:
        _check(opened)
        notes = (IN_TRAINING,) if _trains(opened) else ()
        module = _module(path, opened.copied(), request.device)
    preprocessing, note = assumed()
    return LoadedModel(
        path.stem, "torchscript", _SilencedModule(module), preprocessing, file_sha256(path), notes=(note, *notes)
    )


class _SilencedModule(nn.Module):
    """A TorchScript module that cannot write to the terminal: its `warnings.warn` can say whatever its author wants."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Any:
        """Run the module; raises RuntimeError with the reason alone, without the code in which it is."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.module(x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, torch.jit.Error) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise RuntimeError(lines[-1] if lines else "an error without text") from error


def _module(path: Path, copy: io.BytesIO, device: torch.device) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated; the user has the file all the same
            module: nn.Module = torch.jit.load(copy, map_location=device)
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{path} does not fit on {device}: free its memory or use another --device") from error
    except Exception as error:
        # TorchScript's errors share no base class; those of its operators are whatever they raise.
        raise CheckpointError(
            f"{path} cannot be loaded by torch {torch.__version__}, it may be damaged or of another version ({one_line(error)})"
        ) from error
    return module


def _trains(opened: Archive) -> bool:
    """Whether the code says itself, as traced code does, that dropout or batch statistics act; else model.eval() mends it."""
    names = [name for name in opened.sizes if name.startswith("code/") and name.endswith(".py")]
    return any(_acts_as_in_training(ast.parse(opened.read(name))) for name in names)


def _acts_as_in_training(tree: ast.AST) -> bool:
    # Within a function, `_0 = __torch__.torch.nn.functional.dropout` comes before its call.
    called: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for step in ast.walk(node):
                match step:
                    case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(attr=word)):
                        called[name] = word
        is_operator = False
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr=word), args=given):
                is_operator = True
            case ast.Call(func=ast.Name(id=name), args=given) if name in called:
                word = called[name]
            case _:
                continue
        constants = [argument.value if isinstance(argument, ast.Constant) else ... for argument in given]
        match constants:
            case [_, share, True, *_] if _DROPOUT.fullmatch(word) and share != 0:
                return True
            case [_, _, _, mean, _, True, *_] if is_operator and word == "batch_norm" and mean is not None:
                return True
            case [_, _, _, _, float(share), *_] if word == "scaled_dot_product_attention" and share > 0:
                return True
    return False


def _check(opened: Archive) -> None:
    for name in opened.sizes:
        is_code = name.startswith("code/") and name.endswith((".py", ".debug_pkl"))
        if not (is_code or name in _PICKLES + _FILES or (name.startswith(_FOLDERS) and not name.endswith(".so"))):
            raise _refused(opened.path, f"TorchScript writes no file {name!r}")
    if missing := [name for name in _PICKLES if name not in opened.sizes]:
        raise CheckpointError(
            f"{opened.path} is damaged or incomplete: it has no {missing[0]}; copy or download it again"
        )
    for name in opened.sizes:
        if name.startswith("code/") and name.endswith(".py"):
            for found in _forbidden(opened.path, name, opened.read(name)):
                raise _refused(opened.path, f"{name} names {found}")
    for name in _PICKLES:
        _check_pickle(opened, name)


def _forbidden(path: Path, name: str, source: bytes) -> Iterator[str]:
    """Yield what the code names and may not, each with the reason."""
    try:
        text = source.decode("ascii")
        if any(ord(character) < 32 and character != "\n" for character in text) or "# type:" in text:
            raise SyntaxError("a control character or a type comment")
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(path, f"{name} is not code as TorchScript writes it ({one_line(error)})") from error
    for root, words in _dotted(tree):
        match (root, *words):
            case ("ops", namespace, word, *_):
                reason = allowed_operators.reason_forbidden(namespace, word)
                if reason:
                    yield f"the operator {namespace}::{word}, which {reason}"
            case ("ops", *_) | ("__torch__",) | ("__torch__", "torch") | ("__torch__", "torch", "classes"):
                yield f"{'.'.join((root, *words))} and not what of it"
            case ("__torch__", "torch", "classes", namespace, *_) if namespace != "quantized":
                yield f"the class {'.'.join(words)}, which is code in C++"
            case (word,) if word in _NAMES:
                yield f"{word}, which is no computation"
        for word in words:
            # Any value's attribute can be an operator: x.save("file") is torch.save(x, "file").
            if root != "ops" and (reason := allowed_operators.reason_forbidden("aten", word)):
                yield f"{word}, which {reason}"


def _dotted(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every name with the attributes that follow it; of an expression's attributes the root is empty.

    getattr(x, "name") is an attribute like any other.
    """
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        words: list[str] = []
        while True:
            match node:
                case ast.Attribute(value=value, attr=word):
                    node = value
                case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(word)), *_]):
                    node = value
                case _:
                    break
            words.insert(0, word)
        if isinstance(node, ast.Name):
            yield node.id, tuple(words)
            continue
        if words:
            yield "", tuple(words)
        nodes.extend(ast.iter_child_nodes(node))


def _check_pickle(opened: Archive, name: str) -> None:
    try:
        _Reader(opened, name).load()
    except Exception as error:
        # Damaged pickles raise whatever the step raises that they damage.
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{opened.path} is damaged or incomplete: copy or download it again ({name}: {one_line(error)})"
        ) from error


class _Inert:
    """Stands in for every object of a pickle."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


@dataclass(frozen=True)
class _Storage:
    size: int
    """In bytes."""
    value: int
    """Bytes of one value."""


class _Reader(pickle.Unpickler):
    """Reads a pickle of an archive without building anything of it; raises CheckpointError for what TorchScript never writes."""

    def __init__(self, opened: Archive, name: str) -> None:
        super().__init__(io.BytesIO(opened.read(name)))
        self.opened = opened
        self.folder = name.removesuffix(".pkl") + "/"

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in."""
        is_script = module.startswith("__torch__") and not f"{module}.".startswith(_CLASSES)
        match module, name:
            case "collections", "OrderedDict":
                return dict
            case "torch._utils", "_rebuild_tensor_v2" | "_rebuild_qtensor":
                return self._tensor
            case "torch", _ if name in _VALUES:
                return name
            case ("torch", "device" | "per_tensor_affine" | "per_channel_affine") | ("torch.jit._pickle", _):
                return _Inert
            case _ if is_script or module == _QUANTIZED:
                return type(name, (_Inert,), {})
        raise _refused(self.opened.path, f"it holds an object of {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the place of a storage: pid is ("storage", kind, name of its file, device, number of values)."""
        _, kind, name, _, values = pid
        value = _VALUES[kind]
        size = self.opened.sizes.get(f"{self.folder}{name}")
        if size is None or values < 0 or values * value > size:
            raise ValueError(f"{self.folder}{name} holds {size} bytes, not {values * value}")
        return _Storage(size, value)

    def _tensor(self, storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> _Inert:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        outside = min((offset, *size, *stride)) < 0 or (0 not in size and (last + 1) * storage.value > storage.size)
        if outside:
            raise _refused(self.opened.path, "a tensor lies outside of the bytes that the file has for it")
        return _Inert()


def _refused(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} was refused, and nothing in it was run: {reason}; if you trust it, save its weights where it was made, "
        "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
    )
