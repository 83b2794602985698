"""The storage node: `s3/` is the wire, `cluster/` decides who owns what, `store/` is bytes and index on one disk."""
