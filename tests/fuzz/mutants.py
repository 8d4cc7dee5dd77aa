"""Mutants of seeds: the same number makes the same mutant."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from streamh5.errors import FormatError
from streamh5.format.checksum import lookup3
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_content import read_file_content
from streamh5.reader.file_map import Kind

INTERESTING = (
    0,
    1,
    2,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)


def make_mutant(seeds: list[Path], number: int, folder: Path) -> Path:
    """Make mutant `number` of the seeds of a kind in an empty folder: one file changed, one to three times."""
    chance = random.Random(number)
    seed = seeds[number % len(seeds)]
    metadata: list[Path] = []
    if seed.is_dir():
        changed = folder / seed.name
        shutil.copytree(seed, changed)
        files = sorted(one for one in changed.rglob("*") if one.is_file())
        metadata = [one for one in files if one.suffix in (".json", ".journal") or one.name.startswith(".z")]
        file = chance.choice(metadata if metadata and chance.random() < 0.7 else files)
    else:
        changed = file = folder / seed.name
        shutil.copy(seed, file)
    content = file.read_bytes()
    blocks = _checksummed(seed)
    for _ in range(chance.randint(1, 3)):
        is_text = file in metadata and file.suffix != ".journal" and chance.random() < 0.7
        change = _text_number if is_text else chance.choice(CHANGES)
        if blocks and chance.random() < 0.6:
            content = _under_right_checksum(content, chance.choice(blocks), change, chance)
        elif content:
            content = change(content, chance)
    file.write_bytes(content)
    return changed


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _splice(content: bytes, chance: random.Random) -> bytes:
    """Put bytes of one place over those of another, or between them."""
    start, to = chance.randrange(len(content)), chance.randrange(len(content))
    piece = content[start : start + chance.randint(1, 64)]
    kept = to + (len(piece) if chance.random() < 0.7 else 0)
    return content[:to] + piece + content[kept:]


def _number(content: bytes, chance: random.Random) -> bytes:
    """Make a number of 1 to 8 bytes another: the way of lengths, counts and addresses."""
    width = chance.choice((1, 2, 4, 8))
    at = chance.randrange(len(content))
    value = chance.choice((chance.choice(INTERESTING), chance.randrange(len(content) + 100)))
    return content[:at] + (value % 256**width).to_bytes(width, "little") + content[at + width :]


def _text_number(content: bytes, chance: random.Random) -> bytes:
    """Make a digit, a quote or a bracket another, as JSON and headers of text have them."""
    places = [i for i, byte in enumerate(content[:20_000]) if byte in b'0123456789"[]{},:<>|.']
    if not places:
        return _flip(content, chance)
    at = chance.choice(places)
    new = chance.choice(
        (b"0", b"-1", b"99999999999999999999", b'"', b"[", b"]", b"{", b"null", b"1e400", b"", b",")
    )
    return content[:at] + new + content[at + 1 :]


Change = Callable[[bytes, random.Random], bytes]
CHANGES: tuple[Change, ...] = (_flip, _flip, _cut, _splice, _number, _number, _text_number)

_BLOCKS: dict[Path, list[tuple[int, int]]] = {}


def _checksummed(seed: Path) -> list[tuple[int, int]]:
    """Blocks of metadata of an HDF5 file that end with a checksum."""
    if seed.suffix not in (".h5", ".nc"):
        return []
    if seed not in _BLOCKS:
        try:
            extents = read_file_content(FileBytes(seed)).file_map.structures()
        except FormatError:
            extents = ()
        _BLOCKS[seed] = [(one.address, one.nbytes) for one in extents if one.kind is not Kind.HEAP]
    return _BLOCKS[seed]


def _under_right_checksum(
    content: bytes,
    block: tuple[int, int],
    change: Change,
    chance: random.Random,
) -> bytes:
    start, stop = block[0], block[0] + block[1]
    if stop > len(content) or block[1] <= 4:  # it was cut
        return content
    body = change(content[start : stop - 4], chance)[: block[1] - 4].ljust(block[1] - 4, b"\0")
    return content[:start] + body + lookup3(body).to_bytes(4, "little") + content[stop:]
