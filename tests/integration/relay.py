"""A way to a server that a test may block for one process alone."""

import socket
import threading
from contextlib import suppress


class Relay:
    """Listens on a port of its own and passes everything on to `port`, unless it is blocked.

    Blocked it takes connections and what is sent, and answers nothing.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = threading.Event()
        self._open.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def block(self) -> None:
        """Pass nothing on from now."""
        self._open.clear()

    def close(self) -> None:
        """Take no more connections; those that are there end with their clients."""
        self._open.set()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with source, target, suppress(OSError):  # one of both went away
            while content := source.recv(65536):
                self._open.wait()
                target.sendall(content)
