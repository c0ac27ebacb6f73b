"""The Kunden-Club services as a checkout uses them: `client.send(calls.member("M0001234"))`.

`calls` are what can be asked, `results` what is answered, `problems` what is refused, one class a code.
"""

from kundenclub_client import calls, problems, results
from kundenclub_client.call import Call, Versioned
from kundenclub_client.client import AsyncClient, Client
from kundenclub_client.errors import ClientError, NoAnswer, ServiceProblem, Unreadable

__all__ = [
    "AsyncClient",
    "Call",
    "Client",
    "ClientError",
    "NoAnswer",
    "ServiceProblem",
    "Unreadable",
    "Versioned",
    "calls",
    "problems",
    "results",
]
