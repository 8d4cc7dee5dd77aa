"""Blocks that a cluster computes and this process stores: of arrays whose chunks contain addresses in the file.

::

    workers      b0  b1  b2  b3    b4  b5  b6  b7    as many at a time as they have threads
    client       b0, b1, b2, b3    b4, ...           fetched and stored one after the other, then forgotten
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed import as_completed

from streamh5.dask.cluster_client import received
from streamh5.errors import SchedulerError

if TYPE_CHECKING:
    from distributed import Client

    from streamh5.dask.graph import Target, Write
    from streamh5.dask.store_task import BlockId


def store_fetched(
    client: Client, write: Write, target: Target, blocks: list[BlockId], persist_kwargs: dict[str, Any]
) -> None:
    """Store blocks of an array in their order, of which the cluster holds only a few and this process one.

    What several blocks need is computed again for each few of them.

    Parameters
    ----------
    client
        The cluster.
    write
        The write.
    target
        The array.
    blocks
        Ids of its blocks.
    persist_kwargs
        Keywords of `Client.persist`.

    Raises
    ------
    SchedulerError
        The scheduler was lost.
    """
    path, done = target.spec.path, 0
    while done < len(blocks):
        some = blocks[done : done + max(1, sum(client.nthreads().values()))]
        futures = client.compute([target.array.blocks[one] for one in some], **persist_kwargs)
        futures.reverse()
        try:
            for block_id in some:
                # only `results` refers to the future: the scheduler forgets the block as soon as it is here
                results = as_completed([futures.pop()], loop=client.loop, with_results=True)
                for block in received(results, write.name):
                    write.record([(path, write.store(path, block, block_id))])
        except SchedulerError:
            raise
        except BaseException as error:
            client.cancel(futures)
            if isinstance(error, Exception):
                origin, _ = write.block(path, block_id)
                error.add_note(f"while computing or writing the block at {origin} of {path}")
            raise
        done += len(some)
