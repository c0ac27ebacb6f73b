"""The settings of a process's safety, to be mixed into a service's own: names are the service's prefix and these."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, field_validator, model_validator

if TYPE_CHECKING:  # commands import the settings, and shall not wait for FastAPI
    from webapi.app import Safety


class SafetySettings(BaseModel):
    """Who issues tokens - all three or none - and how often a client may call, and fail."""

    development: bool = False
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwks_url: str | None = None
    rate_limit_per_second: float = Field(default=500, ge=0, le=1_000_000)
    rate_limit_burst: int = Field(default=1_000, ge=1, le=1_000_000)
    failed_attempts: int = Field(default=100, ge=1, le=1_000_000)
    failed_attempts_window_s: int = Field(default=600, ge=1, le=86_400)

    @field_validator("jwt_issuer", "jwt_audience", "jwks_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _tokens_are_complete_and_private(self) -> "SafetySettings":
        given = [self.jwt_issuer, self.jwt_audience, self.jwks_url]
        if any(given) and not all(given):
            raise ValueError("JWT_ISSUER, JWT_AUDIENCE and JWKS_URL are needed together, or none of them")
        schemes = ("https://", "http://") if self.development else ("https://",)
        if self.jwks_url is not None and not self.jwks_url.startswith(schemes):
            raise ValueError("JWKS_URL must begin with https://")
        return self

    def safety(self) -> "Safety":
        """The same as the plain value that `build_app` takes."""
        from webapi.app import Safety
        from webapi.attempts import AttemptLimit
        from webapi.rates import Rate
        from webapi.tokens import TokenIssuer

        issuer = None
        if self.jwt_issuer and self.jwt_audience and self.jwks_url:
            issuer = TokenIssuer(self.jwt_issuer, self.jwt_audience, self.jwks_url)
        rate = Rate(self.rate_limit_per_second, self.rate_limit_burst) if self.rate_limit_per_second else None
        return Safety(issuer, rate, AttemptLimit(self.failed_attempts, self.failed_attempts_window_s))
