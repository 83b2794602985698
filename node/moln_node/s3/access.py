"""May they? The key's role and bounds, then the bucket's policy, its owner, and ACLs; an explicit Deny wins.

Called once a request by `moln_node.s3.app`, and by handlers that touch more than the request names.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from moln_node.s3.acl.grants import Permission, allows, load
from moln_node.s3.acl.ownership import ENFORCED, public_access_block
from moln_node.s3.errors import S3Error
from moln_node.s3.policy.document import Policy, PolicyError, parse_policy
from moln_node.s3.policy.evaluate import Verdict, evaluate, is_public
from moln_node.s3.policy.keys import Facts
from moln_node.s3.roles import permits
from moln_node.s3.tag_set import parse_header
from moln_node.store.errors import IsDeleteMarkerError, NoSuchKeyError, NoSuchVersionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.s3.call import Call
    from moln_node.store.model import Bucket, Record

_BUCKET_ACL: Mapping[str, Permission] = {
    "s3:ListBucket": Permission.READ,
    "s3:ListBucketVersions": Permission.READ,
    "s3:ListBucketMultipartUploads": Permission.READ,
    "s3:PutObject": Permission.WRITE,
    "s3:DeleteObject": Permission.WRITE,
    "s3:AbortMultipartUpload": Permission.WRITE,
    "s3:ListMultipartUploadParts": Permission.WRITE,
    "s3:GetBucketAcl": Permission.READ_ACP,
    "s3:PutBucketAcl": Permission.WRITE_ACP,
}
_OBJECT_ACL: Mapping[str, Permission] = {
    "s3:GetObject": Permission.READ,
    "s3:GetObjectVersion": Permission.READ,
    "s3:GetObjectAcl": Permission.READ_ACP,
    "s3:GetObjectVersionAcl": Permission.READ_ACP,
    "s3:PutObjectAcl": Permission.WRITE_ACP,
    "s3:PutObjectVersionAcl": Permission.WRITE_ACP,
}
# A bucket's owner can always take back a policy, so that nobody is locked out by a Deny of their own.
_POLICY_ACTIONS = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})


@lru_cache(maxsize=1024)
def _parsed(text: str, bucket: str) -> Policy | None:
    try:
        return parse_policy(text, bucket)
    except PolicyError:
        return None


async def authorise(
    call: Call,
    action: str,
    bucket: str,
    key: str,
    *,
    version_id: str | None = None,
    known: Bucket | None = None,
    headers: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    listed: str | None = None,
) -> Bucket:
    """The bucket, if the caller may do this to it or to its key; S3Error AccessDenied if not.

    `headers` and `tags` stand for those of the request where the caller has them from elsewhere (a form, a document);
    `listed` for the prefix of its query, to bounds and conditions.
    """
    identity = call.identity
    query = call.query if listed is None else {"prefix": listed}
    if identity.prefixes and listed is None and call.request.method != "HEAD":
        listed = call.query.get("prefix", "")
    if not permits(identity, action, bucket, key, listed):
        raise S3Error("AccessDenied", "The access key does not allow this.")
    found = known if known is not None else await call.objects.bucket(bucket)
    privileged = identity.role == "admin" or (identity.id == found.owner and not identity.anonymous)
    if privileged and "policy" not in found.settings and "acl" not in found.settings:
        return found  # a bucket that was never shared holds nothing of others: the common case, without another look
    question = _Question(call, action, found, key, version_id, headers, tags, query)
    if not await question.allowed(privileged=privileged):
        if await question.missing() and await may_list(call, found):
            raise NoSuchKeyError
        raise S3Error("AccessDenied")
    return found


async def may_list(call: Call, bucket: Bucket) -> bool:
    """Whether the caller may know which keys there are, and so be told that one is not."""
    try:
        await authorise(call, "s3:ListBucket", bucket.name, "", known=bucket, listed=call.key)
    except S3Error:
        return False
    return True


class _Question:
    """One action on one resource by one caller; the object's record is read at most once, and only if it matters."""

    def __init__(
        self,
        call: Call,
        action: str,
        bucket: Bucket,
        key: str,
        version_id: str | None,
        headers: Mapping[str, str] | None,
        tags: Mapping[str, str] | None,
        query: Mapping[str, str],
    ) -> None:
        self._call = call
        self._action = action
        self._bucket = bucket
        self._key = key
        self._version_id = version_id
        self._headers = call.headers if headers is None else headers
        self._tags = tags
        self._query = query
        self._record: Record | None = None
        self._read = False

    async def allowed(self, *, privileged: bool) -> bool:
        """The answer; `privileged` callers are the bucket's owner and admins."""
        verdict = await self._by_policy(privileged=privileged)
        if verdict is Verdict.DENY:
            return False
        return verdict is Verdict.ALLOW or self._call.identity.role == "admin" or await self._by_acl()

    async def missing(self) -> bool:
        """Whether the question was about an object that is not there."""
        return bool(self._key) and self._action in _OBJECT_ACL and await self._object() is None

    async def _object(self) -> Record | None:
        if not self._read and self._key:
            self._read = True
            try:
                self._record = await self._call.objects.head(self._bucket.name, self._key, self._version_id)
            except (NoSuchKeyError, NoSuchVersionError, IsDeleteMarkerError):
                self._record = None
        return self._record

    async def _by_policy(self, *, privileged: bool) -> Verdict:
        text = self._bucket.settings.get("policy")
        if text is None:
            return Verdict.SILENT
        policy = _parsed(text, self._bucket.name)
        own = privileged and self._action in _POLICY_ACTIONS
        if policy is None:  # written by a release that knew more: nobody but the owner gets in until it is replaced
            return Verdict.SILENT if privileged else Verdict.DENY
        resource = f"{self._bucket.name}/{self._key}" if self._key else self._bucket.name
        verdict = evaluate(policy, self._action, resource, await self._facts(policy))
        if verdict is Verdict.DENY and own:
            return Verdict.ALLOW
        restricted = verdict is Verdict.ALLOW and not privileged and public_access_block(self._bucket).restrict_buckets
        return Verdict.SILENT if restricted and is_public(policy) else verdict

    async def _facts(self, policy: Policy) -> Facts:
        call, identity = self._call, self._call.identity
        record = await self._object() if policy.reads_tags else None
        tags = self._tags
        if tags is None and "x-amz-tagging" in self._headers:
            tags = parse_header(self._headers["x-amz-tagging"])
        return Facts(
            owner="" if identity.anonymous else identity.id,
            name="" if identity.anonymous else identity.name,
            remote=call.remote,
            secure=call.secure,
            now=call.settings.now(),
            headers=self._headers,
            query=self._query,
            presigned=call.authentication.presigned,
            algorithm=call.authentication.algorithm,
            version_id=self._version_id,
            existing_tags=None if record is None else record.attributes.tags,
            request_tags=tags,
        )

    async def _by_acl(self) -> bool:
        """What the owner and those named in ACLs may do."""
        identity, bucket, action = self._call.identity, self._bucket, self._action
        owns = identity.id == bucket.owner and not identity.anonymous
        enforced = bucket.settings.get("ownershipControls") == ENFORCED
        ignore_public = public_access_block(bucket).ignore_acls
        if action in _OBJECT_ACL:
            record = await self._object()
            if record is None or enforced:
                return owns
            owner = record.attributes.owner
            grants = load(record.attributes.acl, owner)
            return allows(grants, owner, identity, _OBJECT_ACL[action], ignore_public=ignore_public)
        if action in _BUCKET_ACL and not enforced and not (owns and action == "s3:DeleteObject"):
            grants = load(bucket.settings.get("acl", ""), bucket.owner)
            return allows(grants, bucket.owner, identity, _BUCKET_ACL[action], ignore_public=ignore_public)
        return owns
