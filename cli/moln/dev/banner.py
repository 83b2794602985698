"""What `moln dev` prints once it serves: the endpoint, the keys, and lines to paste. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def banner(
    *, cloud: str, endpoint: str, access_key: str, secret_key: str, data: Path, temporary: bool, tls: bool
) -> str:
    """The text, ready to print. `tls`: the YAML asks for it."""
    plain = " (plain HTTP, on this machine alone: tls names a Secret on Kubernetes)" if tls else ""
    kept = f"{data} (temporary: gone when this ends; --data DIR keeps it)" if temporary else str(data)
    boto = ", ".join(
        (
            f'endpoint_url="{endpoint}"',
            f'aws_access_key_id="{access_key}"',
            f'aws_secret_access_key="{secret_key}"',
            'region_name="us-east-1"',
        )
    )
    rclone = f":s3,provider=Other,endpoint='{endpoint}',access_key_id='{access_key}',secret_access_key='{secret_key}':"
    return f"""\
cloud {cloud} serves S3

  endpoint    {endpoint}{plain}
  access key  {access_key}
  secret key  {secret_key}
  data        {kept}

aws cli
  export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} AWS_DEFAULT_REGION=us-east-1
  aws --endpoint-url {endpoint} s3 mb s3://photos
  aws --endpoint-url {endpoint} s3 ls

boto3
  boto3.client("s3", {boto})

rclone
  rclone lsd "{rclone}"

moln (in another terminal; the keys are in its profile)
  moln mb s3://photos && moln ls

Edit the YAML while this runs: classes, rules and replicas take effect at once. Ctrl-C stops."""
