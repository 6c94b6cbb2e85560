"""What AWS says, in our words. One row a kind of fault."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from gpudash.errors import (
    Ambiguous,
    AuthRefused,
    GpudashError,
    NoCapacity,
    ProviderError,
    RateLimited,
    Unreachable,
)
from gpudash.providers.aws.errors import translate, translated

SENT = "https://ec2.test"


def answer(code: str, status: int = 400, message: str = "words", **headers: str) -> boto.ClientError:
    metadata: Any = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return boto.ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "RunInstances")


@pytest.mark.parametrize(
    ("exc", "read", "write"),
    [
        (answer("ExpiredToken"), AuthRefused, AuthRefused),
        (answer("RequestExpired"), AuthRefused, AuthRefused),
        (answer("AuthFailure", 401), AuthRefused, AuthRefused),
        (answer("OptInRequired", 401), AuthRefused, AuthRefused),
        (answer("UnauthorizedOperation", 403), AuthRefused, AuthRefused),
        (answer("AccessDeniedException", 400), AuthRefused, AuthRefused),
        (answer("RequestLimitExceeded", 503), RateLimited, RateLimited),
        (answer("ThrottlingException"), RateLimited, RateLimited),
        (answer("InsufficientInstanceCapacity", 500), NoCapacity, NoCapacity),
        (answer("Unsupported"), NoCapacity, NoCapacity),
        (answer("VcpuLimitExceeded"), NoCapacity, NoCapacity),
        (answer("SpotMaxPriceTooLow"), NoCapacity, NoCapacity),
        (answer("MaxSpotInstanceCountExceeded"), NoCapacity, NoCapacity),
        (answer("InvalidAMIID.NotFound"), ProviderError, ProviderError),
        (answer("InvalidBlockDeviceMapping"), ProviderError, ProviderError),
        (answer("IdempotentParameterMismatch"), ProviderError, ProviderError),
        (answer("InternalError", 500), Unreachable, Ambiguous),
        (answer("Unavailable", 503), Unreachable, Ambiguous),
        (answer("500", 500), Unreachable, Ambiguous),
        (ResponseParserError("<html>"), Unreachable, Ambiguous),
        (boto.ReadTimeoutError(endpoint_url=SENT), Unreachable, Ambiguous),
        (boto.ConnectionClosedError(endpoint_url=SENT), Unreachable, Ambiguous),
        (boto.ConnectTimeoutError(endpoint_url=SENT), Unreachable, Unreachable),
        (boto.EndpointConnectionError(endpoint_url=SENT), Unreachable, Unreachable),
        (boto.NoCredentialsError(), AuthRefused, AuthRefused),
        (boto.PartialCredentialsError(provider="env", cred_var="x"), AuthRefused, AuthRefused),
        (boto.ProfileNotFound(profile="work"), AuthRefused, AuthRefused),
        (boto.ParamValidationError(report="wrong"), ProviderError, ProviderError),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:60],
)
def test_each_fault_has_its_error(exc: Exception, read: type[GpudashError], write: type[GpudashError]) -> None:
    """Reads and writes differ only where no answer came."""
    assert type(translate(exc, "launch x")) is read
    assert type(translate(exc, "launch x", write=True)) is write


def test_text_keeps_the_clouds_words_and_drops_the_encoded_blob() -> None:
    """The blob that AWS adds to a denial is long, unreadable and tells of the account."""
    denied = answer(
        "UnauthorizedOperation", 403, "You are not authorized. Encoded authorization failure message: AbC-9_x"
    )
    error = translate(denied, "stop i-1")
    assert str(error).startswith("Could not stop i-1 (AWS: UnauthorizedOperation, 'You are not authorized.')")
    assert "AbC-9_x" not in str(error)


def test_own_wish_of_the_cloud_is_kept() -> None:
    """Retry-After is handed on; without it nothing is made up."""
    told = translate(answer("Throttling", 400, **{"retry-after": "7"}), "list")
    silent = translate(answer("Throttling"), "list")
    assert isinstance(told, RateLimited)
    assert isinstance(silent, RateLimited)
    assert (told.retry_after_s, silent.retry_after_s) == (7.0, None)


def test_quota_says_what_to_ask_for() -> None:
    """A new account often has a quota of zero for GPU types."""
    assert "L-DB2E81BA" in str(translate(answer("VcpuLimitExceeded"), "launch g5.xlarge"))


def test_other_exceptions_pass() -> None:
    """A bug of ours is not dressed up as a fault of the cloud."""
    with pytest.raises(ZeroDivisionError), translated("divide"):
        _ = 1 / 0
