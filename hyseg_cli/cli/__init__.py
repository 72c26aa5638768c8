"""The command line: the group of commands, shared options, exit codes, and one module for each command."""
