"""File space info message of the superblock extension (specification IV.A.2.x): strategy and page size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from streamh5.format.fields import ENCODING, Encoding, Fields
from streamh5.format.object_header import Message, MessageFlag, MessageType, pack_messages
from streamh5.format.page_rule import MAX_PAGE_NBYTES, MIN_PAGE_NBYTES
from streamh5.format.primitives import UNDEFINED_ADDRESS, address, concat, length, uint

_VERSION = 1
_MARK_IF_UNKNOWN = 0x10


class FileSpaceStrategy(IntEnum):
    """How a library that changes the file finds space (``H5F_fspace_strategy_t``)."""

    FSM_AGGR = 0
    PAGE = 1
    AGGR = 2
    NONE = 3


@dataclass(frozen=True, slots=True)
class FileSpaceInfo:
    """The file space info message of version 1.

    Parameters
    ----------
    strategy
        Strategy.
    page_nbytes
        Size of a page; of use to strategy PAGE only.
    is_persistent
        Whether the file keeps a list of its free space. Never written.
    threshold
        Smallest free space that is tracked.
    """

    strategy: FileSpaceStrategy
    page_nbytes: int
    is_persistent: bool = False
    threshold: int = 1

    @property
    def pages_nbytes(self) -> int:
        """Size of the pages of the file; 0 if it has none."""
        return self.page_nbytes if self.strategy == FileSpaceStrategy.PAGE else 0


def encode_file_space_info(info: FileSpaceInfo) -> Message:
    """Encode the message of a file that does not keep its free space, as ``H5O__fsinfo_encode`` does."""
    body = concat(
        uint(_VERSION, 1, "version"),
        uint(info.strategy, 1, "strategy"),
        uint(0, 1, "free-space persisting"),
        length(info.threshold, "free-space section threshold"),
        length(info.page_nbytes, "file space page size"),
        uint(0, 2, "page-end metadata threshold"),
        address(UNDEFINED_ADDRESS, "EOA"),
    )
    return Message(MessageType.FILE_SPACE_INFO, body, MessageFlag.DO_NOT_SHARE | _MARK_IF_UNKNOWN)


def encode_superblock_extension(info: FileSpaceInfo) -> bytes:
    """Encode the superblock extension: an object header with this message."""
    return pack_messages([encode_file_space_info(info)]).encode()


SIZEOF_SUPERBLOCK_EXTENSION = len(
    encode_superblock_extension(FileSpaceInfo(FileSpaceStrategy.PAGE, MIN_PAGE_NBYTES))
)


def decode_file_space_info(body: bytes, encoding: Encoding = ENCODING) -> FileSpaceInfo | None:
    """Decode the message; None for version 0, of which the library takes no pages.

    Raises
    ------
    FormatError
        A field is wrong.
    """
    fields = Fields(body, "file space info message", encoding)
    version = fields.uint(1, "version")
    if version == 0:
        return None
    if version != _VERSION:
        raise fields.error(f"version is {version}")
    strategy = fields.uint(1, "strategy")
    if strategy not in list(FileSpaceStrategy):
        raise fields.error(f"strategy is {strategy}")
    is_persistent = bool(fields.uint(1, "free-space persisting"))
    threshold = fields.length("free-space section threshold")
    page_nbytes = fields.length("file space page size")
    if not MIN_PAGE_NBYTES <= page_nbytes <= MAX_PAGE_NBYTES:
        raise fields.error(f"page size is {page_nbytes:,}")
    return FileSpaceInfo(FileSpaceStrategy(strategy), page_nbytes, is_persistent, threshold)
