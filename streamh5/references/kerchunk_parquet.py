"""References in kerchunk's Parquet format, which fsspec's `LazyReferenceMapper` reads.

The format is a directory::

    .zmetadata           all of zarr's metadata, and the number of rows in a record
    NAME/refs.K.parq     record K of an array: row i is chunk K * record_size + i of the grid, in row-major order

The path of a missing chunk is None. The files are written with pyarrow, not with pandas: pandas would read None back
as NaN, and fsspec would look for a file of that name.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamh5.errors import MissingCodecError
from streamh5.references.kerchunk import consolidated, metadata_entries

if TYPE_CHECKING:
    from streamh5.references.zarr_array import ZarrArray


RECORD_SIZE = 100_000
"""Chunks in one Parquet file (kerchunk's default): a reader fetches one file to find a chunk."""


def check_pyarrow() -> None:
    """Raise an error if pyarrow is missing.

    Raises
    ------
    MissingCodecError
        pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - only to see whether it is installed
    except ImportError as error:
        raise MissingCodecError(
            "references in Parquet files need pyarrow: pip install 'streamh5[references]', or write JSON"
        ) from error


def write_parquet(
    folder: Path, groups: dict[str, dict[str, Any]], arrays: list[ZarrArray], *, record_size: int
) -> None:
    """Write the references into an existing, empty directory."""
    _, inside = next(consolidated(metadata_entries(groups, arrays), ["/"]))
    metadata = {**inside, "record_size": record_size}
    (folder / ".zmetadata").write_text(json.dumps(metadata, ensure_ascii=False), encoding="utf-8")
    for array in arrays:
        below = folder / array.path.strip("/")
        below.mkdir(parents=True, exist_ok=True)
        if array.content is not None:
            _write_content(below, array.content)
        else:
            _write_chunks(below, array, record_size)


def _write_content(folder: Path, content: bytes) -> None:
    import pyarrow as pa

    _write(folder / "refs.0.parq", pa.table({"raw": pa.array([content], pa.binary())}))


def _write_chunks(folder: Path, array: ZarrArray, record_size: int) -> None:
    """Write one row for each chunk of the grid, including missing ones, record by record.

    Records without any stored chunk are omitted, except the first one: fsspec treats their chunks as missing.
    """
    import pyarrow as pa

    manifest = array.manifest
    n_chunks = math.prod(manifest.grid)
    order = np.argsort(manifest.numbers) if np.any(np.diff(manifest.numbers) < 0) else slice(None)
    numbers, offsets, lengths = (
        column[order] for column in (manifest.numbers, manifest.offsets, manifest.lengths)
    )
    records = np.unique(numbers // record_size).tolist()
    for record in records if 0 in records or not n_chunks else [0, *records]:
        first = record * record_size
        n_rows = min(record_size, n_chunks - first)
        part = slice(*np.searchsorted(numbers, (first, first + n_rows)).tolist())
        rows = numbers[part] - first
        columns = np.zeros((2, n_rows), np.int64)
        columns[0, rows] = offsets[part]
        columns[1, rows] = lengths[part]
        is_missing = np.ones(n_rows, np.bool_)
        is_missing[rows] = False
        path = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(n_rows, np.int32), mask=is_missing), pa.array([manifest.url])
        )
        table = pa.table({"path": path, "offset": columns[0], "size": columns[1]})
        _write(folder / f"refs.{record}.parq", table)


def _write(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    # without Arrow's schema, only plain Parquet types remain, which fastparquet reads, too
    pq.write_table(table, path, compression="zstd", store_schema=False)
