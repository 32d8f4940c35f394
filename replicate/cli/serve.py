"""Shows a folder to a browser on this machine, and to nobody else."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from replicate.errors import UserError

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Answers requests for this machine's own address only: another name for it may be a foreign page's (DNS
    rebinding), which could then read the report."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".md": "text/plain", ".tex": "text/plain"}

    def send_head(self) -> Any:
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (HOST, "localhost"):
            self.send_error(403, "only for this machine")
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> Any:
        self.send_error(404)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of ``folder``, bound and not yet running; port 0 takes a free one. Raises UserError."""
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"port {port}: the report cannot be served there, got '{reason}'\n  name another port with --port N"
        ) from error
