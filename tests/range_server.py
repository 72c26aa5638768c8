"""`python range_server.py FOLDER LIVES [PORT]`: serve files by ranges.

Prints its port, then each range. After LIVES ranges it closes every connection without an answer.
A process of its own, since GDAL keeps the interpreter's lock while it waits for an answer.
"""

from __future__ import annotations

import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, LIVES = Path(sys.argv[1]), int(sys.argv[2])
served: list[tuple[int, int]] = []


class Ranges(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        if len(served) >= LIVES:
            self.close_connection = True
            return
        path = FOLDER / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = 0, len(data)
        if wanted:
            start, stop = int(wanted[1]), min(int(wanted[2] or stop) + 1, stop)
            served.append((start, stop))
            print(start, stop, flush=True)  # noqa: T201 - what the test reads
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if with_body:
            self.wfile.write(data[start:stop])

    def log_message(self, *_):
        """Be quiet."""


if __name__ == "__main__":
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Ranges)
    print(server.server_address[1], flush=True)  # noqa: T201 - what the test reads
    server.serve_forever()
