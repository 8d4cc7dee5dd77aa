"""An interrupted write: its journal, how it is resumed, and how it is turned into a valid file."""
