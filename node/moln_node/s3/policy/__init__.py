"""Bucket policies: `document` reads their language, `conditions` and `evaluate` decide. Pure; called by `s3.access`."""
