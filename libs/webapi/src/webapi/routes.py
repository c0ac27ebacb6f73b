"""A router's routes declared as the application's own, behind the one door.

`include_router` would keep each router as a route of its own, which looks for the request's route twice and in every
router before; here a request is matched once. And who calls is found out before the framework looks at the request, so
a stranger hears of nothing but 401, and costs nothing but that.
"""

import inspect
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from webapi.auth import authenticated

# What may be said of a route; each is also an attribute of the route of which it was said.
_SAID = frozenset(inspect.signature(APIRouter.add_api_route).parameters) - {"self", "route_class_override"}


class Closed:
    """What answers a route, for callers who are known."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Unauthorized, TooManyRequests."""
        await authenticated(Request(scope))
        await self._app(scope, receive, send)


def declare(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Add the routes that `routers` have now, in their order, to those of `app`. Raises TypeError for anything else."""
    for context in iter_route_contexts([route for router in routers for route in router.routes]):
        original = context.original_route
        if not isinstance(original, APIRoute):
            raise TypeError(f"{context.path} is no route of HTTP")
        said: dict[str, Any] = {name: getattr(context, name) for name in _SAID if hasattr(context, name)}
        app.router.add_api_route(**said, route_class_override=type(original))
        declared = app.router.routes[-1]
        assert isinstance(declared, APIRoute)
        declared.app = Closed(declared.app)
