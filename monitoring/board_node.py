"""One node: its process, its disk, what it is asked and what it asks of itself."""

from __future__ import annotations

from typing import Final

from board_cloud import BAD_IF_ZERO, NO_NODE, VARIABLES
from panels import Dashboard, Query, Row, Variable, heat, lines, stat, table

HERE: Final = 'namespace=~"$namespace", cloud="$cloud", pod="$pod"'
_POD: Final = Variable(
    "pod", "Node", 'label_values(moln_node_build_info{namespace=~"$namespace", cloud="$cloud"}, pod)'
)


def _rate(counter: str) -> str:
    return f"rate({counter}{{{HERE}}}[$__rate_interval])"


def _quantiles(histogram: str) -> tuple[Query, ...]:
    buckets = f"sum by (le) ({_rate(histogram + '_bucket')})"
    return tuple(
        Query(f"histogram_quantile({share}, {buckets})", name)
        for share, name in ((0.5, "half"), (0.99, "99 of 100"), (1, "all"))
    )


_STATE: Final = Row(
    "How is it?",
    (
        stat(
            "Ready",
            "Whether the node says that S3 requests should come to it.",
            "none",
            Query(f"moln_node_ready{{{HERE}}}"),
            nothing=NO_NODE,
            steps=BAD_IF_ZERO,
            words={"0": "no", "1": "yes"},
        ),
        stat(
            "Votes",
            "Whether it counts as an owner: not while its disk is refilled by the others.",
            "none",
            Query(f"moln_node_counts{{{HERE}}}"),
            nothing=NO_NODE,
            steps=BAD_IF_ZERO,
            words={"0": "no", "1": "yes"},
        ),
        stat(
            "Up for",
            "Time since its process began.",
            "s",
            Query(f"time() - process_start_time_seconds{{{HERE}}}"),
            nothing=NO_NODE,
        ),
        stat(
            "Epoch",
            "Epoch of the cloud map that it obeys.",
            "none",
            Query(f"moln_node_map_epoch{{{HERE}}}"),
            nothing=NO_NODE,
        ),
        table(
            "Checks",
            "Each check of /ready: 0 is well, 1 a warning, 2 a failure.",
            Query(f"moln_node_check{{{HERE}}}"),
            nothing=NO_NODE,
            columns={"check": "Check", "Value": "State"},
            width=12,
        ),
    ),
)

_PROCESS: Final = Row(
    "The process",
    (
        lines(
            "Processor",
            "Seconds of processor time each second: 1 is one core. A node's event loop can use little more than one.",
            "short",
            Query(_rate("process_cpu_seconds_total"), "cores"),
        ),
        lines(
            "Memory",
            "Resident memory. Its limit is in the Cloud's spec.nodes.resources.",
            "bytes",
            Query(f"process_resident_memory_bytes{{{HERE}}}", "resident"),
        ),
        lines(
            "Event loop",
            "How late timers run: everything that the node answers waits at least as long.",
            "s",
            *_quantiles("moln_node_event_loop_lag_seconds"),
        ),
    ),
)

_DISK: Final = Row(
    "The disk",
    (
        lines(
            "Volume",
            "Used and free bytes of the volume, and the reserve at which writes stop.",
            "bytes",
            Query(f"moln_node_volume_used_bytes{{{HERE}}}", "used"),
            Query(f"moln_node_volume_free_bytes{{{HERE}}}", "free"),
            Query(f"moln_node_volume_reserve_bytes{{{HERE}}}", "reserve"),
        ),
        lines(
            "Write and fsync",
            "A small write and its fsync, tried every few seconds. Every acknowledged write waits for one.",
            "s",
            *_quantiles("moln_node_fsync_seconds"),
        ),
        lines(
            "Reserved by writes",
            "Bytes that writes under way have reserved on the volume.",
            "bytes",
            Query(f"moln_node_reserved_bytes{{{HERE}}}", "reserved"),
        ),
        lines(
            "Objects",
            "Bytes of objects kept here, by storage class.",
            "bytes",
            Query(f"moln_node_object_bytes{{{HERE}}}", "{{storage_class}}"),
            nothing="no objects",
            stacked=True,
            width=12,
        ),
        lines(
            "Maintenance",
            "What the last maintenance of each kind has counted.",
            "short",
            Query(f"moln_node_task_progress{{{HERE}}}", "{{kind}} {{counter}}"),
            nothing="no maintenance was run",
            width=12,
        ),
    ),
)

_INDEX: Final = Row(
    "The index",
    (
        lines(
            "Commits",
            "Transactions each second, each with its fsync, and the changes in them: many share one under load.",
            "wps",
            Query(_rate("moln_node_commits_total"), "commits"),
            Query(_rate("moln_node_commit_steps_total"), "changes"),
        ),
        lines(
            "Time of a commit",
            "From its first change to the disk, on average.",
            "s",
            Query(f"{_rate('moln_node_commit_seconds_total')} / {_rate('moln_node_commits_total')}", "a commit"),
            nothing="no writes",
        ),
        lines(
            "Waiting for the index",
            "Changes and queries that no thread has taken yet. Many for long: the disk or the processor is slow.",
            "short",
            Query(f"moln_node_store_waiting{{{HERE}}}", "{{lane}}"),
        ),
        lines(
            "Found in memory",
            "Share of the index's pages that did not have to be read from its file.",
            "percentunit",
            Query(
                f"{_rate('moln_node_index_cache_hits_total')} / ({_rate('moln_node_index_cache_hits_total')}"
                f" + {_rate('moln_node_index_cache_misses_total')})",
                "pages",
            ),
            nothing="no look at the index",
            max=1,
        ),
        lines(
            "Size",
            "The index, and its log. The log is folded into the index at some 8 MiB; one that grows is not.",
            "bytes",
            Query(f"moln_node_index_bytes{{{HERE}}}", "index"),
            Query(f"moln_node_index_log_bytes{{{HERE}}}", "log"),
        ),
        lines(
            "Without a reference",
            "Bodies that nothing refers to any more: those that wait to be removed, and those removed in a second.",
            "short",
            Query(f"moln_node_garbage_bodies{{{HERE}}}", "waiting"),
            Query(_rate("moln_node_collected_bodies_total"), "removed"),
        ),
    ),
)

_REQUESTS: Final = Row(
    "What it is asked",
    (
        lines(
            "S3 requests",
            "Requests that clients sent to this node, each second, by operation.",
            "reqps",
            Query(f"sum by (operation) ({_rate('moln_s3_requests_total')})", "{{operation}}"),
            nothing="no requests",
            stacked=True,
        ),
        heat(
            "Time to answer",
            "S3 requests each second by the time that they took, from head to the end of the answer.",
            Query(f"sum by (le) ({_rate('moln_s3_request_seconds_bucket')})", "{{le}}"),
            nothing="no requests",
        ),
        lines(
            "Bodies",
            "Bytes from and to clients each second.",
            "Bps",
            Query(_rate("moln_s3_received_bytes_total"), "received"),
            Query(_rate("moln_s3_sent_bytes_total"), "sent"),
        ),
        lines(
            "Calls of others",
            "Calls of other nodes and of the operator each second, by call.",
            "reqps",
            Query(f"sum by (call) ({_rate('moln_peer_requests_total')})", "{{call}}"),
            nothing="no calls",
            width=12,
        ),
        lines(
            "Time for others",
            "99 of 100 calls of others take less than this; by call.",
            "s",
            Query(
                f"histogram_quantile(0.99, sum by (le, call) ({_rate('moln_peer_request_seconds_bucket')}))", "{{call}}"
            ),
            nothing="no calls",
            width=12,
        ),
        lines(
            "In vain",
            "Calls of this node each second to which another gave no answer; by the one that was called.",
            "reqps",
            Query(_rate("moln_peer_unanswered_total"), "{{peer}}"),
            nothing="every call was answered",
            width=12,
        ),
        lines(
            "Waiting for repair",
            "Registers of which this node knows that another owner lacks something.",
            "short",
            Query(f"moln_node_hints{{{HERE}}}", "waiting"),
            width=12,
        ),
    ),
)

NODE: Final = Dashboard(
    uid="moln-node",
    title="moln / Node",
    description="One node of a storage cloud.",
    variables=(*VARIABLES, _POD),
    rows=(_STATE, _REQUESTS, _DISK, _INDEX, _PROCESS),
)
