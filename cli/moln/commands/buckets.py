"""`moln mb` and `moln rb`: make and remove buckets."""

from __future__ import annotations

import click

from moln.client import errors_about
from moln.options import Session, with_session
from moln.s3url import parse_bucket


@click.command()
@click.argument("bucket")
@with_session
def mb(session: Session, bucket: str) -> None:
    """Make BUCKET (s3://NAME)."""
    url = parse_bucket(bucket)
    with errors_about(url):
        session.client().create_bucket(Bucket=url.bucket)
    session.output.show({"bucket": url.bucket, "made": True}, f"made {url}")


@click.command()
@click.argument("bucket")
@with_session
def rb(session: Session, bucket: str) -> None:
    """Remove BUCKET (s3://NAME), which must be empty."""
    url = parse_bucket(bucket)
    with errors_about(url):
        session.client().delete_bucket(Bucket=url.bucket)
    session.output.show({"bucket": url.bucket, "removed": True}, f"removed {url}")
