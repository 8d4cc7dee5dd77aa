"""Read the groups of an existing file to which objects are added (mode "a"), with the strict reader.

Only headers are read: groups become nodes of the new tree, datasets keep their address. A group
that nothing is added to is not written again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamh5.errors import ForeignStructureError, FormatError, SpecError
from streamh5.format.datatype_class import EncodedDatatype
from streamh5.format.fields import ENCODING
from streamh5.format.link import HardLink
from streamh5.format.object_header import MessageType
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.format.primitives import address as encode_address
from streamh5.format.superblock import SIZEOF_LONGEST_SUPERBLOCK, Superblock, decode_superblock
from streamh5.model.attribute_spec import AttributeSpec
from streamh5.model.tree import GroupNode, StoredObject, put_attribute
from streamh5.reader.file_bytes import FileBytes
from streamh5.reader.file_map import FileMap
from streamh5.reader.object_content import GroupMessages
from streamh5.reader.object_walk import MAX_PATH_LENGTH, ObjectWalk

if TYPE_CHECKING:
    import os

    from streamh5.format.attribute import Attribute
    from streamh5.format.link import Link
    from streamh5.reader.object_walk import ObjectPlace


@dataclass(frozen=True, slots=True)
class ExistingFile:
    """The groups of a file, where it ends, and for which readers it was written."""

    root: GroupNode
    end_of_file: int
    libver: str


def read_existing(path: str | os.PathLike[str]) -> ExistingFile:
    """Read the groups of a file.

    Raises
    ------
    SpecError
        It has structures that streamh5 does not write, so nothing can be added safely.
    FormatError
        It is damaged, or not an HDF5 file.
    """
    with FileBytes(path) as file:
        try:
            nbytes = min(SIZEOF_LONGEST_SUPERBLOCK, file.nbytes)
            superblock = decode_superblock(file.read(0, nbytes, "superblock"))
            _check_superblock(superblock)
            if superblock.end_of_file > file.nbytes:
                raise FormatError(
                    f"the file must have {superblock.end_of_file:,} bytes, it has {file.nbytes:,}"
                )
            file.limit(superblock.end_of_file)
            root = _read_tree(file, superblock.root_address)
        except FormatError as error:
            raise SpecError(
                f"{path}: nothing can be added without risk, it is damaged or not of streamh5: {error}; add to it with "
                "h5py, or write a new file",
                path=str(path),
            ) from error
    if not isinstance(root, GroupNode):
        raise SpecError(f"{path}: its root object is not a group; add to the file with h5py")
    return ExistingFile(root, superblock.end_of_file, "v108" if superblock.version == 2 else "v110")


def _check_superblock(superblock: Superblock) -> None:
    """Refuse a superblock that streamh5 does not write: it could not be encoded again."""
    version = superblock.version
    if version < 2:
        raise ForeignStructureError(
            f"superblock: version {version}, of HDF5 1.6 and the default of h5py; streamh5 writes 2 and 3",
            version=version,
        )
    if superblock.encoding != ENCODING:
        raise ForeignStructureError("superblock: addresses or lengths of other than 8 bytes")
    if superblock.consistency_flags:
        raise ForeignStructureError("superblock: the file is marked as open for writing")
    if superblock.base_address or superblock.extension_address != UNDEFINED_ADDRESS:
        raise FormatError("superblock: a user block or a superblock extension")


def _read_tree(file: FileBytes, root_address: int) -> GroupNode | StoredObject:
    """Read the root object and everything in it; an object with several names is one node."""
    walk = ObjectWalk(file, FileMap(file.nbytes))
    nodes: dict[int, GroupNode | StoredObject] = {}
    groups: list[tuple[GroupNode, list[Link]]] = []
    for place in walk.over(root_address):
        node, links = _read_object(walk, place)
        nodes[place.address] = node
        if isinstance(node, GroupNode):
            groups.append((node, links))
        if not walk.follow(place, links):
            raise FormatError(f"a path of more than {MAX_PATH_LENGTH:,} characters: {place.path[:40]}...")
    for group, links in groups:  # now that there is a node for each address
        for link in links:
            target = link.target
            group.links[link.name] = nodes[target.address] if isinstance(target, HardLink) else target
    return nodes[root_address]


def _read_object(walk: ObjectWalk, place: ObjectPlace) -> tuple[GroupNode | StoredObject, list[Link]]:
    """Return the object at a place, and its links in the order of creation."""
    path, header = place.path, walk.header(place)
    stored_object = StoredObject(path, place.address, header.is_named_datatype)
    if (
        MessageType.LINK_INFO not in header.message_types
    ):  # an object that stays unchanged may have unknown messages
        return stored_object, []
    content = walk.messages(place, header)
    if not isinstance(content, GroupMessages):
        return stored_object, []
    if content.common.unchecked:
        raise FormatError(f"{path}: {', '.join(content.common.unchecked)}")
    group = GroupNode(
        path, bool(header.attribute_order), n_links=content.common.n_links, stored_address=place.address
    )
    for one in content.common.attributes:
        put_attribute(group, _stored_attribute(one))
    return group, sorted(content.links, key=lambda link: link.creation_order or 0)


def _stored_attribute(attribute: Attribute) -> AttributeSpec:
    """Return an attribute as stored; its objects in the global heap stay there."""
    committed = attribute.committed_address
    return AttributeSpec(
        attribute.name,
        EncodedDatatype(attribute.datatype_body),
        attribute.dataspace.shape,
        (attribute.data,),
        committed=None if committed is None else encode_address(committed),
    )
