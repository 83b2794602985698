"""Names of objects on the command line: s3://BUCKET/KEY. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from moln.errors import CliError, Exit

SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class S3Url:
    """A bucket, and within it a key or prefix exactly as it was typed: nothing is decoded or normalised."""

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        """As it is typed."""
        return f"{SCHEME}{self.bucket}/{self.key}" if self.key else f"{SCHEME}{self.bucket}"

    def child(self, name: str) -> S3Url:
        """The object `name` below this prefix."""
        prefix = self.key if not self.key or self.key.endswith("/") else f"{self.key}/"
        return S3Url(self.bucket, prefix + name)


def is_s3_url(text: str) -> bool:
    """Whether the text is meant as an object's name, rather than as a file's."""
    return text.startswith(SCHEME)


def parse(text: str) -> S3Url:
    """A bucket and perhaps a key; CliError."""
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    if not is_s3_url(text) or not bucket:
        raise CliError(f"{text!r} is not s3://BUCKET/KEY", Exit.USAGE)
    return S3Url(bucket, key)


def parse_object(text: str) -> S3Url:
    """A bucket and a key; CliError."""
    url = parse(text)
    if not url.key:
        raise CliError(f"{text!r} names a bucket; name an object as s3://BUCKET/KEY", Exit.USAGE)
    return url


def parse_bucket(text: str) -> S3Url:
    """A bucket alone; CliError."""
    url = parse(text)
    if url.key:
        raise CliError(f"{text!r} names an object; name a bucket as s3://BUCKET", Exit.USAGE)
    return url
