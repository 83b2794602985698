"""What a policy says of a request: an explicit Deny wins, then Allow, else nothing. Pure."""

from __future__ import annotations

from enum import Enum
from ipaddress import ip_network
from typing import TYPE_CHECKING

from moln_node.s3.policy.document import Effect, Policy, Statement
from moln_node.s3.policy.keys import Facts, values_of

if TYPE_CHECKING:
    from moln_node.s3.policy.conditions import Condition


class Verdict(Enum):
    """A policy's answer."""

    ALLOW = "allow"
    DENY = "deny"
    SILENT = "silent"


def _applies(statement: Statement, action: str, resource: str, facts: Facts) -> bool:
    named = "*" in statement.principals or (bool(facts.owner) and facts.owner in statement.principals)
    if named == statement.not_principals:
        return False
    if any(pattern.match(action) for pattern in statement.actions) == statement.not_actions:
        return False
    if any(pattern.match(resource) for pattern in statement.resources) == statement.not_resources:
        return False
    return all(condition.holds(values_of(condition.key, facts)) for condition in statement.conditions)


def evaluate(policy: Policy, action: str, resource: str, facts: Facts) -> Verdict:
    """May `action` (s3:GetObject) be done to `resource` (`bucket` or `bucket/key`)?"""
    verdict = Verdict.SILENT
    for statement in policy.statements:
        if verdict is Verdict.ALLOW and statement.effect is Effect.ALLOW:
            continue
        if _applies(statement, action, resource, facts):
            if statement.effect is Effect.DENY:
                return Verdict.DENY
            verdict = Verdict.ALLOW
    return verdict


# Keys whose fixed value ties a statement to somebody, so that `Principal: *` does not make it public.
_FIXING = frozenset({"aws:principalarn", "aws:sourceaccount", "aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce",
                     "aws:userid", "aws:username"})  # fmt: skip


def _fixes(condition: Condition) -> bool:
    """Whether a condition narrows everybody down to somebody."""
    if condition.key == "aws:sourceip" and condition.operator == "IpAddress":
        networks = [ip_network(value, strict=False) for value in condition.values]
        return all(network.prefixlen >= (8 if network.version == 4 else 32) for network in networks)
    if condition.key not in _FIXING or condition.operator not in {"StringEquals", "StringLike", "ArnEquals", "ArnLike"}:
        return False
    return not any("*" in value or "?" in value for value in condition.values)


def is_public(policy: Policy) -> bool:
    """Whether a statement allows something to everybody, as GetBucketPolicyStatus and BlockPublicPolicy mean it."""
    return any(
        statement.effect is Effect.ALLOW
        and "*" in statement.principals  # an Allow has no NotPrincipal
        and not any(_fixes(condition) for condition in statement.conditions)
        for statement in policy.statements
    )
