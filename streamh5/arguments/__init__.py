"""Checks of what users pass, made before any work.

`keywords` flags, numbers and choices of public functions; `signatures` what ``help`` and Jupyter show of them;
`paths` local paths and URLs; `memory_size` sizes such as ``"512MiB"``; `write_options` how a file is written, as one
value.
"""
