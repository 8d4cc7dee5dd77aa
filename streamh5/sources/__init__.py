"""Where arrays come from. Each module turns one kind of source into blocks for `streamh5.File`."""
