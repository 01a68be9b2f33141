"""A receiver of webhooks for a container: needs nothing but Python, and prints what it takes.

Each event is refused the first time that it comes, so that it must come again.
"""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8000
_refused: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        is_first = self.headers["webhook-id"] not in _refused
        _refused.add(self.headers["webhook-id"])
        status = 503 if is_first else 204
        request = {
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": base64.b64encode(body).decode(),
            "status": status,
        }
        print(json.dumps(request), flush=True)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
