"""A Ray cluster of two nodes on this machine: says its address, and kills the second node for a line on stdin."""

import sys

from ray.cluster_utils import Cluster


def _say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


cluster = Cluster(
    initialize_head=True,
    head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100_000_000},
)
second = cluster.add_node(num_cpus=1, object_store_memory=100_000_000, resources={"second": 4})
_say(cluster.address)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(second, allow_graceful=False)
        _say("killed")
    else:
        break
cluster.shutdown()
