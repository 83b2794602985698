"""The programs that people use, against a Cloud on the lab: each connection to the next node, as a Service has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.clients import test_clients as ordinary
from tests.clients.conftest import Bench, Door
from tests.clients.spray import Spray
from tests.e2e.cluster import a_cloud
from tests.e2e.story import pods

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.cluster import Namespace

pytestmark = pytest.mark.lab

WORK = (
    ordinary.test_boto3_transfers_with_its_own_manager,
    ordinary.test_aws_cli_copies_syncs_lists_and_removes,
    ordinary.test_rclone_syncs_checks_and_moves,
    ordinary.test_restic_backs_up_checks_and_restores,
    ordinary.test_the_minio_client_mirrors_finds_and_removes,
)


def test_programs_do_their_ordinary_work(namespace: Namespace, tmp_path: Path) -> None:
    """Five nodes; what comes back is what went in."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 5, "volume": {"size": "1Gi"}}))
    namespace.wait_settled("photos", "5/5")
    key = namespace.secret("photos-root")
    nodes = [f"{namespace.get('pod', pod)['status']['podIP']}:9000" for pod in sorted(pods(namespace))]
    with Spray(nodes) as spray:
        door = Door(f"http://{spray.address}", key["access_key"], key["secret_key"])
        for number, work in enumerate(WORK):
            folder = tmp_path / str(number)
            folder.mkdir()
            door.s3().create_bucket(Bucket=f"work-{number}")
            work(Bench(door, f"work-{number}", folder))
        assert spray.connections > len(WORK) * len(nodes)
