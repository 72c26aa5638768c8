"""Workers that share a queue of tasks: processes of this machine, or actors of a Ray cluster.

What the workers do is not known here: `hyseg_cli.workflows` tells. Ray is imported by `ray_crew`
alone, and that only when it was asked for.
"""
