"""h5wasm: the HDF5 library compiled to WebAssembly, in one node process for many reads."""

from __future__ import annotations

import atexit
import json
import select
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.readers.programs import brought
from tests.readers.protocol import (
    BASE_FILTERS,
    TIMEOUT_SECONDS,
    ReaderError,
    Values,
    compound_dtype,
    is_boolean,
)

SCRIPT = Path(__file__).with_name("h5wasm_read.mjs")
INTEGER, FLOAT, STRING, COMPOUND, ENUM = 0, 1, 3, 6, 8
SZIP = 4


class H5wasmReader:
    """h5wasm 0.10: HDF5 2.0 in node, with 4 GiB of address space."""

    name = "h5wasm"

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        atexit.register(self._stop)

    def version(self) -> str:
        return f"h5wasm {self._ask({})['version']}"

    def missing(self) -> str | None:
        if shutil.which("node") is None:
            return "node is not installed (apt-get install nodejs npm, then .ci/readers)"
        return None if package_folder() else "h5wasm is not installed (.ci/readers)"

    def refuses(self, dtype: np.dtype[Any], filter_ids: frozenset[int] = frozenset()) -> str | None:
        unknown = sorted(filter_ids - BASE_FILTERS - {SZIP})
        return f"h5wasm has no plugins: filters {unknown}" if unknown else None

    def read(self, path: Path, dataset: str) -> Values:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "values.bin")
            metadata = self._ask({"path": str(path), "dataset": dataset, "out": str(out)})["metadata"]
            content = out.read_bytes()
        shape = metadata["shape"]
        dtype = _dtype(metadata)
        return np.empty(0, dtype) if shape is None else np.frombuffer(content, dtype).reshape(shape)

    def attributes(self, path: Path, object_path: str) -> dict[str, Any]:
        found = self._ask({"path": str(path), "object": object_path})["attributes"]
        return {name: _attribute(one["metadata"], one["value"]) for name, one in found.items()}

    def _ask(self, request: dict[str, str]) -> dict[str, Any]:
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            is_ready, _, _ = select.select([process.stdout], [], [], TIMEOUT_SECONDS)
            line = process.stdout.readline() if is_ready else ""
        except BrokenPipeError:
            line = ""
        if not line:
            self._stop()
            raise ReaderError(f"h5wasm ended, or gave no answer within {TIMEOUT_SECONDS:g} s, to {request}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ReaderError(f"h5wasm: {answer['error']}")
        return answer

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["node", str(SCRIPT), str(package_folder())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # HDF5's error stack; the answer carries it too
            text=True,
        )

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


@cache
def package_folder() -> Path | None:
    """Return the folder of the npm package: below STREAMH5_NODE_MODULES or the checkout's .ci."""
    folder = brought("STREAMH5_NODE_MODULES", "node_modules") / "h5wasm"
    return folder if folder.is_dir() else None


def _dtype(metadata: dict[str, Any]) -> np.dtype[Any]:
    """Return the dtype of the values in memory; h5wasm has brought them to little-endian."""
    kind, nbytes = metadata["type"], metadata["size"]
    if kind == ENUM and is_boolean(metadata["enum_type"]["members"]):
        return np.dtype(np.bool_)
    if kind in (INTEGER, ENUM):
        return np.dtype(f"<{'i' if metadata['signed'] else 'u'}{nbytes}")
    if kind == FLOAT:
        return np.dtype(f"<f{nbytes}")
    if kind == STRING and not metadata["vlen"]:
        return np.dtype(f"S{nbytes}")
    if kind == COMPOUND:
        members = metadata["compound_type"]["members"]
        names, offsets = [m["name"] for m in members], [m["offset"] for m in members]
        compound: np.dtype[Any] = compound_dtype(names, [_dtype(m) for m in members], offsets, nbytes)
        return compound
    raise ReaderError(f"h5wasm: no numpy dtype for datatype class {kind}")


def _attribute(metadata: dict[str, Any], value: Any) -> Any:
    if metadata["shape"] is None:
        return np.empty(0, _dtype(metadata))
    is_text = metadata["type"] == STRING
    if is_text and not metadata["shape"]:
        return value
    if is_text:
        return np.array(value, object).reshape(metadata["shape"])
    dtype = _dtype(metadata)
    if dtype.kind in "iu":
        value = np.array([int(v) for v in value]) if isinstance(value, list) else int(value)
    if dtype.kind == "c":
        pairs = value if metadata["shape"] else [value]
        value = np.array([complex(*pair) for pair in pairs])
    found = np.array(value, dtype).reshape(metadata["shape"])
    return found[()] if found.ndim == 0 else found
