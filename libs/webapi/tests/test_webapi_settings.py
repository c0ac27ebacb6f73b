"""Settings of a process's safety: complete, or refused with one line."""

from typing import Any

import pytest
from pydantic import ValidationError
from webapi.attempts import AttemptLimit
from webapi.rates import Rate
from webapi.settings import SafetySettings
from webapi.tokens import TokenIssuer

ISSUER: dict[str, Any] = {
    "jwt_issuer": "https://issuer.test",
    "jwt_audience": "things",
    "jwks_url": "https://issuer.test/jwks",
}


def test_all_of_it() -> None:
    safety = SafetySettings(**ISSUER, rate_limit_per_second=5, rate_limit_burst=7, failed_attempts=3).safety()
    assert safety.issuer == TokenIssuer("https://issuer.test", "things", "https://issuer.test/jwks")
    assert (safety.rate, safety.attempts) == (Rate(5, 7), AttemptLimit(3, 600))


def test_none_of_it() -> None:
    safety = SafetySettings(jwt_issuer="", jwt_audience="", jwks_url="", rate_limit_per_second=0).safety()
    assert (safety.issuer, safety.rate) == (None, None)


@pytest.mark.parametrize("missing", ISSUER)
def test_a_part_of_an_issuer_is_refused(missing: str) -> None:
    with pytest.raises(ValidationError, match="needed together"):
        SafetySettings(**ISSUER | {missing: ""})


@pytest.mark.parametrize("url", ["http://issuer.test/jwks", "file:///etc/passwd", "issuer.test"])
def test_keys_come_over_tls(url: str) -> None:
    with pytest.raises(ValidationError, match="https://"):
        SafetySettings(**ISSUER | {"jwks_url": url})
    if url.startswith("http:"):
        assert SafetySettings(**ISSUER | {"jwks_url": url}, development=True).safety().issuer
