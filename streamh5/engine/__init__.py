"""From the model to bytes at addresses: the file engine, which does no I/O."""
