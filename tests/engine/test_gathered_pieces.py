from __future__ import annotations

from streamh5.engine.gathered_pieces import MAX_GATHERED_NBYTES, gather_pieces


def test_pieces_side_by_side_upwards_and_downwards_one_write() -> None:
    assert list(gather_pieces([(100, b"ab"), (102, b"c"), (98, b"yz"), (103, b"d")])) == [
        (98, [b"yz", b"ab", b"c", b"d"])
    ]


def test_pieces_gap_new_write_in_the_order_of_the_pieces() -> None:
    pieces = [(100, b"a"), (103, b"c"), (101, b"de"), (200, b"")]
    assert list(gather_pieces(pieces)) == [(100, [b"a"]), (101, [b"de", b"c"]), (200, [b""])]


def test_pieces_superblock_alone_after_the_header_behind_it() -> None:
    pieces = [(48, b"header"), (0, b"s" * 48)]
    assert list(gather_pieces(pieces)) == [(48, [b"header"]), (0, [b"s" * 48])]


def test_pieces_large_pieces_bounded_writes() -> None:
    half = bytes(MAX_GATHERED_NBYTES // 2)
    pieces = [(48 + i * len(half), half) for i in range(5)]
    assert [(at, len(buffers)) for at, buffers in gather_pieces(pieces)] == [
        (48, 2),
        (48 + MAX_GATHERED_NBYTES, 2),
        (48 + 2 * MAX_GATHERED_NBYTES, 1),
    ]


def test_pieces_nothing() -> None:
    assert list(gather_pieces([])) == []
