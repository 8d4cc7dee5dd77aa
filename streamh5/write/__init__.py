"""From blocks to stored chunks: the chunk writer, the threads that run it, and how a write lives and ends.

chunk_writer: split, encode and write blocks. place: where stored bytes go. pool: threads within a memory budget. rows:
rows that wait for a whole chunk, and rows that are stored. lifecycle: states of a write, and its calls. interruption:
what is kept of an interrupted write. summary: the numbers of a finished write. progress: the progress bar.
"""
