"""Frozen settings of each workflow: defaults, ranges and cross-checks; messages name the flag.

Options of the command line take their defaults from here, so each default is defined once. Each
workflow has its own module, so that loading one does not load the others.
"""
