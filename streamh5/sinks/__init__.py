"""Where the bytes of a file go: a sink is written at any position, then committed or aborted.

===================== ====================================================================================
`base`                the protocols `Sink`, `Journaled`, `Readable`, ..., and a table of the sinks
`gated_sink`          states of a sink and errors of its calls, shared by the sinks of this package
`local_file`          a new file next to the destination, renamed when it is complete
`append_file`         new bytes after the end of an existing file
`file_object`         a binary file object
`sequential_object`   a file object that is written from its beginning to its end
`memory`              a bytearray
`journal_file`        the journal of a local write, as a file
`destination_path`    what can be a destination, and checks before any work
`working_names`       names of the partial file, its journal and snapshots
`replaced_file`       permissions and attributes that a new file takes from the one it replaces
`locks`               locks that keep two writers of one file apart
`files`               opening, checking, writing and removing files by name
===================== ====================================================================================
"""
