"""One write: blocks become stored chunks, in bounded threads, with a life from open to closed, and a summary."""
