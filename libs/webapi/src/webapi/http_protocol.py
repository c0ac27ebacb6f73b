"""HTTP/1.1 as uvicorn reads it with httptools, a parser in C, within bounds."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024


class BoundedHttpProtocol(HttpToolsProtocol):
    """httptools takes a head, or trailers, of any length, and keeps them: whoever never ends one filled the memory.

    So what was received since anything was complete has a bound. Bodies are bounded where they are read (limits).
    """

    _unread_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._unread_bytes += len(data)
        super().data_received(data)
        if self._unread_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request line and headers have at most {MAX_HEAD_BYTES} bytes.")

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread_bytes = 0
        super().on_message_complete()
