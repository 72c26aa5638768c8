"""The commands with many options, one in each module."""
