"""A page that follows a running search, for this machine alone: a small server, and events when something is new.

It serves two addresses and no files. Who came by another name than this machine's own is refused, so that no page
elsewhere can have a browser read from here under a name of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from boostformer.errors import UserError
from results.report.page import embedded, page

HOST = "127.0.0.1"
LISTENERS = 16
"""Most browsers that follow at once."""
_LOOK, _REST = 1.0, 3
"""Seconds between two looks at whether something changed; how many times as long as it took to read, it rests."""
_BEAT = 15.0
"""Seconds after which a listener hears that the server is still there."""
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Watched:
    """The newest document of a run. One thread reads it, when its stamp has changed; all others wait for that.

    Args:
        read: gives the document; what it raises as :class:`UserError` leaves the one before.
        stamp: gives a value that changes with the run, at next to no cost.
    """

    def __init__(self, read: Callable[[], dict[str, Any]], stamp: Callable[[], object]) -> None:
        self._read, self._stamp = read, stamp
        self._changed, self._closed = threading.Condition(), threading.Event()
        self._seen, self.document, self.version = stamp(), read(), 1

    def follow(self) -> None:
        """Look for news until :meth:`close`."""
        pause = _LOOK
        while not self._closed.wait(pause):
            pause = _LOOK
            if (stamp := self._stamp()) == self._seen:
                continue
            started = time.monotonic()
            try:
                document = self._read()
            except UserError:
                continue
            self._seen, pause = stamp, max(_LOOK, _REST * (time.monotonic() - started))
            with self._changed:
                self.document, self.version = document, self.version + 1
                self._changed.notify_all()

    def close(self) -> None:
        """End :meth:`follow` and all waiting."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def newer(self, version: int, timeout: float = _BEAT) -> tuple[int, dict[str, Any]]:
        """Wait for a document of another version than this; give the newest after ``timeout`` seconds in any case."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != version or self.closed, timeout)
            return self.version, self.document


class LiveServer(ThreadingHTTPServer):
    """Serves a watched run on this machine's own address; UserError when the ``port`` is taken, 0 is any free one."""

    daemon_threads = True

    def __init__(self, watched: Watched, port: int = 0) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}; choose another, or 0 for any that is free") from None
        self.watched, self.listeners = watched, threading.Semaphore(LISTENERS)
        self.names = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    protocol_version = "HTTP/1.0"
    timeout = 60

    def do_GET(self) -> None:
        """Answer the page and its events; all else is refused without looking anything up."""
        if self.headers.get("Host") not in self.server.names:
            self._refuse(403, "this page is for this machine alone")
        elif self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            self._refuse(403, "asked for by another page")
        elif self.path == "/":
            content = page(self.server.watched.document)
            self._begin(200, "text/html; charset=utf-8", len(content))
            self.wfile.write(content)
        elif self.path == "/events":
            self._events()
        else:
            self._refuse(404, "there is nothing here but /")

    def _events(self) -> None:
        if not self.server.listeners.acquire(blocking=False):
            self._refuse(503, "too many are listening")
            return
        try:
            self._begin(200, "text/event-stream")
            self._tell()
        except OSError:  # the browser is gone
            pass
        finally:
            self.server.listeners.release()

    def _tell(self) -> None:
        version, sent = 0, dict[int, Any]()
        while not self.server.watched.closed:
            newest, document = self.server.watched.newer(version)
            if newest == version:
                self.wfile.write(b": still here\n\n")
            else:
                version, trials = newest, document["trials"]
                rows = [row for row in trials["rows"] if sent.get(row[0]) != row]
                sent |= {row[0]: row for row in rows}
                told = embedded(document | {"trials": trials | {"rows": rows}})
                self.wfile.write(f"event: run\ndata: {told}\n\n".encode())
            self.wfile.flush()

    def _refuse(self, code: int, why: str) -> None:
        content = f"{why}\n".encode()
        self._begin(code, "text/plain; charset=utf-8", len(content))
        self.wfile.write(content)

    def _begin(self, code: int, kind: str, length: int | None = None) -> None:
        self.send_response(code)
        headers = {"Content-Type": kind, **_HEADERS}
        if length is not None:
            headers["Content-Length"] = str(length)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request: a terminal shows the search."""
