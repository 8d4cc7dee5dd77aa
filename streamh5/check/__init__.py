"""Checks of existing files: `verify` says whether a file is intact, `inspect` what it contains and where it lies.

* ``verify``: the check of a file, from its superblock to its last chunk.
* ``chunk_check``: reads chunks in the order of their addresses, and decodes them in threads.
* ``h5py_view``: the same file as h5py sees it, for comparison.
* ``report``: the result of `verify`.
* ``inspect_file``: `inspect`.
* ``inspection``: its result, with a map of the file.
* ``cloud``: whether a file is right for object stores, from an inspection.
* ``cloud_report``: the answer.
"""
