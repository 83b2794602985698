"""Object lock on the wire: defaults, retention, legal hold. What they forbid is in `moln_node.cluster.locking`."""
