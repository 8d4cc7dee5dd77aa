"""The command line: `main` parses arguments and runs commands; `demo` is the largest command."""
