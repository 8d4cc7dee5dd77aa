"""Dask arrays as the source of a write: their blocks are computed, filtered and written by dask's worker threads.

* `to_fixed_h5`: the public function: checks its arguments and plans the file.
* `array_method`: the method of the same name of dask arrays.
* `array_like`: arrays of other libraries as dask arrays.
* `blocks`: blocks of whole chunks, and how many of them fit the memory.
* `graph`: `Write`, the tasks of a write and the file that they share.
* `windows`, `window_graph`, `windowed_write`: its graph in parts, which are computed one after the other.
* `order`: the order in which dask computes the blocks, and notes on the errors of tasks.
* `scheduler`: which schedulers can write, and blocks that are stored on a cluster.
* `stored_chunks`: blocks that are stored chunks of another file.
* `copied_blocks`: a write of such blocks only, which needs no graph.
* `source_arrays`: blocks of a source as dask arrays.
* `foreign_errors`: errors of other libraries as errors of streamh5.
"""
