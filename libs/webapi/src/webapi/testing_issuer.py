"""An OAuth2 issuer for tests: a JWKS over real HTTP, whose answers a test changes, and tokens signed with any key."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

ISSUER, AUDIENCE = "https://issuer.test/realm", "things"
KEYS: dict[str, Key] = {
    "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ec": ECKey.generate_key("P-256", {"kid": "ec", "alg": "ES256", "use": "sig"}),
    "ed": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
    "next": ECKey.generate_key("P-256", {"kid": "next"}),
}
ALGORITHM_OF = {"rsa": "RS256", "ec": "ES256", "ed": "Ed25519", "next": "ES256"}


def public(*names: str) -> bytes:
    return json.dumps({"keys": [KEYS[name].as_dict(private=False) for name in names]}).encode()


def claims_of(**changes: Any) -> dict[str, Any]:
    """Those of a good token; None takes one away."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": int(time.time()) + 3_600,
        "client_id": "shop",
        "sub": "shop",
        "scope": "things:read",
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


def encoded(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def token(by: str = "ec", header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token signed by one of KEYS; `header` is added to its header, None takes away."""
    full = {"alg": ALGORITHM_OF[by], "kid": by, "typ": "at+jwt"} | (header or {})
    protected = {name: value for name, value in full.items() if value is not None}
    signed = f"{encoded(protected)}.{encoded(claims_of(**changes))}"
    signature = jws.JWSRegistry.algorithms[ALGORITHM_OF[by]].sign(signed.encode(), KEYS[by])
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


class Issuer(ThreadingHTTPServer):
    """`answer` is what it says next, `asked` the paths it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.answer, self.asked = 200, public("rsa", "ec", "ed"), list[str]()
        self.headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/jwks"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        issuer = self.server
        assert isinstance(issuer, Issuer)
        issuer.asked.append(self.path)
        self.send_response(issuer.status)
        for name, value in issuer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(issuer.answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield issuer
    finally:
        issuer.shutdown()
        issuer.server_close()
        thread.join()
