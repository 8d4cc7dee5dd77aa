"""The front region of a file: superblock, object headers, heap and chunk indexes, before the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamh5.engine.attribute_heap import AttributeHeap
from streamh5.engine.chunk_index_plan import max_sizeof_data
from streamh5.engine.header_plan import HeaderPlan, Places
from streamh5.engine.metadata_plan import Front
from streamh5.engine.reference_targets import ReferenceTargets, referring
from streamh5.format.file_space_info import SIZEOF_SUPERBLOCK_EXTENSION
from streamh5.format.page_rule import MAX_PAGE_NBYTES, PageRule
from streamh5.format.primitives import UNDEFINED_ADDRESS
from streamh5.model.tree import DatasetNode, GroupNode, ReservedRange

if TYPE_CHECKING:
    from streamh5.model.tree import Node

PAGE_STEP_NBYTES = 4096
"""The page that fits a file is a multiple of it, so that a small file grows by no more."""

LEAST_GROWING_PAGE_NBYTES = 16 << 10
"""Smallest page that is chosen for a file with a dataset of unknown length, whose index lies behind its data."""

MOST_PAGE_NBYTES = 8 << 20
"""Largest page that is chosen: readers keep at least one in memory (tests/benchmarks, object reads)."""

MAX_SMALL_VALUE_NBYTES = 4096
"""Data without chunks up to this size lies among the metadata of a file with pages, and is read with it."""


class FrontLayout:
    """The blocks of the front region of a file, in their order.

    Parameters
    ----------
    root
        The objects known so far.
    header_slack
        Bytes after each header for later attributes and links.

    Attributes
    ----------
    plans
        The headers, for a `MetadataPlan` that is made before anything changes.
    """

    def __init__(self, root: GroupNode, *, header_slack: int) -> None:
        targets = ReferenceTargets(root, {}, {})
        targets.count_users()
        self._nodes = targets.nodes
        self._slack = header_slack
        # The root group comes last in the walk and first in the file: readers begin with it.
        self.plans = {node: HeaderPlan(node, Places()) for node in reversed(self._nodes)}
        self._heap_nbytes = AttributeHeap(referring(self._nodes)).nbytes

    def fitting_page(self, start: int) -> int:
        """Return the size of pages that the front region fills: one, or several of `MOST_PAGE_NBYTES` at most."""
        _, end = self._lay_out(start, PageRule(MAX_PAGE_NBYTES))
        if any(map(_grows, self._nodes)):
            end = max(end, LEAST_GROWING_PAGE_NBYTES)
        n_pages = -(-end // MOST_PAGE_NBYTES)
        return -(-end // (n_pages * PAGE_STEP_NBYTES)) * PAGE_STEP_NBYTES

    def front(self, start: int, page_nbytes: int = 0) -> Front:
        """Return the front region that begins at `start`, behind the superblock.

        Parameters
        ----------
        start
            Its first address.
        page_nbytes
            Size of the pages of the file; 0 for none.
        """
        return self._lay_out(start, PageRule(page_nbytes))[0]

    def _lay_out(self, start: int, rule: PageRule) -> tuple[Front, int]:
        """Return the front region under a rule, and the end of its metadata, which fills pages of its own."""
        end = start

        def region(nbytes: int) -> ReservedRange:
            nonlocal end
            address = rule.position(end, nbytes)
            end = rule.end(address, nbytes)
            return ReservedRange(address, nbytes)

        extension = region(SIZEOF_SUPERBLOCK_EXTENSION).address if rule.is_paged else UNDEFINED_ADDRESS
        headers = {node.path: region(plan.sizeof(rule, self._slack)) for node, plan in self.plans.items()}
        heap = region(self._heap_nbytes) if self._heap_nbytes else None
        indexes: dict[str, ReservedRange] = {}
        values: dict[str, int] = {}
        for node in self._nodes:
            if isinstance(node, DatasetNode) and node.spec.shape is not None and None not in node.spec.shape:
                nbytes = max_sizeof_data(node, rule)
                if rule.is_paged and node.spec.chunks is None and nbytes > MAX_SMALL_VALUE_NBYTES:
                    values[node.path] = nbytes
                else:
                    indexes[node.path] = region(nbytes)
            elif rule.is_paged and (nbytes := self.plans[node].sizeof_dense_links(rule)):
                indexes[node.path] = region(nbytes)
        metadata_end, end = end, rule.end_of_page(end)
        for path, nbytes in values.items():
            indexes[path] = ReservedRange(end, nbytes)
            end += nbytes
        return Front(headers, indexes, heap, end, rule.page_nbytes, extension), metadata_end


def _grows(node: Node) -> bool:
    """Return whether the shape of a dataset is open, so that its index is written behind its data."""
    return isinstance(node, DatasetNode) and node.spec.shape is not None and None in node.spec.shape
