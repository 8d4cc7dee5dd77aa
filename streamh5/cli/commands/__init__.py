"""One module for each command of the command line: its options, and the function that runs it."""
