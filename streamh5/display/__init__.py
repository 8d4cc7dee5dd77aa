"""HTML for notebooks and pages: pure functions, facts in, text out; no file is opened and nothing is computed.

* `document`: the style, a fragment for a notebook, a page of its own.
* `elements`: tables, lists, sections that fold.
* `chunk_picture`: a chunk map as SVG.
* `cards`: a dataset with its facts and its picture.
* `object_tree`: groups and what is in them.
* `file_bar`: a file from its first to its last byte.

What is shown comes from files and users, so every text is escaped where it becomes HTML (`elements.escaped`). There are
no scripts and nothing is loaded. The size is limited: of long lists only the first members are shown, and the number
of the others.
"""
