"""The operator: whether it works, and every Cloud as it finds it."""

from __future__ import annotations

from typing import Final

from board_cloud import BAD_IF_ZERO, GOOD_IF_ZERO, NO_OPERATOR
from panels import Dashboard, Query, Row, Variable, lines, stat, table

HERE: Final = 'namespace=~"$namespace"'


def _rate(counter: str) -> str:
    return f"rate({counter}{{{HERE}}}[$__rate_interval])"


_CLOUDS: Final = Row(
    "Clouds",
    (
        stat(
            "Clouds",
            "Clouds that the operator looks after.",
            "none",
            Query(f"sum(moln_operator_clouds{{{HERE}}}) or 0 * max(moln_operator_leader{{{HERE}}})"),
            nothing=NO_OPERATOR,
        ),
        stat(
            "Not ready",
            "Clouds whose Ready condition is not True.",
            "none",
            Query(f'sum(1 - moln_operator_cloud_condition{{{HERE}, type="Ready"}})'),
            nothing="no Cloud",
            steps=GOOD_IF_ZERO,
        ),
        stat(
            "At risk",
            "Clouds of which some key has no owner that is ready, or one of several.",
            "none",
            Query(
                f"count((moln_operator_cloud_fewest_serving_copies{{{HERE}}} <= 1"
                f" and moln_operator_cloud_copies{{{HERE}}} > 1)"
                f" or moln_operator_cloud_fewest_serving_copies{{{HERE}}} == 0) or vector(0)"
            ),
            nothing="no Cloud",
            steps=((None, "green"), (1, "red")),
        ),
        stat(
            "Not looked at for",
            "Time since the last look that ended well, of the Cloud where that is longest ago.",
            "s",
            Query(f"max(time() - moln_operator_cloud_reconciled_timestamp_seconds{{{HERE}}})"),
            nothing="no Cloud",
            steps=((None, "green"), (120, "orange"), (900, "red")),
        ),
        table(
            "Conditions",
            "The conditions of each Cloud: 1 is True.",
            Query(f"sum by (cloud_namespace, cloud, type) (moln_operator_cloud_condition{{{HERE}}})"),
            nothing="no Cloud",
            columns={"cloud_namespace": "Namespace", "cloud": "Cloud", "type": "Condition", "Value": "True"},
            width=12,
        ),
        lines(
            "Nodes",
            "Nodes that are asked for and that are ready, of each Cloud.",
            "none",
            Query(f'moln_operator_cloud_nodes{{{HERE}, state="desired"}}', "{{cloud}} asked for"),
            Query(f'moln_operator_cloud_nodes{{{HERE}, state="ready"}}', "{{cloud}} ready"),
            nothing="no Cloud",
            width=12,
        ),
        lines(
            "Copies that serve",
            "Owners that are ready, of the key that is worst off, of each Cloud.",
            "none",
            Query(f"moln_operator_cloud_fewest_serving_copies{{{HERE}}}", "{{cloud}}"),
            nothing="no Cloud",
            width=12,
        ),
    ),
)

_WORK: Final = Row(
    "Its work",
    (
        stat(
            "Works",
            "Whether one of the operator's replicas reconciles; the others wait for its Lease.",
            "none",
            Query(f"max(moln_operator_leader{{{HERE}}})"),
            nothing=NO_OPERATOR,
            steps=BAD_IF_ZERO,
            words={"0": "no", "1": "yes"},
        ),
        lines(
            "Looks",
            "Looks at Clouds each second, by how they ended.",
            "cps",
            Query(f"sum by (result) ({_rate('moln_operator_reconciles_total')})", "{{result}}"),
            nothing="no looks",
            width=7,
        ),
        lines(
            "Time of a look",
            "How long half and nearly all looks take. A node that does not answer costs four seconds.",
            "s",
            *(
                Query(
                    f"histogram_quantile({share}, sum by (le) ({_rate('moln_operator_reconcile_seconds_bucket')}))",
                    name,
                )
                for share, name in ((0.5, "half"), (0.99, "99 of 100"))
            ),
            nothing="no looks",
            width=7,
        ),
        lines(
            "Writes",
            "Writes to the Kubernetes API each second, by kind. A settled cloud causes none.",
            "wps",
            Query(f"sum by (kind) ({_rate('moln_operator_api_writes_total')})", "{{kind}}"),
            nothing="no writes",
            width=7,
        ),
        lines(
            "Queue",
            "Clouds that wait to be looked at.",
            "short",
            Query(f"max(moln_operator_queue_length{{{HERE}}})", "waiting"),
        ),
        lines(
            "Memory",
            "Resident memory of each replica.",
            "bytes",
            Query(f"process_resident_memory_bytes{{{HERE}}} and on (instance) moln_operator_leader", "{{pod}}"),
        ),
        lines(
            "Processor",
            "Seconds of processor time each second, of each replica.",
            "short",
            Query(f"{_rate('process_cpu_seconds_total')} and on (instance) moln_operator_leader", "{{pod}}"),
        ),
    ),
)

OPERATOR: Final = Dashboard(
    uid="moln-operator",
    title="moln / Operator",
    description="The operator, and every Cloud as it finds it.",
    variables=(Variable("namespace", "Namespace", "label_values(moln_operator_leader, namespace)", every=True),),
    rows=(_CLOUDS, _WORK),
)
