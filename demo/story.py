"""`make demo`: the main job of moln on a real cluster, with real files, narrated in plain words.

A cluster, helm install, a Cloud, files in by `moln cp` and by boto3, read back and compared, a rule edited, one node
made three, one of these killed. It leaves everything running and says how to go on and how to clean up.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import files
from clusters import CLUSTERS, ROOT, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = "moln-demo"
CLOUD = "photos"
MANIFEST = "examples/classes-and-rules.yaml"
STEPS = 9
NODES = 3


def shortened(lines: list[str], head: int = 30, tail: int = 2) -> list[str]:
    """The lines, with those in the middle counted where there are too many for a screen."""
    if len(lines) <= head + tail:
        return lines
    return [*lines[: head // 5], f"... {len(lines) - head // 5 - tail} more ...", *lines[-tail:]]


class Story:
    """Tells what happens, runs it, and keeps the time."""

    def __init__(self) -> None:
        self._step = 0
        self._began = time.monotonic()

    def step(self, title: str, text: str) -> None:
        """Begin the next chapter."""
        self._step += 1
        print(f"\n== {self._step}/{STEPS} {title}  ({time.monotonic() - self._began:.0f} s so far)\n{text}", flush=True)

    def run(self, cluster: Cluster, *command: str, show: bool = True) -> str:
        """Run a command where kubectl reaches the cluster, show it and what it printed; a failure ends the demo."""
        if show:
            print(f"  $ {' '.join(command)}", flush=True)
        done = subprocess.run(command, check=False, cwd=ROOT, env=cluster.environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        if show:
            print("".join(f"    {line}\n" for line in shortened(done.stdout.splitlines())), end="", flush=True)
        return done.stdout


def wait_ready(story: Story, cluster: Cluster, seconds: int = 240, *, settled: bool = False) -> dict[str, Any]:
    """Wait until the Cloud says Ready for its newest generation, printing each message that its status gives.

    With `settled` also until no change of nodes is under way.
    """
    deadline, said = time.monotonic() + seconds, set[str]()
    while True:
        text = story.run(cluster, "kubectl", "-n", NAMESPACE, "get", "cloud", CLOUD, "-o", "json", show=False)
        cloud: dict[str, Any] = json.loads(text)
        status = cloud.get("status", {})
        conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
        ready, progressing = conditions.get("Ready", {}), conditions.get("Progressing", {})
        current = ready.get("observedGeneration") == cloud["metadata"]["generation"]
        for condition in (ready, progressing) if settled else (ready,):
            if (message := condition.get("message", "")) not in {"", *said}:
                said.add(message)
                print(f"    {message}", flush=True)
        if current and ready.get("status") == "True" and not (settled and progressing.get("status") == "True"):
            return cloud
        if time.monotonic() > deadline:
            sys.exit(f"the Cloud was not Ready within {seconds} s; look: kubectl -n {NAMESPACE} describe cloud {CLOUD}")
        time.sleep(0.5)


@contextlib.contextmanager
def forwarded(cluster: Cluster, what: str = f"service/{CLOUD}") -> Iterator[str]:
    """The S3 endpoint on this machine while the context is open: of the cloud, or of one node."""
    command = ["kubectl", "-n", NAMESPACE, "port-forward", what, ":9000"]
    with subprocess.Popen(
        command, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            lines = []
            for line in process.stdout or ():
                lines.append(line)
                if match := re.search(r"127\.0\.0\.1:(\d+)", line):
                    yield f"http://127.0.0.1:{match[1]}"
                    return
            sys.exit(f"{' '.join(command)} ended: {''.join(lines)}")
        finally:
            process.terminate()


def install(story: Story, cluster: Cluster) -> None:
    """Helm, then a Cloud, then wait."""
    story.step("The operator", "One Helm chart: the operator, its three resource kinds and what it may do.")
    story.run(
        cluster,
        *("helm", "upgrade", "--install", "moln", "charts/moln", "--namespace", "moln-system", "--create-namespace"),
        *("--set-string", f"image.repository={cluster.repository}", "--set-string", f"image.tag={cluster.tag}"),
        *("--take-ownership", "--force-conflicts", "--wait", "--timeout", "3m"),
    )
    story.step("A cloud", f"{MANIFEST} is all a user writes: a size, two storage classes, rules that choose.")
    namespace = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    subprocess.run(
        ["kubectl", "apply", "-f", "-"], input=namespace, text=True, env=cluster.environment, check=True,
        capture_output=True,
    )  # fmt: skip
    story.run(cluster, "kubectl", "-n", NAMESPACE, "apply", "-f", MANIFEST)
    wait_ready(story, cluster)
    story.run(cluster, "kubectl", "-n", NAMESPACE, "get", "clouds,statefulsets,pods,persistentvolumeclaims")


def keys(story: Story, cluster: Cluster) -> tuple[str, str]:
    """The administrator's access key and its secret."""
    text = story.run(cluster, "kubectl", "-n", NAMESPACE, "get", "secret", f"{CLOUD}-root", "-o", "json", show=False)
    data = json.loads(text)["data"]
    return base64.b64decode(data["access_key"]).decode(), base64.b64decode(data["secret_key"]).decode()


def client(story: Story, cluster: Cluster, endpoint: str) -> Any:
    """boto3 at an endpoint; `moln` finds it too from now on."""
    access, secret = keys(story, cluster)
    cluster.environment |= {
        "MOLN_ENDPOINT": endpoint, "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=access, aws_secret_access_key=secret, region_name="us-east-1"
    )


def compare(s3: Any, bucket: str, prefix: str, expected: dict[str, str]) -> int:
    """List and read back what was put below `prefix`, compare SHA-256; the bytes read. A difference ends the demo.

    A cloud that an earlier demo left may have more: files that are gone from the project since.
    """
    total, seen = 0, set()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            name = entry["Key"].removeprefix(prefix)
            if name not in expected:
                continue
            seen.add(name)
            digest = hashlib.sha256()
            for chunk in s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].iter_chunks(1 << 20):
                digest.update(chunk)
                total += len(chunk)
            if digest.hexdigest() != expected[name]:
                sys.exit(f"{bucket}/{entry['Key']} came back different")
    if missing := expected.keys() - seen:
        sys.exit(f"not listed: {', '.join(sorted(missing))}")
    return total


def use(story: Story, cluster: Cluster, endpoint: str, folder: Path) -> None:
    """Files in, files out, compared; then a rule is edited."""
    s3 = client(story, cluster, endpoint)
    prints = files.fingerprints(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    story.step(
        "Files in",
        f"{len(prints)} real files, {size / 2**20:.0f} MiB: this project, its history, a recording, a sealed archive.\n"
        "Once with moln's own command, once with boto3: it is plain S3.",
    )
    for bucket in ("photos", "backup"):
        if bucket not in {entry["Name"] for entry in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=bucket)
    began = time.monotonic()
    story.run(cluster, "moln", "cp", "-r", f"{folder}/", "s3://photos/demo/")
    for name in prints:
        s3.upload_file(str(folder / name), "backup", f"demo/{name}")
    print(f"    {2 * size / 2**20:.0f} MiB in {time.monotonic() - began:.1f} s, through kubectl port-forward")
    story.step("Files out", "Everything is listed, read back and compared by SHA-256.")
    for bucket in ("photos", "backup"):
        total = compare(s3, bucket, "demo/", prints)
        print(f"    {bucket}: {len(prints)} objects, {total / 2**20:.0f} MiB, every one as it was")
    story.step(
        "A rule is edited",
        "Documents shall go to the ARCHIVE class from now on. No restart: the new map reaches the node in seconds.",
    )
    document = folder / "project" / "README.md"
    s3.upload_file(str(document), "photos", "documents/before.md")
    rule = {"name": "documents", "match": {"prefix": "documents/"}, "storageClass": "ARCHIVE"}
    patch = json.dumps([{"op": "add", "path": "/spec/assignmentRules/0", "value": rule}])
    story.run(cluster, "kubectl", "-n", NAMESPACE, "patch", "cloud", CLOUD, "--type=json", "-p", patch)
    wait_ready(story, cluster)
    s3.upload_file(str(document), "photos", "documents/after.md")
    for name in ("before", "after"):
        story.run(cluster, "moln", "stat", f"s3://photos/documents/{name}.md")


def grow(story: Story, cluster: Cluster) -> None:
    """One node becomes three, while it serves."""
    story.step(
        "More nodes",
        "`replicas` is edited, nothing else. New nodes join, every object gets its copies, and only then they count.",
    )
    story.run(cluster, "kubectl", "-n", NAMESPACE, "scale", f"cloud/{CLOUD}", f"--replicas={NODES}")
    wait_ready(story, cluster, settled=True)
    story.run(cluster, "kubectl", "-n", NAMESPACE, "get", "pods", "-o", "wide")
    story.run(cluster, "moln", "where", "s3://photos/documents/after.md", "--namespace", NAMESPACE)


def survive(story: Story, cluster: Cluster, folder: Path) -> None:
    """One of the three is killed; everything is still there."""
    story.step("A node dies", "The first node is killed without a word: the one that had everything in the beginning.")
    story.run(cluster, "kubectl", "-n", NAMESPACE, "delete", "pod", f"{CLOUD}-0", "--grace-period=0", "--force")
    prints = files.fingerprints(folder)
    with forwarded(cluster, f"pod/{CLOUD}-1") as endpoint:
        s3 = client(story, cluster, endpoint)
        for bucket in ("photos", "backup"):
            total = compare(s3, bucket, "demo/", prints)
            print(f"    {bucket}: {len(prints)} objects, {total / 2**20:.0f} MiB, every one as it was, from the others")
    wait_ready(story, cluster)


def main() -> None:
    """The story from the first step to the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cluster", choices=CLUSTERS, default="lab")
    arguments = parser.parse_args()
    story = Story()
    story.step("A Kubernetes cluster", "moln runs on any; this is a real one, on this machine.")
    cluster = CLUSTERS[arguments.cluster]()
    story.run(cluster, "kubectl", "get", "nodes", "-L", "topology.kubernetes.io/zone")
    install(story, cluster)
    with tempfile.TemporaryDirectory(prefix="moln-demo-") as name:
        folder = Path(name)
        files.gather(folder, ROOT)
        with forwarded(cluster) as endpoint:
            use(story, cluster, endpoint, folder)
        grow(story, cluster)
        survive(story, cluster, folder)
    story.step("It is yours", "The cloud goes on running. `kubectl get clouds` answers: is it all right?")
    story.run(cluster, "kubectl", "-n", NAMESPACE, "get", "clouds")
    print(
        f"\nTo go on:  export KUBECONFIG={cluster.environment.get('KUBECONFIG', '~/.kube/config')}\n"
        f"           kubectl -n {NAMESPACE} port-forward service/{CLOUD} 9000\n"
        f"           kubectl -n {NAMESPACE} get secret {CLOUD}-root -o yaml   # the keys\n"
        f"           kubectl -n {NAMESPACE} edit cloud {CLOUD}\n"
        f"To clean up: {cluster.clean_up}",
    )


if __name__ == "__main__":
    main()
