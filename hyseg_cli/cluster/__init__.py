"""Workers that share a queue of tasks: processes of this machine, or actors of a Ray cluster.

This package does not know what the tasks are: `hyseg_cli.workflows` defines them. Only `ray_pool`
imports Ray, and only if a cluster is asked for.
"""
