"""Read an existing file that is to grow or change (mode "a") as a tree of nodes, with the strict reader.

Every header is read, because any object may refer to one that moves. Chunk indexes and elements are read when they are
needed. What streamh5 does not understand is refused by name, before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import FormatError, SpecError, StreamH5Error
from streamh5.format.fields import ENCODING
from streamh5.format.link import HardLink
from streamh5.format.object_header import MessageType
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.superblock import SIZEOF_LONGEST_SUPERBLOCK
from streamh5.model.links import paths, set_path
from streamh5.model.tree import GroupNode
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_map import FileMap
from streamh5.reader.object_header import SharedMessages, read_object_header
from streamh5.reader.object_nodes import NodeReader
from streamh5.reader.object_walk import MAX_PATH_LENGTH, ObjectWalk
from streamh5.reader.superblock import read_superblock, read_superblock_extension

if TYPE_CHECKING:
    import os
    from typing import Self

    from streamh5.format.link import Link
    from streamh5.format.superblock import Superblock
    from streamh5.model.tree import Node
    from streamh5.reader.superblock import SuperblockExtension

_KNOWN_EXTENSION = {
    MessageType.BTREE_K,
    MessageType.FILE_SPACE_INFO,
    MessageType.SHARED_MESSAGE_TABLE,
}
"""Messages of the superblock extension that stay right when something is added behind the end of the file."""


@dataclass(slots=True)
class ExistingFile:
    """A file that is open to be changed.

    Attributes
    ----------
    file
        Its bytes; closed by `close`.
    root
        Its tree.
    superblock
        Its superblock as stored.
    base_address
        Size of the user block in bytes.
    end_of_file
        First address after everything to keep, relative to the base address.
    public_end
        Its end as its superblock gives it: what lies behind is of an interrupted addition.
    libver
        Oldest library that can read it: ``"v108"`` or ``"v110"``.
    page_nbytes
        Size of its pages; 0 for none.
    """

    file: FileBytes
    root: GroupNode
    superblock: bytes
    base_address: int
    end_of_file: int
    public_end: int
    libver: str
    page_nbytes: int = 0

    @property
    def base(self) -> tuple[GroupNode, int, bytes, int]:
        """What an addition begins with: tree, end, superblock and size of the pages."""
        return self.root, self.end_of_file, self.superblock, self.page_nbytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file: chunk indexes and elements that were not read yet cannot be read any more."""
        self.file.close()


def read_existing(path: str | os.PathLike[str]) -> ExistingFile:
    """Read the tree of a file.

    Raises
    ------
    SpecError
        It has something that streamh5 does not understand, so it cannot be changed safely.
    FormatError
        It is damaged, or not an HDF5 file.
    """
    file = FileBytes(path)
    try:
        return _read(file)
    except FormatError as error:
        file.close()
        if "is_netcdf_classic" in error.facts:  # it says what to do; h5py cannot open it
            raise SpecError(str(error), path=str(path)) from error
        raise SpecError(
            f"{path}: streamh5 cannot change it safely: {error}; change a copy (streamh5 convert), or use h5py",
            path=str(path),
        ) from error
    except BaseException:
        file.close()
        raise


def present_superblock(path: str | os.PathLike[str]) -> bytes | None:
    """Return the superblock of a file as stored; None if it is not there or not an HDF5 file."""
    try:
        with FileBytes(path) as file:
            read_superblock(file)
            return _superblock_bytes(file)
    except FormatError:
        return None


def _read(file: FileBytes) -> ExistingFile:
    superblock = read_superblock(file)
    _check_superblock(superblock)
    if superblock.span > file.nbytes:
        raise FormatError(f"the file must have {superblock.span:,} bytes, it has {file.nbytes:,}")
    file.limit(superblock.span)
    file_map = FileMap(file.nbytes)
    shared = SharedMessages(file, file_map)
    extension = read_superblock_extension(file, file_map, superblock, shared)
    _check_extension(file, superblock, extension)
    page_nbytes = extension.page_nbytes
    # only HDF5 1.10 knows pages, and its chunk indexes obey their rule
    libver = "v108" if superblock.version < 3 and not page_nbytes else "v110"
    walk = ObjectWalk(file, file_map, shared)
    root = _read_tree(NodeReader(file, walk, libver, is_paged=page_nbytes > 0), superblock.root_address)
    block = _superblock_bytes(file)
    return ExistingFile(
        file, root, block, superblock.base_address, superblock.span, superblock.span, libver, page_nbytes
    )


def _superblock_bytes(file: FileBytes) -> bytes:
    return file.read(0, min(SIZEOF_LONGEST_SUPERBLOCK, file.nbytes), "superblock")


def _check_superblock(superblock: Superblock) -> None:
    """Refuse a file that cannot be renewed with one write of its superblock."""
    encoding = superblock.encoding
    if (encoding.sizeof_address, encoding.sizeof_length) != (ENCODING.sizeof_address, ENCODING.sizeof_length):
        raise FormatError("superblock: addresses or lengths of other than 8 bytes")
    if superblock.is_open_for_writing:
        raise FormatError(
            "superblock: the file is marked as open for writing; close it there, or run h5clear -s if the program that "
            "wrote it has died"
        )
    if superblock.driver_address != UNDEFINED_ADDRESS:
        raise FormatError("superblock: a driver information block")


def _check_extension(file: FileBytes, superblock: Superblock, extension: SuperblockExtension) -> None:
    """Refuse an extension that describes free space or cached metadata: it would become wrong."""
    if superblock.extension_address == UNDEFINED_ADDRESS:
        return
    # with a map of its own: `read_superblock_extension` has entered the header already
    header = read_object_header(file, FileMap(file.nbytes), "/", superblock.extension_address)
    for message in header.messages:
        if message.type_id not in _KNOWN_EXTENSION:
            raise FormatError(f"superblock extension: a message of type {message.type_id:#04x}")
        info = extension.file_space
        if message.type_id == MessageType.FILE_SPACE_INFO and (info is None or info.is_persistent):
            raise FormatError(
                "superblock extension: the file keeps its free space (fs_persist), which an addition would not know"
            )


def _read_tree(reader: NodeReader, root_address: int) -> GroupNode:
    """Read the root object and everything in it; an object with several names is one node."""
    walk = reader.walk
    groups: list[tuple[GroupNode, list[Link]]] = []
    for place in walk.over(root_address):
        try:
            node, links = reader.read(place)
        except StreamH5Error as error:
            raise FormatError(f"{place.shown}: {error}", path=place.shown) from error
        if isinstance(node, GroupNode):
            groups.append((node, links))
        if not walk.follow(place, links):
            raise FormatError(f"a path of more than {MAX_PATH_LENGTH:,} characters: {place.path[:40]}...")
    nodes: dict[int, Node] = reader.nodes
    for group, links in groups:  # now that there is a node for each address
        for link in links:
            target = link.target
            group.links[link.name] = nodes[target.address] if isinstance(target, HardLink) else target
    root = nodes[root_address]
    if not isinstance(root, GroupNode):
        raise FormatError("its root object is not a group")
    named: set[Node] = {root}
    for path, node in paths(root):
        if node not in named:  # the path with the fewest groups, in the order of the links
            named.add(node)
            if node.path != path:
                set_path(node, path)
    return root
