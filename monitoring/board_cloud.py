"""A cloud at a glance: is it all right, how full, how fast, what is it repairing?"""

from __future__ import annotations

from typing import Final

from panels import Dashboard, Query, Row, Variable, bars, lines, stat

HERE: Final = 'namespace=~"$namespace", cloud="$cloud"'
SAID: Final = 'cloud_namespace=~"$namespace", cloud="$cloud"'  # by the operator

VARIABLES: Final = (
    Variable("namespace", "Namespace", "label_values(moln_node_build_info, namespace)", every=True),
    Variable("cloud", "Cloud", 'label_values(moln_node_build_info{namespace=~"$namespace"}, cloud)'),
)
NO_OPERATOR: Final = "no operator is scraped"
NO_NODE: Final = "no node is scraped"
GOOD_IF_ZERO: Final = ((None, "green"), (1, "orange"))
BAD_IF_ZERO: Final = ((None, "red"), (1, "green"))


def rate(counter: str, more: str = "") -> str:
    """The per-second rate of a counter of the cloud's nodes."""
    return f"rate({counter}{{{HERE}{more}}}[$__rate_interval])"


def quantile(share: float, histogram: str, *by: str) -> str:
    """A quantile of a histogram over all nodes."""
    return f"histogram_quantile({share}, sum by ({', '.join(('le', *by))}) ({rate(histogram + '_bucket')}))"


ERRORS: Final = rate("moln_s3_requests_total", ', code=~"5.."')
ALL: Final = rate("moln_s3_requests_total")
_FREE: Final = f"moln_node_volume_free_bytes{{{HERE}}}"
_RESERVE: Final = f"moln_node_volume_reserve_bytes{{{HERE}}}"
_USED: Final = f"moln_node_volume_used_bytes{{{HERE}}} / moln_node_volume_capacity_bytes{{{HERE}}}"

_HEALTH: Final = Row(
    "Is it all right?",
    (
        stat(
            "Ready",
            "The Cloud's Ready condition: every node serves by the newest map.",
            "none",
            Query(f'min(moln_operator_cloud_condition{{{SAID}, type="Ready"}})'),
            nothing=NO_OPERATOR,
            steps=BAD_IF_ZERO,
            words={"0": "no", "1": "yes"},
        ),
        stat(
            "Nodes ready",
            "Nodes that answer /ready with yes, of all that are asked for.",
            "none",
            Query(f"sum(moln_node_ready{{{HERE}}})", "ready"),
            Query(f'sum(moln_operator_cloud_nodes{{{SAID}, state="desired"}})', "asked for"),
            nothing=NO_NODE,
        ),
        stat(
            "Copies that serve",
            "Owners that are ready, of the key that is worst off. One left of several: the next loss costs data.",
            "none",
            Query(f"min(moln_operator_cloud_fewest_serving_copies{{{SAID}}})"),
            nothing=NO_OPERATOR,
            steps=((None, "red"), (1, "orange"), (2, "green")),
        ),
        stat(
            "Stuck partitions",
            "Partitions of whose owners no majority is ready: their keys can neither be read nor written.",
            "none",
            Query(f"sum(moln_operator_cloud_stuck_partitions{{{SAID}}})"),
            nothing=NO_OPERATOR,
            steps=((None, "green"), (1, "red")),
        ),
        stat(
            "Waiting for repair",
            "Registers of which a node knows that an owner lacks something. Falls to 0 when all owners are back.",
            "short",
            Query(f"sum(moln_node_hints{{{HERE}}})"),
            nothing=NO_NODE,
            steps=GOOD_IF_ZERO,
        ),
        stat(
            "Server errors",
            "Share of S3 requests answered with 5xx. Clients retry these; a share that stays is for a person.",
            "percentunit",
            Query(f"(sum({ERRORS}) or 0 * sum({ALL})) / (sum({ALL}) > 0)"),
            nothing="no requests",
            steps=((None, "green"), (0.001, "orange"), (0.05, "red")),
        ),
        stat(
            "Slow fsync",
            "99 of 100 small writes are on the slowest node's disk within this time. Every write waits for it.",
            "s",
            Query(f"max({quantile(0.99, 'moln_node_fsync_seconds', 'pod')})"),
            nothing=NO_NODE,
            steps=((None, "green"), (0.1, "orange"), (0.5, "red")),
        ),
        stat(
            "Alerts",
            "Alerts of this cloud that fire. docs/runbooks.md says what to do about each.",
            "none",
            Query('sum(ALERTS{alertname=~"Moln.*", alertstate="firing", cloud="$cloud"}) or vector(0)'),
            nothing="0",
            steps=((None, "green"), (1, "red")),
        ),
    ),
)

_ROOM: Final = Row(
    "How full, and when full?",
    (
        stat(
            "Fullest volume",
            "Used share of the fullest node's volume. Writes stop at its reserve: grow the volumes before.",
            "percentunit",
            Query(f"max({_USED})"),
            nothing=NO_NODE,
            steps=((None, "green"), (0.8, "orange"), (0.9, "red")),
            width=4,
        ),
        stat(
            "Full in",
            "When the first volume reaches its reserve, if it fills as it did in the last six hours.",
            "s",
            Query(f"min(clamp_min({_FREE} - {_RESERVE}, 0) / (-deriv({_FREE}[6h]) > 0))"),
            nothing="it does not fill",
            steps=((None, "red"), (259200, "orange"), (1209600, "green")),
            width=4,
        ),
        lines(
            "Used by node",
            "Used share of each volume; the fullest decides when the cloud is full.",
            "percentunit",
            Query(_USED, "{{pod}}"),
            max=1,
        ),
        lines(
            "Objects",
            "Bytes of objects by storage class, as clients wrote them, each copy counted.",
            "bytes",
            Query(f"sum by (storage_class) (moln_node_object_bytes{{{HERE}}})", "{{storage_class}}"),
            nothing="no objects",
            stacked=True,
        ),
        bars(
            "Largest buckets",
            "Bytes of objects in the ten largest buckets, each copy counted.",
            "bytes",
            Query(f"topk(10, sum by (bucket) (moln_node_bucket_bytes{{{HERE}}}))", "{{bucket}}"),
            nothing="no objects",
            width=12,
        ),
        lines(
            "Number of objects",
            "Versions of objects by storage class, each copy counted.",
            "short",
            Query(f"sum by (storage_class) (moln_node_objects{{{HERE}}})", "{{storage_class}}"),
            nothing="no objects",
            width=12,
        ),
    ),
)

_SPEED: Final = Row(
    "How fast?",
    (
        lines(
            "Requests",
            "S3 requests answered each second, by operation.",
            "reqps",
            Query(f"sum by (operation) ({ALL})", "{{operation}}"),
            nothing="no requests",
            stacked=True,
        ),
        lines(
            "Answers",
            "S3 answers each second by status. 503 is a request for patience, 507 a full cloud, 500 a defect.",
            "reqps",
            Query(f"sum by (code) ({ALL})", "{{code}}"),
            nothing="no requests",
            stacked=True,
        ),
        lines(
            "Under way",
            "S3 requests that are not answered yet, by node. At 512 a node tells clients to slow down.",
            "short",
            Query(f"moln_s3_requests_in_flight{{{HERE}}}", "{{pod}}"),
        ),
        lines(
            "Time to answer: median",
            "Half of the requests take less than this, from their head to the end of the answer; by operation.",
            "s",
            Query(quantile(0.5, "moln_s3_request_seconds", "operation"), "{{operation}}"),
            nothing="no requests",
        ),
        lines(
            "Time to answer: 99 of 100",
            "All but one of a hundred requests take less than this; large bodies take longer. By operation.",
            "s",
            Query(quantile(0.99, "moln_s3_request_seconds", "operation"), "{{operation}}"),
            nothing="no requests",
        ),
        lines(
            "Throughput",
            "Bytes of bodies from and to clients each second.",
            "Bps",
            Query(f"sum({rate('moln_s3_received_bytes_total')})", "received"),
            Query(f"sum({rate('moln_s3_sent_bytes_total')})", "sent"),
        ),
    ),
)

_REPAIR: Final = Row(
    "What is it repairing?",
    (
        lines(
            "Waiting for repair",
            "Registers of which a node knows that an owner lacks something. Grows while an owner is away, then falls.",
            "short",
            Query(f"moln_node_hints{{{HERE}}}", "{{pod}}"),
        ),
        lines(
            "Owed",
            "Writes that a node acknowledged alone (write: one), for the others to take; dead: not tried any more.",
            "short",
            Query(f"moln_node_owed{{{HERE}}}", "{{pod}}"),
            Query(f"moln_node_dead_letters{{{HERE}}}", "{{pod}} dead"),
        ),
        lines(
            "Nodes that refill or leave",
            "Nodes that do not vote because their disk is refilled, and nodes that are being emptied.",
            "none",
            Query(f"count(moln_node_counts{{{HERE}}} == 0) or vector(0)", "refilling"),
            Query(f'sum(moln_operator_cloud_map_nodes{{{SAID}, state="leaving"}})', "leaving"),
            Query(f'sum(moln_operator_cloud_map_nodes{{{SAID}, state="joining"}})', "joining"),
            nothing=NO_OPERATOR,
        ),
        lines(
            "Map",
            "Epoch of the newest map, and the epoch that every node has. Apart for long: a node can't be reached.",
            "none",
            Query(f"max(moln_operator_cloud_map_epoch{{{SAID}}})", "newest"),
            Query(f"max(moln_operator_cloud_acknowledged_epoch{{{SAID}}})", "every node"),
            nothing=NO_OPERATOR,
        ),
        lines(
            "Between nodes",
            "Calls of other nodes and of the operator each second, by call.",
            "reqps",
            Query(f"sum by (call) ({rate('moln_peer_requests_total')})", "{{call}}"),
            nothing="no calls",
            width=12,
        ),
        lines(
            "Repaired",
            "Bytes of bodies that owners took over from others each second: what they had missed, or own now.",
            "Bps",
            Query(f"sum by (pod) ({rate('moln_node_repaired_bytes_total')})", "{{pod}}"),
            width=12,
        ),
        lines(
            "On the move",
            "While the layout changes: registers whose owners change and that are not everywhere yet, by estimate.",
            "short",
            Query(
                f'sum by (pod) (moln_node_moving_registers{{{HERE}, state="total"}})'
                f' - sum by (pod) (moln_node_moving_registers{{{HERE}, state="done"}})',
                "{{pod}}",
            ),
            nothing="nothing moves",
            width=12,
        ),
        lines(
            "Left on nodes that go",
            "Registers on each node that leaves: it goes when there are none. They fall once others have taken all.",
            "short",
            Query(f"moln_operator_cloud_leaving_registers{{{SAID}}}", "{{node}}"),
            nothing="no node leaves",
            width=12,
        ),
        lines(
            "Damage",
            "Copies with wrong bytes that reads met since each node's start, and those of them that were replaced; "
            "those that the last full scrub, or one since, could not replace.",
            "short",
            Query(f"sum(moln_node_damage_found_total{{{HERE}}})", "found"),
            Query(f"sum(moln_node_damage_healed_total{{{HERE}}})", "healed"),
            Query(f"sum(moln_node_scrub_unhealed{{{HERE}}})", "not healed by a scrub"),
            width=12,
        ),
        lines(
            "Found by maintenance",
            "What the last scrub of each node found to be bad, and orphans that belong to nothing.",
            "short",
            Query(f'moln_node_task_progress{{{HERE}, counter=~"bad|orphans"}}', "{{pod}} {{kind}} {{counter}}"),
            nothing="no maintenance was run",
            width=12,
        ),
    ),
)

CLOUD: Final = Dashboard(
    uid="moln-cloud",
    title="moln / Cloud",
    description="A storage cloud at a glance.",
    variables=VARIABLES,
    rows=(_HEALTH, _ROOM, _SPEED, _REPAIR),
)
