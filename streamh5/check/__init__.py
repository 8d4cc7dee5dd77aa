"""Whether a file is right, and what it contains: `verify` and `inspect`.

* `verify`: the verification of a file; `report`: its result
* `chunk_check`: chunks are read in the order of addresses and decoded in threads
* `h5py_view`: the same file as h5py sees it
* `inspection`: datasets, chunk indexes, and a map of the file
"""
