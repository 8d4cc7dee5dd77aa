"""What concerns the process as a whole: signals, other processes, the import system.

`signals` calls that a signal handler may interrupt; `child_process` a function called in a child process;
`import_hook` a call when another package is imported.
"""
