"""The policy language by tables: what is read, what is refused with a sentence, and what each statement decides."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moln_node.s3.policy.document import PolicyError, parse_policy
from moln_node.s3.policy.evaluate import Verdict, evaluate, is_public
from moln_node.s3.policy.keys import Facts
from moln_node.s3.policy.patterns import compile_pattern

FACTS = Facts(
    owner="alice",
    name="Alice",
    remote="192.0.2.7",
    secure=False,
    now=1_800_000_000.0,  # 2027-01-15T08:00:00Z
    headers={"Referer": "https://example.com/page", "User-Agent": "curl/8", "x-amz-acl": "public-read"},
    query={"prefix": "docs/", "max-keys": "10"},
    existing_tags={"class": "open"},
    request_tags={"a": "1", "b": "2"},
)
ANONYMOUS = dataclasses.replace(FACTS, owner="", name="")


def statement(**changes: Any) -> dict[str, Any]:
    """A statement that lets everybody read, changed; None removes an element."""
    base = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*"}
    return {name: value for name, value in (base | changes).items() if value is not None}


def policy(*statements: dict[str, Any]) -> str:
    """A policy of these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def decide(
    *statements: dict[str, Any], action: str = "s3:GetObject", resource: str = "box/key", facts: Facts = FACTS
) -> Verdict:
    """What the statements say."""
    return evaluate(parse_policy(policy(*statements), "box"), action, resource, facts)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": "alice"}}, True),
        ({"Principal": {"AWS": ["bob", "arn:aws:iam::123456789012:user/path/alice"]}}, True),
        ({"Principal": {"AWS": "arn:aws:iam::alice:root"}}, True),
        ({"Principal": {"CanonicalUser": "alice"}}, True),
        ({"Principal": {"AWS": "bob"}}, False),
        ({"Principal": {"Service": "logging.s3.amazonaws.com"}}, False),
        ({"Action": "s3:*"}, True),
        ({"Action": "*"}, True),
        ({"Action": "S3:getobject"}, True),
        ({"Action": ["s3:PutObject", "s3:Get?bject"]}, True),
        ({"Action": "s3:GetObjectAcl"}, False),
        ({"Action": None, "NotAction": "s3:PutObject"}, True),
        ({"Action": None, "NotAction": "s3:Get*"}, False),
        ({"Resource": "*"}, True),
        ({"Resource": "arn:aws:s3:::*"}, True),
        ({"Resource": "arn:aws:s3:::box/k?y"}, True),
        ({"Resource": "arn:aws:s3:::b*"}, True),
        ({"Resource": "arn:aws:s3:::box"}, False),
        ({"Resource": "arn:aws:s3:::box/KEY"}, False),
        ({"Resource": None, "NotResource": "arn:aws:s3:::box/secret*"}, True),
        ({"Resource": None, "NotResource": "arn:aws:s3:::box/k*"}, False),
    ],
)
def test_elements(changes: dict[str, Any], allowed: bool) -> None:
    """Principals, actions and resources match as AWS documents them."""
    assert decide(statement(**changes)) is (Verdict.ALLOW if allowed else Verdict.SILENT)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"s3:prefix": "docs/"}}, True),
        ({"StringEquals": {"s3:prefix": ["a", "docs/"]}}, True),
        ({"StringEquals": {"s3:prefix": "Docs/"}}, False),
        ({"StringEqualsIgnoreCase": {"s3:prefix": "Docs/"}}, True),
        ({"StringNotEquals": {"s3:prefix": "docs/"}}, False),
        ({"StringNotEquals": {"s3:delimiter": "/"}}, True),
        ({"StringEquals": {"s3:delimiter": "/"}}, False),
        ({"StringEqualsIfExists": {"s3:delimiter": "/"}}, True),
        ({"StringEqualsIfExists": {"s3:prefix": "other"}}, False),
        ({"StringLike": {"aws:Referer": "https://example.com/*"}}, True),
        ({"StringNotLike": {"aws:Referer": "https://example.com/*"}}, False),
        ({"StringLike": {"aws:useragent": "curl/?"}}, True),
        ({"StringLike": {"s3:x-amz-acl": "public*"}}, True),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, True),
        ({"NumericLessThan": {"s3:max-keys": 10}}, False),
        ({"NumericGreaterThan": {"s3:max-keys": "9"}}, True),
        ({"NumericNotEquals": {"s3:max-keys": "10"}}, False),
        ({"DateLessThan": {"aws:CurrentTime": "2027-01-16T00:00:00Z"}}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2027-01-16T00:00:00Z"}}, False),
        ({"DateGreaterThanEquals": {"aws:EpochTime": "1800000000"}}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, False),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, True),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}}, False),
        ({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, False),
        ({"Null": {"s3:delimiter": "true"}}, True),
        ({"Null": {"s3:prefix": "true"}}, False),
        ({"Null": {"s3:prefix": "false"}}, True),
        ({"StringEquals": {"s3:ExistingObjectTag/class": "open"}}, True),
        ({"StringEquals": {"s3:ExistingObjectTag/Class": "open"}}, False),
        ({"StringEquals": {"s3:RequestObjectTag/a": "1"}}, True),
        ({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b", "c"]}}, True),
        ({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a"]}}, False),
        ({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["b", "z"]}}, True),
        ({"ForAnyValue:StringNotEquals": {"s3:RequestObjectTagKeys": ["a"]}}, True),
        ({"ForAllValues:StringLike": {"s3:x-amz-grant-read": "x"}}, True),
        ({"ForAnyValue:StringLike": {"s3:x-amz-grant-read": "*"}}, False),
        ({"StringEquals": {"aws:userid": "alice"}, "StringLike": {"s3:prefix": "docs*"}}, True),
        ({"StringEquals": {"aws:userid": "alice"}, "StringLike": {"s3:prefix": "x*"}}, False),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}}, False),
    ],
)
def test_conditions(condition: dict[str, Any], holds: bool) -> None:
    """Every operator, with keys that are there and keys that are not."""
    assert decide(statement(Condition=condition)) is (Verdict.ALLOW if holds else Verdict.SILENT)


def test_addresses_of_dual_stack_sockets() -> None:
    """An IPv4 client that a dual-stack socket shows as IPv6 is the same client."""
    condition = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}
    mapped = dataclasses.replace(FACTS, remote="::ffff:192.0.2.7")
    assert decide(statement(Condition=condition), facts=mapped) is Verdict.ALLOW
    assert decide(statement(Condition=condition), facts=dataclasses.replace(FACTS, remote="")) is Verdict.SILENT


def test_deny_wins_wherever_it_stands() -> None:
    """An explicit Deny wins over any Allow, before or after it; a Deny that does not apply changes nothing."""
    deny = statement(Effect="Deny", Resource="arn:aws:s3:::box/secret")
    for order in ((statement(), deny), (deny, statement())):
        assert decide(*order, resource="box/secret") is Verdict.DENY
        assert decide(*order) is Verdict.ALLOW
    assert decide(deny) is Verdict.SILENT


def test_deny_all_but_some() -> None:
    """A Deny with NotPrincipal binds everybody else."""
    deny = statement(Effect="Deny", Principal=None, NotPrincipal={"AWS": "bob"})
    assert decide(statement(), deny) is Verdict.DENY
    assert decide(statement(), deny, facts=dataclasses.replace(FACTS, owner="bob")) is Verdict.ALLOW


def test_anonymous_is_nobody_but_everybody() -> None:
    """An anonymous caller is meant by `*` alone, and its empty id by nothing."""
    assert decide(statement(), facts=ANONYMOUS) is Verdict.ALLOW
    assert decide(statement(Principal={"AWS": "alice"}), facts=ANONYMOUS) is Verdict.SILENT
    assert decide(statement(Principal={"Service": "x"}), facts=ANONYMOUS) is Verdict.SILENT
    assert decide(statement(Condition={"Null": {"aws:userid": "false"}}), facts=ANONYMOUS) is Verdict.SILENT


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "invalid Json"),
        ("[" * 100_00, "invalid Json"),
        ("[]", "must be valid JSON"),
        ("{}", "Missing required field Statement"),
        ('{"Version": "2020-01-01", "Statement": []}', "valid version"),
        ('{"Version": "2012-10-17", "Statement": [], "Extra": 1}', "Unknown field Extra"),
        (policy(statement(Effect="allow")), "Invalid effect"),
        (policy(statement(Effect=None)), "Invalid effect"),
        (policy(statement(Principal=None)), "Missing required field Principal"),
        (policy(statement(NotPrincipal="*")), "exclude each other"),
        (policy(statement(Principal=None, NotPrincipal={"AWS": "bob"})), "Allow with NotPrincipal"),
        (policy(statement(Principal={"AWS": []})), "Principal must be"),
        (policy(statement(Principal={"Who": "me"})), "Invalid principal"),
        (policy(statement(Principal={"AWS": "arn:aws:s3:::x"})), "Invalid principal"),
        (policy(statement(Action=None)), "Missing required field Action"),
        (policy(statement(Action="ec2:Run")), "invalid action"),
        (policy(statement(Action=7)), "Action must be"),
        (policy(statement(Resource=None)), "Missing required field Resource"),
        (policy(statement(Resource="box/*")), "invalid resource"),
        (policy(statement(Resource="arn:aws:s3:::other/*")), "not of the bucket box"),
        (policy(statement(Resource="arn:aws:s3:::box/${aws:username}")), "variables"),
        (policy(statement(Condition=[])), "Condition must be"),
        (policy(statement(Condition={"StringIs": {"s3:prefix": "a"}})), "invalid Condition type"),
        (policy(statement(Condition={"ForSome:StringEquals": {"s3:prefix": "a"}})), "invalid Condition type"),
        (policy(statement(Condition={"StringEquals": {"s3:perfix": "a"}})), "invalid condition key"),
        (policy(statement(Condition={"StringEquals": {"s3:prefix/x": "a"}})), "invalid condition key"),
        (policy(statement(Condition={"StringEquals": {"s3:prefix": {}}})), "values of a condition"),
        (policy(statement(Condition={"StringEquals": {"s3:prefix": []}})), "no value"),
        (policy(statement(Condition={"IpAddress": {"aws:SourceIp": "here"}})), "not an IP address"),
        (policy(statement(Condition={"NumericEquals": {"s3:max-keys": "ten"}})), "not a number"),
        (policy(statement(Condition={"DateEquals": {"aws:CurrentTime": "now"}})), "not a date"),
        (policy(statement(Condition={"Bool": {"aws:SecureTransport": "yes"}})), "true or false"),
        (policy(statement(Condition={"Null": {"s3:prefix": "maybe"}})), "true and false"),
        (policy(statement(Sid=7)), "Sid must be"),
        (policy(statement(Sid="x" * 21_000)), "maximum size"),
        (policy(statement(Efect="Allow")), "Unknown field Efect"),
        ('{"Statement": ["x"]}', "must be an object"),
    ],
)
def test_refused_with_a_sentence(text: str, sentence: str) -> None:
    """A policy that cannot mean what its writer thinks is refused, and told why."""
    with pytest.raises(PolicyError, match=sentence):
        parse_policy(text, "box")


@pytest.mark.parametrize(
    ("changes", "public"),
    [
        ({}, True),
        ({"Effect": "Deny"}, False),
        ({"Principal": {"AWS": "alice"}}, False),
        ({"Principal": {"AWS": ["alice", "*"]}}, True),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}}}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}, True),
        ({"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/32"}}}, True),
        ({"Condition": {"StringEquals": {"aws:userid": "alice"}}}, False),
        ({"Condition": {"StringLike": {"aws:userid": "*"}}}, True),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, True),
    ],
)
def test_public(changes: dict[str, Any], public: bool) -> None:
    """A policy is public when a statement allows everybody, unless a condition ties it to somebody."""
    assert is_public(parse_policy(policy(statement(**changes)), "box")) is public


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["*", "Allow", "s3:GetObject"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Version", "Statement", "Effect", "Principal", "AWS", "Action", "Resource", "Condition", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(_JSON)
def test_any_json(document: Any) -> None:
    """Whatever JSON is put, it is a policy or it is refused; and a policy can be asked."""
    try:
        read = parse_policy(json.dumps(document), "box")
    except PolicyError:
        return
    assert evaluate(read, "s3:GetObject", "box/key", FACTS) in Verdict


@given(st.text("ab*?[]!-.\n", max_size=12), st.text("ab[]!-.\n", max_size=12))
def test_wildcards(pattern: str, text: str) -> None:
    """Wildcards agree with their definition: a star is any run, a question mark any one, the rest itself."""

    def matches(left: str, right: str) -> bool:
        if not left:
            return not right
        if left[0] == "*":
            return matches(left[1:], right) or (bool(right) and matches(left, right[1:]))
        return bool(right) and left[0] in {right[0], "?"} and matches(left[1:], right[1:])

    assert bool(compile_pattern(pattern).match(text)) is matches(pattern, text)


@pytest.mark.timeout(5)
def test_wildcards_do_not_blow_up() -> None:
    """A pattern made to backtrack is answered at once."""
    assert not compile_pattern("*a" * 50 + "b").match("a" * 1000)
