"""The blocks of a conversion, written in memory: in this process, or in another one in which their pickle arrives."""

from __future__ import annotations

import itertools
import os
import pickle
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamh5.conversion.plan import ConversionPlan
from streamh5.dask.graph import Target
from streamh5.dask.stored_chunks import CopyCounts
from streamh5.errors import FilterError, FormatError
from streamh5.filters import FilterChain
from streamh5.model.chunk_records import ChunkRecords
from streamh5.write.chunk_writer import ChunkWriter, EncodedChunks
from streamh5.write.place import Place
from tests.conversion.zarr.stores import field as zarr_field

Result = tuple[CopyCounts, list[tuple[int, int, bytes]], bytes]
"""Counts; number, filter mask and bytes of each chunk, decoded if possible; what else was stored, as in the heap."""


@dataclass
class MemoryWriter:
    """A `BlockWriter` that stores in memory."""

    writer: ChunkWriter
    content: bytearray = field(default_factory=bytearray)

    @property
    def place(self) -> Place:
        return Place(self.reserve, self.write)

    def reserve(self, nbytes: int) -> int:
        self.content += bytes(nbytes)
        return len(self.content) - nbytes

    def write(self, address: int, buffers: Any) -> None:
        data = b"".join(bytes(one) for one in buffers)
        self.content[address : address + len(data)] = data

    def are_stored(self, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return np.zeros(len(numbers), bool)

    def write_encoded(self, encoded: EncodedChunks) -> ChunkRecords:
        return self.writer.write(encoded, self.place)

    def write_block(self, block: Any, origin: tuple[int, ...]) -> ChunkRecords:
        values = np.asarray(block)
        self.writer.check(values, origin)
        raws = self.writer.split(self.writer.elements(values, self.place), origin, self.place)
        return np.concatenate([self.writer.write(self.writer.encode(raw), self.place) for raw in raws])


def write_target(target: Target, chain: FilterChain) -> Result:
    """Write all blocks of a target in memory."""
    writer = MemoryWriter(ChunkWriter(target.spec, chain))
    counts, parts = CopyCounts(), []
    starts = [list(accumulate(extents, initial=0)) for extents in target.array.chunks]
    for block in itertools.product(*(range(len(one) - 1) for one in starts)):
        origin = tuple(one[i] for one, i in zip(starts, block, strict=True))
        shape = tuple(one[i + 1] - one[i] for one, i in zip(starts, block, strict=True))
        if target.copy is None:
            values = target.array.blocks[block].compute(scheduler="synchronous")
            parts.append(writer.write_block(values, origin))
        else:
            records, more = target.copy(writer, origin, shape)
            parts.append(records)
            counts += more
    chunks, beside, end = [], b"", 0
    for one in sorted((one for part in parts for one in part), key=lambda one: int(one["address"])):
        start, mask = int(one["address"]), int(one["filter_mask"])
        stop = start + int(one["stored_nbytes"])
        chunks.append((int(one["number"]), mask, comparable(bytes(writer.content[start:stop]), mask, chain)))
        beside, end = beside + writer.content[end:start], stop
    return counts, sorted(chunks), bytes(beside + writer.content[end:])


def comparable(stored: bytes, mask: int, chain: FilterChain) -> bytes:
    """Decode a chunk; one that was copied may have other filters, and is compared as it is stored.

    ISA-L was once seen to encode the same chunk of 48 bytes in two ways in two processes.
    """
    try:
        return bytes(chain.decode(stored, mask))
    except (FilterError, FormatError):
        return stored


def write_here(plan: ConversionPlan) -> list[Result]:
    """Write all targets of a plan in this process."""
    return [write_target(target, one.dataset.chain) for one in plan.arrays for target in one.targets()]


def leave_for_root() -> None:
    """Begin another process: with another working directory, so that relative paths lead elsewhere."""
    os.chdir("/")


def write_pickled(path: Path) -> list[Result]:
    """Write the targets in a file that holds a pickle of them and their filters."""
    return [write_target(target, chain) for target, chain in pickle.loads(path.read_bytes())]


def write_zoo_of_sources(path: Path) -> None:
    """Write a file with datasets of every kind that is read in another way, and files beside it that they refer to."""
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "x", data=random.integers(0, 9, (100, 70)), chunks=(30, 20), compression="gzip", shuffle=True
        )
        sparse = file.create_dataset("sparse", (1000, 70), ">i4", chunks=(30, 20), compression="gzip")
        sparse[500:510, 0:10] = 7
        file.create_dataset("contiguous", data=random.normal(size=(300, 100)))
        file.create_dataset("texts", data=np.array(["x", "", "yé"] * 20, object), chunks=(7,))
        external = file.create_dataset(
            "external", (30000,), "i4", external=[(path.with_suffix(".bin"), 0, 120_000)]
        )
        external[:] = np.arange(30000)
        layout = h5py.VirtualLayout((40, 10), "i4")
        for i in range(2):
            with h5py.File(path.parent / f"part{i}.h5", "w") as part:
                part["x"] = np.full((20, 10), i)
            layout[20 * i : 20 * i + 20] = h5py.VirtualSource(f"part{i}.h5", "x", (20, 10))
        file.create_virtual_dataset("virtual", layout, fillvalue=-1)


def write_damaged(path: Path) -> None:
    """Write an HDF5 file whose fourth chunk of ``/x`` cannot be decompressed."""
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x", data=zarr_field((64, 64)), chunks=(8, 64), compression="gzip")
        place = x.id.get_chunk_info(3).byte_offset
    with open(path, "r+b") as damaged:
        damaged.seek(place)
        damaged.write(b"\xff" * 16)
