"""A Ray cluster on this machine: a head without CPUs and two nodes with one each.

Prints its address. Reads commands from stdin and prints `ok` when each is done: `remove` takes
away the node that came last, `add` brings another.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

MEMORY = 80 * 2**20


def main() -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY},
    )

    def add() -> None:
        nodes.append(cluster.add_node(num_cpus=1, object_store_memory=MEMORY))

    nodes: list[object] = []
    add()
    add()
    print(cluster.address, flush=True)  # noqa: T201 - read by the tests
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        else:
            add()
        print("ok", flush=True)  # noqa: T201
    cluster.shutdown()


if __name__ == "__main__":
    main()
