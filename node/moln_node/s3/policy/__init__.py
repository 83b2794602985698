"""Bucket policies: their language, read once and evaluated purely. Nothing here does I/O."""
