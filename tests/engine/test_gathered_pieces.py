from __future__ import annotations

from collections.abc import Iterator

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


def test_pieces_nothing_runs_behind_the_superblock_before_it_was_consumed() -> None:
    events = []

    def pieces() -> Iterator[tuple[int, bytes]]:
        yield 48, b"header"
        yield 0, b"s" * 48
        events.append("settled")

    for address, _ in gather_pieces(pieces()):
        events.append(f"written {address}")
    assert events == ["written 48", "written 0", "settled"]


def test_pieces_large_piece_is_consumed_and_freed_before_the_next_is_made() -> None:
    events = []

    class Large(bytes):
        def __del__(self) -> None:
            events.append("freed")

    def pieces() -> Iterator[tuple[int, bytes]]:
        yield 40, b"header"
        for i in range(2):
            events.append("made")
            yield 48 + i * (MAX_GATHERED_NBYTES + 1), Large(MAX_GATHERED_NBYTES + 1)

    for _, buffers in gather_pieces(pieces()):
        events.append(f"written {len(buffers[0])}")
        del buffers
    large = f"written {MAX_GATHERED_NBYTES + 1}"
    assert events == ["made", "written 6", large, "freed", "made", large, "freed"]


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
