"""Wildcards of policies: `*` is any run of characters and `?` any one; everything else is itself."""

from __future__ import annotations

import fnmatch
import re


def compile_pattern(text: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """A wildcard as a regular expression that matches whole strings, without the blow-up of naive backtracking.

    `fnmatch.translate` writes such expressions; its character sets, which policies don't have, are escaped.
    """
    return re.compile(fnmatch.translate(text.replace("[", "[[]")), re.IGNORECASE if ignore_case else 0)
