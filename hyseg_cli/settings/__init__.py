"""Frozen settings of each workflow: defaults, ranges and cross-checks; messages name the flag.

Options of the command line take their defaults from here, so there is one place for each. Each
workflow has a module of its own: who asks for one does not wait for the others.
"""
