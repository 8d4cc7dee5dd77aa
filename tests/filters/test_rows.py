"""Every row of the registry is whole, and everybody who knows filters knows them from their rows."""

from __future__ import annotations

import importlib
import inspect
import io
import pickle
import pkgutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers its filters with h5py
import numcodecs
import numpy as np
import pytest

import streamh5
import streamh5.filters
from streamh5.conversion.request import NotCopiable
from streamh5.conversion.zarr.codecs import stored_layout
from streamh5.errors import FilterError, FormatError, ReferencesError
from streamh5.filters import FilterChain, FilterOptions, available
from streamh5.filters.base import FilterRow, RawChunk
from streamh5.filters.chunk_decoder import chunk_decoder
from streamh5.filters.registry import FILTERS, filter_name, set_up_filter
from streamh5.netcdf.storage import read_filters
from streamh5.references.zarr_elements import numcodecs_filters
from tests.deadlock import DEADLOCK_SECONDS

SHAPE = (64, 32)
VALUES = (np.arange(64 * 32) // 7 % 100).astype("<f4").reshape(SHAPE)
CHUNK = RawChunk(VALUES.dtype, SHAPE, VALUES.nbytes)

every_row = pytest.mark.parametrize("row", FILTERS, ids=lambda row: row.keyword)


def chain_of(row: FilterRow) -> FilterChain:
    return FilterChain((set_up_filter(row.filter_id, row.example, CHUNK),), CHUNK.nbytes)


def stored_by(chain: FilterChain) -> bytes:
    return bytes(chain.encode_rows(VALUES.reshape(1, -1).view(np.uint8)).buffers[0])


def keywords_of(row: FilterRow) -> dict[str, Any]:
    """Keywords of h5py for the example of a row."""
    if row.is_compression:
        return {"compression": {"compression": row.filter_id, "compression_opts": row.example}}
    return {row.keyword: row.example[-1] if row.example else True}


def test_every_module_that_has_a_row_stands_in_the_registry_once() -> None:
    names = [one.name for one in pkgutil.iter_modules(streamh5.filters.__path__)]
    modules = [importlib.import_module(f"streamh5.filters.{name}") for name in names]
    rows = [module.ROW for module in modules if hasattr(module, "ROW")]
    assert sorted(row.filter_id for row in rows) == [row.filter_id for row in FILTERS]
    words = [word for row in FILTERS for word in (row.keyword, *row.aliases)]
    assert len(set(words)) == len(words)
    codecs = [codec.name for row in FILTERS for codec in row.zarr]
    assert len(set(codecs)) == len(codecs)


@every_row
def test_row_holds_both_halves_in_one_module(row: FilterRow) -> None:
    home = inspect.getmodule(row.set_up)
    assert home is not None
    assert home.ROW is row
    for function in (row.decode, row.decoded_nbytes, row.numcodecs, row.options):
        assert function is None or inspect.getmodule(function) is home
    assert row.is_compression or not (row.aliases or row.default_values or row.netcdf)
    assert all(
        0 <= value < 1 << 32 for value in set_up_filter(row.filter_id, row.example, CHUNK).client_values
    )


@every_row
def test_keyword_and_number_of_a_row_give_its_filter(row: FilterRow) -> None:
    chain = FilterOptions(**keywords_of(row)).chain(CHUNK.dtype, CHUNK.nbytes, chunks=SHAPE)
    assert chain == chain_of(row)
    for word in (row.keyword, *row.aliases) if row.is_compression else ():
        found = FilterOptions(compression=word).chain(CHUNK.dtype, CHUNK.nbytes, chunks=SHAPE)
        assert [one.filter_id for one in found.filters] == [row.filter_id]


@every_row
def test_h5py_reads_what_a_row_encodes_with_changes_only_where_it_says_so(row: FilterRow) -> None:
    """The example of a lossy filter may be one of its exact modes."""
    chain = chain_of(row)
    (record,) = chain.records
    file_bytes = io.BytesIO()
    with h5py.File(file_bytes, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(SHAPE)
        plist.set_filter(row.filter_id, record.flags, row.example)  # the library completes the values
        space, kind = h5py.h5s.create_simple(SHAPE), h5py.h5t.py_create(CHUNK.dtype)
        dataset = h5py.h5d.create(file.id, b"x", kind, space, plist)
        dataset.write_direct_chunk((0, 0), stored_by(chain))
    with h5py.File(file_bytes, "r") as file:
        np.testing.assert_allclose(file["x"][()], VALUES, rtol=0, atol=1e-3 if row.is_lossy else 0)
        assert (file["x"].compression == row.keyword) == row.is_named_by_h5py


@every_row
def test_decoder_of_a_row_undoes_its_encoder_and_refuses_what_is_cut(row: FilterRow) -> None:
    chain = chain_of(row)
    stored = stored_by(chain)
    assert chunk_decoder(chain.records, 0, CHUNK.nbytes).is_checksummed == row.is_checksummed
    assert not chunk_decoder(chain.records, 1, CHUNK.nbytes).is_checksummed
    if row.decode is None:
        assert chunk_decoder(chain.records, 0, CHUNK.nbytes).unknown_filters == (row.filter_id,)
        with pytest.raises(FilterError, match=str(row.filter_id)):
            chain.decode(stored)
        return
    assert bytes(chain.decode(stored)) == VALUES.tobytes()
    assert chain.decode(VALUES.tobytes(), 1) == VALUES.tobytes()
    chunk_decoder(chain.records, 0, CHUNK.nbytes).check(stored)
    for damaged in (stored[:-1], stored + b"\0", b""):
        with pytest.raises(FormatError):
            chain.decode(damaged)
    if row.is_checksummed:
        for i in range(0, len(stored), 5):
            with suppress(FormatError):  # bits of padding do not matter
                changed = chain.decode(stored[:i] + bytes((stored[i] ^ 8,)) + stored[i + 1 :])
                assert bytes(changed) == VALUES.tobytes()


@every_row
def test_available_and_inspect_name_a_row_by_its_keyword(row: FilterRow, tmp_path: Path) -> None:
    (found,) = [one for one in available() if one.filter_id == row.filter_id]
    assert (found.keyword, found.is_writable) == (row.keyword, True)
    assert filter_name(chain_of(row).records[0]) == row.keyword
    with streamh5.File(tmp_path / "a.h5") as file:
        dataset = file.create_dataset("x", data=VALUES, chunks=SHAPE, **keywords_of(row))
        others = None if row.keyword in ("shuffle", "fletcher32", "scaleoffset") else "unknown"
        assert dataset.compression == (row.keyword if row.is_named_by_h5py else others)
    (inspected,) = streamh5.inspect(tmp_path / "a.h5").datasets
    assert inspected.filters[0].split("(")[0] == row.keyword


@every_row
def test_numcodecs_decodes_what_a_row_stores(row: FilterRow) -> None:
    chain = chain_of(row)
    if row.numcodecs is None:
        with pytest.raises(ReferencesError, match=row.keyword):
            numcodecs_filters(chain.records, path="/x")
        return
    (configuration,) = numcodecs_filters(chain.records, path="/x")
    decoded = numcodecs.get_codec(configuration).decode(stored_by(chain))
    assert bytes(memoryview(decoded).cast("B")) == VALUES.tobytes()


@every_row
def test_zarr_codecs_of_a_row_are_copied_into_its_filter(row: FilterRow) -> None:
    configurations: dict[str, dict[str, Any]] = {
        "blosc": {"cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0},
        "shuffle": {"elementsize": 4},
    }
    metadata = {"zarr_format": 2, "chunks": list(SHAPE), "order": "C", "filters": None}
    for codec in row.zarr:
        configuration = {"id": codec.name, **configurations.get(codec.name, {})}
        layout = stored_layout({**metadata, "compressor": configuration}, CHUNK.dtype)
        assert [one.filter_id for one in layout.chain.filters] == [row.filter_id]
        theirs = bytes(numcodecs.get_codec(configuration).encode(VALUES))
        taken = layout.accept(theirs)
        assert taken is not None
        assert bytes(layout.chain.decode(bytes(taken))) == VALUES.tobytes()
    if not row.zarr:
        with pytest.raises(NotCopiable):
            stored_layout({**metadata, "compressor": {"id": row.keyword}}, CHUNK.dtype)


@every_row
def test_netcdf_words_of_a_row_give_its_filter(row: FilterRow) -> None:
    words = row.netcdf
    if words is None:
        return
    asked: list[dict[str, Any]] = [{"compression": name} for name in words.names]
    for encoding in ({words.flag: True}, *asked):
        storage = read_filters(encoding, path="/x")
        chain = FilterOptions(
            compression=storage.compression, compression_opts=storage.compression_opts
        ).chain(CHUNK.dtype, CHUNK.nbytes, chunks=SHAPE)
        assert [one.filter_id for one in chain.filters] == [row.filter_id]


def test_chain_is_small_and_works_in_another_process(tmp_path: Path) -> None:
    chain = FilterOptions(compression="gzip", shuffle=True, fletcher32=True).chain(CHUNK.dtype, CHUNK.nbytes)
    sent = pickle.dumps(chain)
    assert len(sent) < 1000
    (tmp_path / "chain").write_bytes(sent)
    np.save(tmp_path / "rows.npy", VALUES.reshape(1, -1).view(np.uint8))
    script = (
        "import pickle, sys, numpy\n"
        "chain = pickle.load(open('chain', 'rb'))\n"
        "assert pickle.dumps(chain) == open('chain', 'rb').read()\n"
        "sys.stdout.buffer.write(bytes(chain.encode_rows(numpy.load('rows.npy')).buffers[0]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(streamh5.__file__).parents[1])},
        capture_output=True,
        timeout=DEADLOCK_SECONDS,
        check=True,
    )
    assert done.stdout == stored_by(chain)
    file_bytes = io.BytesIO()
    with h5py.File(file_bytes, "w") as file:
        dataset = file.create_dataset(
            "x", SHAPE, CHUNK.dtype, chunks=SHAPE, compression="gzip", shuffle=True, fletcher32=True
        )
        dataset.id.write_direct_chunk((0, 0), done.stdout)
    with h5py.File(file_bytes, "r") as file:
        np.testing.assert_array_equal(file["x"][()], VALUES)


def test_chain_of_any_filter_is_small_when_pickled() -> None:
    for row in FILTERS:
        assert len(pickle.dumps(chain_of(row))) < 1000
        assert pickle.loads(pickle.dumps(chain_of(row))) == chain_of(row)
