"""The journal of a write, which lets an interrupted write be resumed or turned into a valid file (salvaged).

journaled_engine: the engine with its journal. entry_kinds: kinds of entries. read_journal: from bytes to a journal.
journal: a decoded journal. journal_facts: datasets, links, attributes and values as JSON, and back. resume: the
checked claims of a journal. salvage: an interrupted write as a valid file.
"""
