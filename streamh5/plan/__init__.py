"""What goes where: object names, the chunk grid, the chunk table, addresses, the index.

Nothing here reads or writes bytes of the file, starts a thread or looks at a clock.
"""
