"""The wire: S3 over HTTP on port 9000. Speaks to `moln_node.cluster.objects.Objects` and to nothing below it."""
