"""Bytes and index on one disk: SQLite for records and small bodies, files for large ones. Knows no other node."""
