"""Moving bytes between files and objects: in parts, in parallel, resumable, checked at the end.

`items` finds what to move, `engine` moves many things at once, `upload` and `download` move one. Memory is bounded by
jobs times part size, whatever the size of a file.
"""
