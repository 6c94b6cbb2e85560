"""HTTP to clouds that have no SDK worth having: one `Api` an origin and account.

| file | subject |
|---|---|
| api | asking: `Api.read`, `Api.write`, and what each way of not being answered means |
| answer | one answer of a cloud, and the `Verdict` on it: general rules by status, the cloud's own words first |
| transport | httpx clients whose answer as a whole has a limit in time and size |
| library | importing httpx without its command line |
| throttle | staying under a published request limit |

An adapter gives a `judge`: a small pure function from an `Answer` to a `Verdict`, or None where the general rules fit.
Importing this package imports neither httpx nor the limiter.
"""

from gpudash.providers.http.answer import Answer, Judge, Verdict
from gpudash.providers.http.api import Api, bearer, segment
from gpudash.providers.http.throttle import Throttle
from gpudash.providers.http.transport import Timeouts

__all__ = ["Answer", "Api", "Judge", "Throttle", "Timeouts", "Verdict", "bearer", "segment"]
