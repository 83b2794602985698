"""What users must not write, and the sentence that they read: held against the models and against the API server."""

from __future__ import annotations

from typing import Any

from moln_spec.resources import cloud, pool

Manifest = dict[str, Any]


def a_cloud(**spec: Any) -> Manifest:
    """A Cloud with this spec."""
    return {"apiVersion": "moln.dev/v1alpha1", "kind": "Cloud", "metadata": {"name": "photos"}, "spec": spec}


CLASSES = [{"name": "A", "default": True}, {"name": "B"}]

REFUSED: dict[str, tuple[Manifest, str]] = {
    "two defaults": (
        a_cloud(storageClasses=[{"name": "A", "default": True}, {"name": "B", "default": True}]),
        cloud.ONE_DEFAULT.message,
    ),
    "no default": (a_cloud(storageClasses=[{"name": "A"}, {"name": "B"}]), cloud.SOME_DEFAULT.message),
    "a rule with an unknown class": (
        a_cloud(storageClasses=CLASSES, assignmentRules=[{"match": {"prefix": "x"}, "storageClass": "C"}]),
        cloud.RULES_NAME_CLASSES.message,
    ),
    "a rule that decides nothing": (a_cloud(assignmentRules=[{"name": "x"}]), cloud.RULES_DECIDE.message),
    "a rule that can't match": (
        a_cloud(assignmentRules=[{"match": {"minSize": 2, "maxSize": 1}, "storageClass": "STANDARD"}]),
        cloud.RULES_CAN_MATCH.message,
    ),
    "a node port without its type": (a_cloud(service={"nodePort": 30900}), cloud.PORT_NEEDS_TYPE.message),
    "no nodes": (a_cloud(nodes={"replicas": 0}), pool.NOT_EMPTY.message),
    "a tiny volume": (a_cloud(nodes={"volume": {"size": "1Mi"}}), pool.BIG_ENOUGH.message),
}
"""Refused by both, with the same sentence."""

SERVER_ONLY: dict[str, tuple[Manifest, str]] = {
    "a long name": ({**a_cloud(), "metadata": {"name": "p" * 41}}, cloud.NAME.message),
    "a name with a dot": ({**a_cloud(), "metadata": {"name": "photos.home"}}, cloud.NAME.message),
    "the same class twice": (a_cloud(storageClasses=[CLASSES[0], CLASSES[0]]), "Duplicate value"),
    "the same Secret twice": (a_cloud(accessKeys=[{"secretName": "a"}, {"secretName": "a"}]), "Duplicate value"),
    "a size without meaning": (a_cloud(nodes={"volume": {"size": "big"}}), "should match"),
    "an unknown compression": (
        a_cloud(storageClasses=[{"name": "A", "compression": {"algorithm": "zip"}}]),
        'Unsupported value: "zip"',
    ),
    "too many copies": (
        {
            "apiVersion": "moln.dev/v1alpha1",
            "kind": "ReplicationPolicy",
            "metadata": {"name": "p"},
            "spec": {"cloudRef": {"name": "photos"}, "copies": 10},
        },
        "should be less than or equal to 9",
    ),
    "a typing error": (a_cloud(nods={}), 'unknown field "nods"'),
}
"""Refused by the API server in its own words, or in ours where the model leaves the decision to the operator."""

EDITS: dict[str, tuple[Manifest, Manifest, str]] = {
    "a smaller volume": (
        a_cloud(nodes={"volume": {"size": "2Gi"}}),
        a_cloud(nodes={"volume": {"size": "1Gi"}}),
        pool.NO_SHRINK.message,
    ),
    "another StorageClass": (
        a_cloud(nodes={"volume": {"storageClassName": "fast"}}),
        a_cloud(nodes={"volume": {"storageClassName": "slow"}}),
        pool.SAME_STORAGE_CLASS.message,
    ),
    "a StorageClass that comes later": (
        a_cloud(nodes={}),
        a_cloud(nodes={"volume": {"storageClassName": "slow"}}),
        pool.SAME_STORAGE_CLASS.message,
    ),
    "the pool taken away": (a_cloud(nodes={}), a_cloud(), cloud.POOL_STAYS.message),
}
"""Refused because of what was there before."""
