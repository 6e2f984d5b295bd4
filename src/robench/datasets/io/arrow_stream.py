"""The index of an Arrow stream: its schema, and the position of each record batch.

Arrow reads a message of any length, and decompresses its buffers to any size, before it checks them. The index therefore reads
the metadata of the messages itself, which are flatbuffers, and refuses compressed buffers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from robench.datasets.byte_sizes import format_bytes
from robench.datasets.io.bounded import IMAGE_BYTES, IMAGES, REDOWNLOAD, open_regular, os_error
from robench.errors import DatasetError

__all__ = ["Batch", "stream_index"]

_METADATA_BYTES = 2**24
_BATCHES = 1_000_000
_CONTINUATION = b"\xff\xff\xff\xff"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
"""Types of messages."""
_TYPE, _HEADER, _BODY = 1, 2, 3
"""Fields of a message."""
_ROWS, _COMPRESSION = 0, 3
"""Fields of a record batch."""


@dataclass(frozen=True)
class Batch:
    """A record batch in a stream.

    Attributes:
        offset: Position of its message in the file, in bytes.
        size: Length of its message in bytes.
        rows: Number of its rows.
    """

    offset: int
    size: int
    rows: int


def stream_index(path: Path) -> tuple[bytes, list[Batch]]:
    """Return the message of the schema, and the record batches.

    Raises:
        DatasetError: The file is no Arrow stream, is damaged, or has dictionaries or compressed batches.
    """
    try:
        with open_regular(path) as (file, size):
            schema, batches, offset = b"", list[Batch](), 0
            while offset + 8 <= size:
                file.seek(offset)
                start = file.read(8)
                length = int.from_bytes(start[4:], "little")
                if not start.startswith(_CONTINUATION):
                    raise ValueError("it is no Arrow stream" if not offset else "a message has no start")
                if length == 0:
                    break
                if length > _METADATA_BYTES or len(batches) == _BATCHES:
                    raise ValueError("its description is too large")
                message = _Table.root(file.read(length))
                body = message.number(_BODY, "<q")
                end = offset + 8 + length + body
                if body < 0 or end > size:
                    raise ValueError("it is cut off")
                match message.number(_TYPE, "<B"):
                    case kind if kind == _SCHEMA and not schema:
                        file.seek(offset)
                        schema = file.read(8 + length)
                    case kind if kind == _BATCH and schema:
                        batches.append(_batch(path, offset, end - offset, message.table(_HEADER)))
                    case kind if kind == _DICTIONARY:
                        raise DatasetError(f"{path} has dictionaries of values", "save plain values")
                    case kind:
                        raise ValueError(f"a message has the type {kind}")
                offset = end
    except OSError as error:
        raise os_error(path, error) from error
    except (ValueError, struct.error) as error:
        reason = "it is damaged" if isinstance(error, struct.error) else str(error)
        raise DatasetError(f"{path} cannot be read as Arrow ({reason})", REDOWNLOAD) from error
    if not schema:
        raise DatasetError(f"{path} is an empty Arrow stream", REDOWNLOAD)
    if sum(batch.rows for batch in batches) > IMAGES:
        raise DatasetError(f"{path} claims more than {IMAGES} rows", REDOWNLOAD)
    return schema, batches


def _batch(path: Path, offset: int, size: int, header: _Table) -> Batch:
    if header.position(_COMPRESSION):
        raise DatasetError(f"{path} has compressed record batches", "save it again without compression")
    if size > IMAGE_BYTES:
        raise DatasetError(
            f"{path} has a record batch of {format_bytes(size)}, more than the limit of {format_bytes(IMAGE_BYTES)}",
            "save it again with smaller batches",
        )
    rows = header.number(_ROWS, "<q")
    if rows < 0:
        raise ValueError("a batch has a negative number of rows")
    return Batch(offset, size, rows)


@dataclass(frozen=True)
class _Table:
    """A table of a flatbuffer: its fields lie where its virtual table says."""

    data: bytes
    start: int

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, *struct.unpack_from("<I", data, 0))

    def position(self, field: int) -> int:
        """Return the position of a field; 0 if it is absent."""
        fields = self.start - self._read("<i", self.start)
        if 4 + 2 * field >= self._read("<H", fields):
            return 0
        offset = self._read("<H", fields + 4 + 2 * field)
        return self.start + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        """Return a field that is a number; 0 if it is absent."""
        position = self.position(field)
        return self._read(kind, position) if position else 0

    def table(self, field: int) -> _Table:
        """Return a field that is a table."""
        position = self.position(field)
        return _Table(self.data, position + self._read("<I", position))

    def _read(self, kind: str, position: int) -> int:
        if position < 0:  # struct counts a negative position from the end.
            raise ValueError("it is damaged")
        (number,) = struct.unpack_from(kind, self.data, position)
        return int(number)
