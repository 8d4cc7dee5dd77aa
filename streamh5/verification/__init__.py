"""Whether a file is good: every structure, every checksum, every chunk, with our own reader."""
