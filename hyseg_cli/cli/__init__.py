"""The command line: commands, shared options, environment and exit codes."""
