"""What each exception and error code of AWS means to gpudash. SDK exceptions end here.

A *write* that got no answer is `Ambiguous`, unless it certainly never left this machine. A *read* that got none is
`Unreachable`. Everything AWS answered with a 4xx is a definite no.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gpudash.errors import Ambiguous, AuthRefused, GpudashError, NoCapacity, ProviderError, RateLimited, Unreachable

CREDENTIAL_CODES = frozenset({
    "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "RequestExpired",
    "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "MissingAuthenticationToken", "InvalidAccessKeyId",
    "InvalidSignatureException", "Blocked", "PendingVerification",
})  # fmt: skip
DENIED_CODES = frozenset({
    "UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "NotAuthorized", "Client.UnauthorizedOperation",
})  # fmt: skip
THROTTLE_CODES = frozenset({
    "RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException",
    "RequestThrottled", "BandwidthLimitExceeded", "SlowDown", "PriorRequestNotComplete",
})  # fmt: skip
CAPACITY_CODES = frozenset({
    "InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity", "Unsupported",
    "InsufficientReservedInstanceCapacity", "ReservationCapacityExceeded", "InsufficientFreeAddressesInSubnet",
    "SpotMaxPriceTooLow", "InsufficientSpotInstanceCapacity",
})  # fmt: skip
QUOTA_CODES = frozenset({"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"})
"""The same in every zone of a region."""
SERVER_CODES = frozenset({
    "InternalError", "InternalFailure", "InternalServerError", "ServiceUnavailable", "Unavailable", "500", "502", "503",
    "504", "RequestTimeout", "RequestTimeoutException",
})  # fmt: skip

_QUOTAS = "L-DB2E81BA (G and VT types), L-417A185B (P types), L-1216C47A (standard types)"
_HINTS = {
    "OptInRequired": "Enable the region for the account, or leave it out of `regions`.",
    "VcpuLimitExceeded": f"The unit is vCPUs; ask Service Quotas for more: {_QUOTAS}.",
    "InstanceLimitExceeded": "Ask Service Quotas for more.",
    "SpotMaxPriceTooLow": "Raise the maximum price, or leave it out.",
    "MaxSpotInstanceCountExceeded": "Ask Service Quotas for more spot vCPUs, or launch on demand.",
    "Unsupported": "Try another zone, region or type.",
    "InvalidAMIID.NotFound": "Image ids differ between regions; leave `ami` out, or name one of this region.",
    "InvalidAMIID.Malformed": "An image id looks like ami-0123456789abcdef0.",
    "InvalidAMIID.Unavailable": "The image is being made or was taken back; name another.",
    "InvalidKeyPair.NotFound": "Key pairs are per region; leave `key_name` out and your own public key is used.",
    "InvalidKeyPair.Duplicate": "A key pair of that name exists with another key.",
    "InvalidKey.Format": "EC2 takes RSA and Ed25519 keys only.",
    "InvalidKeyPair.Format": "EC2 takes RSA and Ed25519 keys only.",
    "InvalidBlockDeviceMapping": "The device name or size does not fit the image.",
    "OperationNotPermitted": "Termination protection is on; switch it off in the console first.",
    "IncorrectInstanceState": "Wait until the change that is under way has ended.",
    "IncorrectSpotRequestState": "The spot request is not in a state that allows it.",
    "TagLimitExceeded": "A resource holds 50 tags.",
    "IdempotentParameterMismatch": "The same token was used for another launch; begin a new one.",
    "MissingParameter": "The account has no default network; gpudash can make one of its own.",
    "VPCIdNotSpecified": "The account has no default network; gpudash can make one of its own.",
}
_TOLD_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")
_SECRET_BLOB = re.compile(r"\s*Encoded authorization failure message: \S+")


@contextmanager
def translated(doing: str, *, write: bool = False) -> Iterator[None]:
    """Turn what the SDK raises inside the block into an error of ours.

    Args:
        doing: what was asked, as it ends the sentence "Could not …".
        write: the block changes the world, so a lost answer is `Ambiguous`.
    """
    try:
        yield
    except GpudashError:
        raise
    except Exception as exc:
        error = translate(exc, doing, write=write)
        if error is None:
            raise
        raise error from exc


def code_of(exc: BaseException | None) -> str:
    """AWS's own error code, or "" where the exception carries none."""
    response = getattr(exc, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def allow_first(action: str) -> str:
    """What to do where that call is denied."""
    return f"{f'{action} is not allowed; ' if action else ''}`gpudash doctor` prints the least policy to paste."


def is_denied(error: GpudashError) -> bool:
    """A call is not allowed, although the credentials are good. Its hint names the permission and the way to it."""
    return isinstance(error, AuthRefused) and code_of(error.__cause__) in DENIED_CODES


def translate(exc: Exception, doing: str, *, write: bool = False) -> GpudashError | None:
    """Our error for one of the SDK's; None where it is not the SDK's."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    if isinstance(exc, ClientError):
        return _answered(exc, doing, write)
    if isinstance(exc, ResponseParserError):
        return _lost(f"Could not {doing} (AWS: an answer that cannot be read)", write)
    if isinstance(exc, BotoCoreError):
        return _unanswered(exc, doing, write)
    return None


def _answered(exc: Any, doing: str, write: bool) -> GpudashError:
    code = code_of(exc)
    words = _SECRET_BLOB.sub("", str(exc.response.get("Error", {}).get("Message", "")).strip())
    text = f"Could not {doing} (AWS: {code}{f', {words!r}' if words else ''})."
    status = int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    hint = _HINTS.get(code)
    if code in CREDENTIAL_CODES:
        return AuthRefused(text, hint="Log in again, or check the profile and the clock of this machine.")
    if code == "OptInRequired":
        return AuthRefused(text, hint=hint)
    if code in DENIED_CODES:
        return AuthRefused(text, hint=allow_first(_missing(exc, words)))
    if code in THROTTLE_CODES:
        return RateLimited(text, retry_after_s=_retry_after(exc.response))
    if code in CAPACITY_CODES or code in QUOTA_CODES:
        return NoCapacity(text, hint=hint)
    if code in SERVER_CODES or status >= 500:
        return _lost(text.rstrip("."), write)
    return ProviderError(text, hint=hint)


def _missing(exc: Any, words: str) -> str:
    """The permission that is missing, as IAM spells it: the one AWS's words name, else the call that was denied."""
    from gpudash.providers.aws.policies import person_policy

    told = _TOLD_ACTION.search(words)
    operation = str(getattr(exc, "operation_name", None) or "")
    needed = [action for each in person_policy()["Statement"] for action in each["Action"]]
    return told[1] if told else next((action for action in needed if action.endswith(f":{operation}")), operation)


def _retry_after(response: Mapping[str, Any]) -> float | None:
    told = str((response.get("ResponseMetadata", {}).get("HTTPHeaders") or {}).get("retry-after", ""))
    return float(told) if told.isdecimal() else None


def _unanswered(exc: Any, doing: str, write: bool) -> GpudashError:
    from botocore import exceptions as boto

    text = f"Could not {doing} ({exc})"
    if isinstance(
        exc, (boto.ConnectTimeoutError, boto.EndpointConnectionError, boto.ProxyConnectionError, boto.SSLError)
    ):
        return Unreachable(f"{text}.")
    if isinstance(exc, boto.HTTPClientError):
        return _lost(text, write)
    missing = (
        boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.ProfileNotFound,
        boto.TokenRetrievalError, boto.SSOError, boto.ConfigParseError, boto.ConfigNotFound, boto.NoAuthTokenError,
        boto.MetadataRetrievalError,
    )  # fmt: skip
    if isinstance(exc, missing):
        return AuthRefused(f"{text}.", hint="Log in, or name a `profile` for the account in config.toml.")
    return ProviderError(f"{text}.")


def _lost(text: str, write: bool) -> GpudashError:
    if write:
        return Ambiguous(f"{text}; it may have happened.", hint="It is looked for before anything is asked again.")
    return Unreachable(f"{text}.")
