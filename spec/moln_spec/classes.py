"""Storage classes and assignment rules: how an object's bytes are kept, and who decides it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from moln_spec.model import Document

ClassName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", max_length=63)]
Name = Annotated[str, Field(max_length=253)]
Glob = Annotated[str, Field(max_length=1024)]


class Compression(Document):
    """How bodies of a class are compressed before they are written."""

    algorithm: Literal["none", "zstd"] = Field(
        "none",
        description="`zstd` compresses each block on its own; a block that does not shrink is kept as it is.",
    )
    level: int = Field(3, ge=1, le=19, description="zstd level: higher is smaller and slower.")


class StorageClass(Document):
    """A named way of keeping bytes, chosen by header or by the first assignment rule that matches."""

    name: ClassName = Field(description="The name that S3 clients use in x-amz-storage-class.")
    default: bool = Field(
        default=False,
        description="Used for objects that neither a header nor a rule assigns. Exactly one class is the default.",
    )
    pools: tuple[Name, ...] = Field(
        (),
        max_length=50,
        description="Pools whose nodes keep the bytes; empty: every pool that takes the class. An edit moves what was "
        "bound already; what is with its record yet follows by `moln rewrite`. Records live on every pool, unless a "
        "ReplicationPolicy names pools.",
    )
    compression: Compression = Field(Compression(), description="Compression of new bodies.")
    deduplication: bool = Field(
        default=False,
        description="Cut new bodies into content-defined chunks, and keep equal chunks once per node.",
    )


class Match(Document):
    """What an object must be for a rule to apply: every given field must match; an empty match takes every object."""

    buckets: tuple[Name, ...] = Field((), max_length=64, description="Bucket names or globs (`logs-*`); any of them.")
    prefix: Glob = Field("", description="The key begins with this, byte for byte.")
    suffix: Glob = Field("", description="The key ends with this, byte for byte.")
    content_type: Name = Field(
        "", description="A glob over the media type without its parameters, letter case ignored: `image/*`."
    )
    min_size: int | None = Field(
        None,
        ge=0,
        description="Smallest size in bytes. An upload of unknown size (multipart) is larger than any bound.",
    )
    max_size: int | None = Field(None, ge=0, description="Largest size in bytes, inclusive.")
    metadata: dict[str, Glob] = Field(
        {},
        max_length=32,
        description="User metadata (x-amz-meta-*, without the prefix): each there, its value matching the glob.",
    )


class AssignmentRule(Document):
    """The first rule that matches an object decides its storage class and/or the pool of its bytes."""

    name: Name = Field("", description="Shown by `moln explain`.")
    match: Match = Field(Match(), description="What the rule applies to; empty: everything.")
    storage_class: ClassName | None = Field(None, description="The class the object gets.")
    pool: Name | None = Field(
        None,
        description="Pool whose nodes keep the bytes of new objects, whatever pools the class has; `moln rewrite` "
        "brings what is kept already there.",
    )


class Candidate(Document):
    """What is known of an object when its class is chosen."""

    bucket: str
    key: str
    content_type: str = ""
    size: int | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    requested_class: str | None = None


class RuleVerdict(Document):
    """One rule held against an object: whether it matches, and the first field that did not."""

    rule: str
    matches: bool
    reason: str


class Assignment(Document):
    """The class and pool an object gets, and why, rule by rule up to the one that decided."""

    storage_class: str
    pool: str | None
    reason: str
    verdicts: tuple[RuleVerdict, ...]


class UnknownStorageClassError(LookupError):
    """A storage class was asked for that the cloud does not have."""


def _mismatch(match: Match, candidate: Candidate) -> str | None:
    """The first field of `match` that the candidate does not meet, as a sentence; None if it meets all of them."""
    media_type = candidate.content_type.partition(";")[0].strip().lower()
    size = float("inf") if candidate.size is None else candidate.size
    fields = [
        (
            not match.buckets or any(fnmatchcase(candidate.bucket, glob) for glob in match.buckets),
            f"bucket {candidate.bucket!r} is none of {', '.join(match.buckets)}",
        ),
        (candidate.key.startswith(match.prefix), f"key does not begin with {match.prefix!r}"),
        (candidate.key.endswith(match.suffix), f"key does not end with {match.suffix!r}"),
        (
            not match.content_type or fnmatchcase(media_type, match.content_type.lower()),
            f"content type {media_type or 'none'!r} is not {match.content_type!r}",
        ),
        (match.min_size is None or size >= match.min_size, f"size {size} is below {match.min_size}"),
        (match.max_size is None or size <= match.max_size, f"size {size} is above {match.max_size}"),
    ]
    for name, glob in match.metadata.items():
        value = candidate.metadata.get(name.lower())
        fields.append((value is not None and fnmatchcase(value, glob), f"metadata {name!r} is {value!r}, not {glob!r}"))
    return next((reason for meets, reason in fields if not meets), None)


def assign(classes: tuple[StorageClass, ...], rules: tuple[AssignmentRule, ...], candidate: Candidate) -> Assignment:
    """Choose an object's storage class and pool: header, then first matching rule, then default.

    Raises UnknownStorageClassError when the header names a class that the cloud does not have. The pool of the first
    matching rule holds also when the header chose the class, if that rule names no class of its own.
    """
    names = [storage_class.name for storage_class in classes]
    default = next((c.name for c in classes if c.default), names[0])
    verdicts: list[RuleVerdict] = []
    requested = candidate.requested_class
    if requested is not None and requested not in names:
        raise UnknownStorageClassError(f"this cloud has no storage class {requested!r}; it has {', '.join(names)}")
    for number, rule in enumerate(rules, start=1):
        label = rule.name or f"rule {number}"
        mismatch = _mismatch(rule.match, candidate)
        verdicts.append(RuleVerdict(rule=label, matches=mismatch is None, reason=mismatch or "every field matches"))
        if mismatch is not None:
            continue
        if requested is not None:
            pool = rule.pool if rule.storage_class in (None, requested) else None
            return Assignment(
                storage_class=requested, pool=pool, reason="asked for by header", verdicts=tuple(verdicts)
            )
        chosen = rule.storage_class or default
        return Assignment(storage_class=chosen, pool=rule.pool, reason=f"{label} matches", verdicts=tuple(verdicts))
    reason = "no rule matches: the default class" if requested is None else "asked for by header"
    return Assignment(storage_class=requested or default, pool=None, reason=reason, verdicts=tuple(verdicts))
