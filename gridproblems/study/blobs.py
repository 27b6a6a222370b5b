"""Arrays and vectors of a run as bytes; nothing is unpacked before its size is known."""

from __future__ import annotations

import io
import json
import math
import struct
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Most that one array of a run may take when it is unpacked. [bytes]
MOST_BYTES = 2**28
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, EOFError, SyntaxError,
    NotImplementedError, RuntimeError, KeyError, OverflowError, MemoryError, TypeError, OSError,
)  # fmt: skip


def to_blob(values: NDArray[Any] | list[dict[str, Any]]) -> bytes:
    """An array as compressed npz, dicts of variables as JSON.

    Raises:
        ValueError: A variable is no plain value.
    """
    if isinstance(values, list):
        return json.dumps(values, default=_plain).encode()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.asarray(values))
    return buffer.getvalue()


def from_blob(blob: bytes) -> Any:
    """The inverse of `to_blob`, for bytes that anybody may have written.

    Raises:
        ValueError: The bytes are nothing that `to_blob` makes, or would take more than
            `MOST_BYTES`.
    """
    try:
        return _array(blob) if blob.startswith(b"PK") else _dicts(blob)
    except (ValueError, *_DAMAGED) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"stored values cannot be read: {reason}") from error


def vector_key(x: Any) -> str:
    """One vector, or one dict of variables, as text."""
    return json.dumps(x if isinstance(x, dict) else np.asarray(x).tolist(), default=_plain)


def _array(blob: bytes) -> NDArray[Any]:
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        members = archive.infolist()
        if [member.filename for member in members] != ["a.npy"] or members[0].compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise ValueError("expected one array")
        with archive.open(members[0]) as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read is None:
                raise ValueError(f"array of version {version}")
            shape, is_fortran, dtype = read(file)
            if dtype.kind not in "fiub" or min(shape, default=0) < 0:
                raise ValueError(f"array of {dtype}, {shape}")
            size = math.prod(shape) * dtype.itemsize
            _check_size(size)
            data = file.read(size + 1)
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes where {size} are told")
    array = np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if is_fortran else "C")
    return array.copy()


def _dicts(blob: bytes) -> list[dict[str, Any]]:
    _check_size(8 * len(blob))
    try:
        values = json.loads(blob)
    except RecursionError as error:
        raise ValueError("too deep") from error
    plain = (bool, int, float, str)
    if not isinstance(values, list) or not all(
        isinstance(x, dict) and all(isinstance(v, plain) for v in x.values()) for x in values
    ):
        raise ValueError("expected a list of variables by name")
    return values


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise ValueError(f"they would take {size:,} bytes, more than {MOST_BYTES:,}")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"expected plain values as variables, got {value!r}")
