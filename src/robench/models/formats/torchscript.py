"""Read TorchScript archives, which hold code and weights, after a check of their code.

Loading such an archive runs its code (`__setstate__` of its classes), and the language has operators that write files. These checks
come before torch sees the file:

- Every code file is parsed, and may name only the operators of `allowed_operators`, by any syntax of the language.
- Classes in C++ are refused, except for quantized weights.
- A reader that builds no objects reads the pickles. It also checks that every tensor is inside the bytes that the file has for it.
  Older versions of torch do not check this.

TorchScript's lexer and Python's agree on plain ASCII without control characters (torch/csrc/jit/frontend/lexer.h), so other code is
refused. A model can still compute endlessly, which the sandbox detects.
"""

from __future__ import annotations

import ast
import hashlib
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
from robench.models.checkpoints.torch_archive import Archive
from robench.models.class_names import class_names_in_extras
from robench.models.formats.allowed_operators import reason_forbidden
from robench.models.formats.base import COPY_AGAIN, REFUSED, TRAINING_MODE_NOTE, LoadedModel, LoadRequest
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
"""Members next to the pickles. The lite interpreter and tracing write some that torch.jit.load does not read."""
_FOLDERS = ("data/", "constants/", "extra/", ".data/", "traced_inputs/", "bytecode/")
_CLASSES = "__torch__.torch.classes."
_QUANTIZED = f"{_CLASSES}quantized"
_NAMES = ("print", "rpc_async", "rpc_sync", "rpc_remote", "eval", "exec", "open", "__import__")
"""Names of the language that no classifier needs, because they act outside of the model."""
_ERROR = re.compile(r"[\w.]*(Error|Exception): ", re.ASCII)
"""Start of the reason, at the end of TorchScript's traceback."""
_DROPOUT = re.compile(r"[a-z_]*dropout(\dd)?_?")
_VALUE_BYTES = {
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


def matches(path: Path) -> bool:
    """Return whether a file is an archive with TorchScript's constants, whatever its extension."""
    return "constants.pkl" in torch_archive.names(path)


def load(request: LoadRequest) -> LoadedModel:
    """Load the archive's module, with its weights on the requested device."""
    path, content = request.path, request.read()
    with torch_archive.opened(path, content) as archive:
        _check(archive)
        notes = (TRAINING_MODE_NOTE,) if _acts_as_in_training(archive) else ()
        module = _module(path, archive.copied(), request.device)
        names = class_names_in_extras(archive)
    preprocessing, note = assumed()
    sha256 = hashlib.sha256(content).hexdigest()
    silenced, notes = _SilencedModule(module), (note, *notes)
    return LoadedModel(path.stem, "torchscript", silenced, preprocessing, sha256, class_names=names, notes=notes)


class _SilencedModule(nn.Module):
    """A TorchScript module whose warnings do not reach the terminal, because its author chooses their text."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Any:
        """Run the module; raise RuntimeError with the reason alone, without the code around it."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.module(x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, torch.jit.Error) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            first = max((index for index, line in enumerate(lines) if _ERROR.match(line)), default=len(lines) - 1)
            reason = _ERROR.sub("", " ".join(lines[first:]), count=1)
            raise RuntimeError(reason or "an error without text") from error


def _module(path: Path, copy: io.BytesIO, device: torch.device) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, but the user already has the file.
            module: nn.Module = torch.jit.load(copy, map_location=device)
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{path} does not fit on {device}", "free its memory or use another --device") from error
    except Exception as error:
        # TorchScript's errors share no base class, and its operators raise any class.
        raise CheckpointError(
            f"torch {torch.__version__} cannot load {path} ({one_line(error)})",
            "check that it is not damaged or of another version",
        ) from error
    return module


def _code_files(archive: Archive) -> list[str]:
    return [name for name in archive.sizes if name.startswith("code/") and name.endswith(".py")]


def _acts_as_in_training(archive: Archive) -> bool:
    """Return whether constants in the code, as traced code has them, activate dropout or batch statistics despite model.eval()."""
    return any(_has_training_call(ast.parse(archive.read(name))) for name in _code_files(archive))


def _has_training_call(tree: ast.AST) -> bool:
    # Within a function, `_0 = __torch__.torch.nn.functional.dropout` comes before its call.
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for statement in ast.walk(node):
                match statement:
                    case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(attr=word)):
                        aliases[name] = word
        is_operator = False
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr=word), args=arguments):
                is_operator = True
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in aliases:
                word = aliases[name]
            case _:
                continue
        constants = [argument.value if isinstance(argument, ast.Constant) else ... for argument in arguments]
        match constants:
            case [_, rate, True, *_] if _DROPOUT.fullmatch(word) and rate != 0:
                return True
            case [_, _, _, mean, _, True, *_] if is_operator and word == "batch_norm" and mean is not None:
                return True
            case [_, _, _, _, float(rate), *_] if word == "scaled_dot_product_attention" and rate > 0:
                return True
    return False


def _check(archive: Archive) -> None:
    for name in archive.sizes:
        is_code = name.startswith("code/") and name.endswith((".py", ".debug_pkl"))
        if not (is_code or name in _PICKLES + _FILES or (name.startswith(_FOLDERS) and not name.endswith(".so"))):
            raise _refused(archive.path, f"TorchScript writes no file {name!r}")
    if missing := [name for name in _PICKLES if name not in archive.sizes]:
        raise CheckpointError(f"{archive.path} is damaged or incomplete: it has no {missing[0]}", COPY_AGAIN)
    for name in _code_files(archive):
        for reason in _forbidden(archive.path, name, archive.read(name)):
            raise _refused(archive.path, f"{name} names {reason}")
    for name in _PICKLES:
        _check_pickle(archive, name)


def _forbidden(path: Path, name: str, source: bytes) -> Iterator[str]:
    """Yield the forbidden names in the code, each with the reason."""
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
                if reason := reason_forbidden(namespace, word):
                    yield f"the operator {namespace}::{word}, which {reason}"
            case ("ops", *_) | ("__torch__",) | ("__torch__", "torch") | ("__torch__", "torch", "classes"):
                yield f"{'.'.join((root, *words))} without a member of it"
            case ("__torch__", "torch", "classes", namespace, *_) if namespace != "quantized":
                yield f"the class {'.'.join(words)}, which is code in C++"
            case (word,) if word in _NAMES:
                yield f"{word}, which is no computation"
        for word in words:
            # Any value's attribute can be an operator: x.save("file") is torch.save(x, "file").
            if root != "ops" and (reason := reason_forbidden("aten", word)):
                yield f"{word}, which {reason}"


def _dotted(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every name with its attributes, getattr(x, "name") included; the root of an expression's attributes is empty."""
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


def _check_pickle(archive: Archive, name: str) -> None:
    try:
        _InertUnpickler(archive, name).load()
    except CheckpointError:
        raise
    except Exception as error:
        # A damaged pickle raises any error of the step that is damaged.
        raise CheckpointError(
            f"{archive.path} is damaged or incomplete ({name}: {one_line(error)})", COPY_AGAIN
        ) from error


class _Inert:
    """Placeholder of every object of a pickle."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


@dataclass(frozen=True)
class _Storage:
    """Memory of tensors.

    Attributes:
        size: Bytes of all values.
        value_size: Bytes of one value.
    """

    size: int
    value_size: int


class _InertUnpickler(pickle.Unpickler):
    """Read a pickle of an archive without building its objects; raise CheckpointError for anything that TorchScript never writes."""

    def __init__(self, archive: Archive, name: str) -> None:
        super().__init__(io.BytesIO(archive.read(name)))
        self.archive = archive
        self.folder = name.removesuffix(".pkl") + "/"

    def find_class(self, module: str, name: str) -> Any:
        """Return a placeholder."""
        is_script = module.startswith("__torch__") and not f"{module}.".startswith(_CLASSES)
        match module, name:
            case "collections", "OrderedDict":
                return dict
            case "torch._utils", "_rebuild_tensor_v2" | "_rebuild_qtensor":
                return self._tensor
            case "torch", _ if name in _VALUE_BYTES:
                return name
            case ("torch", "device" | "per_tensor_affine" | "per_channel_affine") | ("torch.jit._pickle", _):
                return _Inert
            case _ if is_script or module == _QUANTIZED:
                return type(name, (_Inert,), {})
        raise _refused(self.archive.path, f"it holds an object of {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """Return a storage; pid is ("storage", type, name of its file, device, number of values)."""
        _, storage_type, name, _, values = pid
        value_size = _VALUE_BYTES[storage_type]
        size = self.archive.sizes.get(f"{self.folder}{name}")
        if size is None or values < 0 or values * value_size > size:
            raise ValueError(f"{self.folder}{name} holds {size} bytes, not {values * value_size}")
        return _Storage(size, value_size)

    def _tensor(self, storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> _Inert:
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if min((offset, *size, *stride)) < 0 or (0 not in size and (last + 1) * storage.value_size > storage.size):
            raise _refused(self.archive.path, "a tensor is outside of the bytes that the file has for it")
        return _Inert()


def _refused(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} {REFUSED}: {reason}",
        "if you trust it, save its weights where it was made, torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')",
    )
