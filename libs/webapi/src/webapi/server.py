"""Serving an application until it is told to stop."""

import gc
import signal
import sys
from types import FrameType
from typing import NoReturn

import structlog
import uvicorn
from fastapi import FastAPI
from prometheus_client import start_http_server

from webapi.http_protocol import BoundedHttpProtocol

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 10
KEEP_ALIVE_SECONDS = 30


def serve(app: FastAPI, host: str, port: int, metrics_port: int) -> None:
    """Serve `app` and, on a port of their own, its metrics, until SIGTERM or SIGINT; then exit with status 0.

    Running requests get SHUTDOWN_SECONDS to finish. A port that is taken is one line in the log and a failure.
    """
    try:
        metrics, metrics_thread = start_http_server(metrics_port, host)
    except OSError as error:
        log.error("metrics port cannot be used", host=host, port=metrics_port, reason=error.strerror)
        sys.exit(1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    # The application stays to the end, so it is not searched for garbage again and again while somebody waits.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        uvicorn.Server(_config(app, host, port)).run()
    finally:
        metrics.shutdown()
        metrics.server_close()
        metrics_thread.join()


def _config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedHttpProtocol,
        ws="none",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


def _stopped(number: int, frame: FrameType | None) -> NoReturn:
    """uvicorn raises the signal again once it has come to its orderly end; this makes that end a success."""
    sys.exit(0)
