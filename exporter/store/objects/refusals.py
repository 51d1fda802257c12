"""Tells a user what the error codes of object stores mean; says which of them pass by themselves. Pure."""

from typing import Final, Literal, TypeAlias

FaultKind: TypeAlias = Literal[
    "account",
    "archived",
    "denied",
    "elsewhere",
    "encryption",
    "expired",
    "failing",
    "full",
    "gone",
    "held",
    "keyless",
    "missing",
    "network",
    "payer",
    "refused",
    "role",
    "signature",
    "silent",
    "skewed",
    "sort",
    "unknown",
    "unreadable",
    "unsupported",
    "untrusted",
]

#: These may be over by themselves: the same request is worth asking again.
PASSING: Final = frozenset[FaultKind]({"failing", "silent"})

#: `{}` stands for the HTTP status and the error code, if there are any; for "silent", for how the network failed.
TEXTS: Final[dict[FaultKind, str]] = {
    "account": "the account, or the bucket, is disabled or not paid for ({}). Ask its owner, or look at its billing",
    "archived": "it lies in an archive, and cannot be read from there ({}). Restore it, and keep exports in a storage "
    "class that is read at once",
    "denied": "access denied ({}). Check which credentials the environment gives, and that they may list, read, write "
    "and delete there, as `exporter help object-stores` says",
    "elsewhere": "the bucket lies elsewhere. Set its region, as AWS_REGION does",
    "encryption": "the key that encrypts this bucket cannot be used ({}). Enable it, and let these credentials use it",
    "expired": "the credentials have expired ({}). Renew them, as `aws sso login` does, then run again to resume",
    "failing": "the store keeps answering {}. Run again to resume",
    "full": "the store is full, or its quota is used up ({}). Make room or raise the quota, then run again to resume",
    "gone": "it is no longer there ({}). Run again to resume; if it is missing then, see what exporter verify says",
    "held": "a lease or a retention rule keeps it from being changed ({}). End it, or name another destination",
    "keyless": "no credentials found. Set those that the cloud's own tools use, or choose a profile that has some",
    "missing": "there is no such bucket or container ({}). Create it, or name another",
    "network": "the store's firewall, or the rules of these credentials, refuse this machine's network ({}). Let it in",
    "payer": "the requester pays for this bucket, and no project does ({}). Set GOOGLE_CLOUD_QUOTA_PROJECT to one that "
    "these credentials may use",
    "refused": "the store refuses what is asked ({}). Check the endpoint and the region",
    "role": "the credentials are valid, but lack a permission ({}). Give them what `exporter help object-stores` lists",
    "signature": "the store does not accept the signature ({}). Check that the secret key belongs to the key's id and "
    "is whole, and that the endpoint and the region are right",
    "silent": "no answer from the store ({}). Check the network, and the endpoint if one is set, then run again to "
    "resume",
    "skewed": "this machine's clock differs too much from the store's ({}). Set the clock, then run again to resume",
    "sort": "the account takes no credentials of this kind ({}). Give others, such as those of a role or an identity",
    "unknown": "the store does not know these credentials ({}). Check their id, and that they belong to this store",
    "unreadable": "the answer is not one that an object store gives. Check the endpoint, and what stands before it, "
    "such as a proxy or a login page",
    "unsupported": "the store does not support what is asked ({}). Upgrade it, or name another destination",
    "untrusted": "the store's certificate is not trusted, or belongs to another host. Check the endpoint; for your "
    "own authority, set AWS_CA_BUNDLE, or add it to the system's",
}

_CODES: Final[dict[FaultKind, str]] = {
    "account": "AccountProblem AllAccessDisabled AccountIsDisabled AccountDisabled AccountSuspended UserSuspended "
    "BillingDisabled ContainerDisabled InvalidPayer NotSignedUp UserProjectAccountProblem",
    "archived": "InvalidObjectState BlobArchived BlobBeingRehydrated",
    "denied": "AccessDenied Forbidden",
    "elsewhere": "PermanentRedirect TemporaryRedirect Redirect IllegalLocationConstraintException IncorrectEndpoint",
    "encryption": "KeyDisabled KeyUnavailable EncryptionKeyDisabled",
    "expired": "ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired",
    "failing": "BandwidthLimitExceeded ConditionalRequestConflict InternalError OperationAborted OperationTimedOut "
    "RateLimitExceeded RequestLimitExceeded RequestTimeout RequestTimeoutException ServerBusy ServiceUnavailable "
    "Throttling ThrottlingException TooManyRequests UserRateLimitExceeded "
    "AccountBeingCreated InternalServerError",
    "full": "InsufficientStorage QuotaExceeded QuotaExceededException StorageFull StorageQuotaExceeded "
    "TotalStorageExceeded XMinioAdminBucketQuotaExceeded XMinioStorageFull",
    "gone": "BlobNotFound NoSuchKey NoSuchUpload NoSuchVersion",
    "held": "BlobImmutableDueToPolicy LeaseIdMissing LeaseIdMismatchWithBlobOperation LeaseLost ObjectLocked "
    "ObjectUnderActiveHold ObjectHasActiveHold RetentionPolicyNotMet UnmodifiableObject",
    "missing": "ContainerBeingDeleted ContainerNotFound FilesystemNotFound NoSuchBucket",
    "network": "AuthorizationFailure AuthorizationProtocolMismatch AuthorizationSourceIPMismatch",
    "payer": "UserProjectAccessDenied UserProjectInvalid UserProjectMissing",
    "role": "AuthorizationPermissionMismatch AuthorizationResourceTypeMismatch AuthorizationServiceMismatch "
    "InsufficientAccountPermissions",
    "signature": "AuthenticationFailed InvalidAuthenticationInfo SignatureDoesNotMatch",
    "skewed": "RequestTimeTooSkewed",
    "sort": "KeyBasedAuthenticationNotPermitted PublicAccessNotPermitted",
    "unknown": "InvalidAccessKeyId InvalidClientTokenId InvalidSecurity InvalidToken NoSuchAccount "
    "UnrecognizedClientException",
    "unsupported": "FeatureNotSupported MethodNotAllowed NotImplemented UnsupportedHeader UnsupportedHttpVerb",
}
_KINDS: Final[dict[str, FaultKind]] = {code.lower(): kind for kind, codes in _CODES.items() for code in codes.split()}
_OF_A_STATUS: Final[dict[str, FaultKind]] = {
    "401": "denied",
    "403": "denied",
    "404": "missing",
    "405": "unsupported",
    "408": "failing",
    "429": "failing",
    "501": "unsupported",
    "507": "full",
}


def kind_of(status: str, code: str) -> FaultKind | None:
    """Returns what an answer with this HTTP status and error code means; either may be empty. None if both are.

    The code comes first: a store may say with 400 or 403 that it is too busy, and with 503 that it is full.
    """
    if known := _KINDS.get(code.lower()):
        return known
    if code.startswith(("KMS", "KeyVault")):
        return "encryption"
    if not status:
        # The code stood in the body of an answer whose status was a success.
        return "failing" if code else None
    return _OF_A_STATUS.get(status, "failing" if status.startswith("5") else "refused")
