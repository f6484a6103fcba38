"""Running the gateway under uvicorn."""

import asyncio
import gc
import json
import resource
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Final

import structlog
import uvicorn

from letterlock.app.gateway import Gateway, open_gateway
from letterlock.app.logging import configure
from letterlock.app.settings import Settings
from letterlock.faces.http.fast_lane import fast_protocol
from letterlock.faces.http.lean_socket import LeanSocket
from letterlock.wire.stream import MAX_FRAME

DRAIN_S: Final = 10
BACKLOG: Final = 2048
COLLECT_AFTER: Final = (20_000, 20, 20)
"""Objects before a collection: a message makes a dozen that live until its commit, and hardly any cycle."""
SWITCH_S: Final = 0.001
"""How long the loop keeps the interpreter from the thread that commits."""
_TLS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_log: Final = structlog.get_logger("letterlock.app")


class _Server(uvicorn.Server):
    """Leaves signals to us: they end the gateway in order."""

    def install_signal_handlers(self) -> None:
        """Nothing to install."""


async def serve(settings: Settings, *, announce: bool = False) -> None:
    """Opens the gateway and serves until SIGINT or SIGTERM.

    Args:
        settings: checked.
        announce: print one JSON line with the address to standard output once it listens (for scripts).

    Raises:
        LetterlockError: it cannot start.
    """
    gateway = await open_gateway(settings)
    try:
        listening = _listen(settings)
        config = uvicorn.Config(
            gateway.face,
            loop="none",
            http=fast_protocol(gateway.lane),
            ws=LeanSocket,
            ws_max_size=MAX_FRAME,
            ws_per_message_deflate=False,
            ws_ping_interval=20.0,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_S,
            ssl_certfile=settings.server.tls_certificate or None,
            ssl_keyfile=settings.server.tls_key or None,
            backlog=BACKLOG,
        )
        config.load()
        if config.ssl is not None:
            config.ssl.minimum_version = _TLS[settings.server.tls_minimum]
        server = _Server(config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _ask_to_exit, server, gateway)
        host, port = listening.getsockname()[:2]
        _settle_memory()
        _log.info("listening", host=host, port=port, environment=settings.environment)
        if announce:
            scheme = "https" if config.ssl is not None else "http"
            line = {"url": f"{scheme}://{host}:{port}", "folder": str(Path(settings.store.folder).resolve())}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        await server.serve([listening])
    finally:
        await gateway.close()


def _settle_memory() -> None:
    """What is here now stays: the collector need not walk it again, nor look after every few hundred objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    sys.setswitchinterval(SWITCH_S)


def _ask_to_exit(server: uvicorn.Server, gateway: Gateway) -> None:
    gateway.drain()
    server.should_exit = True


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.server.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((settings.server.host, settings.server.port))
    # Listening before anybody is told the address: an early caller waits instead of being refused.
    listening.listen(BACKLOG)
    listening.set_inheritable(True)
    return listening


def run(settings: Settings, *, announce: bool = False) -> None:
    """Serves on an event loop of its own."""
    import uvloop

    configure(settings.log.level)
    # A core dump would hold keys and readable messages. The limit is hard: nothing in this process can raise it again.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, announce=announce))
