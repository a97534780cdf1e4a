"""A receiver in Python: pip install standardwebhooks.

WORKER_WEBHOOK_SECRET=whsec_… PORT=8001 python receiver.py
"""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

LARGEST = 4 * 1024 * 1024
webhook = Webhook(os.environ["WORKER_WEBHOOK_SECRET"])
seen: set[str] = (
    set()
)  # in real life a table with a unique column, written with the result in one transaction


class Receiver(BaseHTTPRequestHandler):
    """Takes each result once."""

    def do_POST(self) -> None:
        """Verify the very bytes that came, then answer quickly; do slow work later."""
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), LARGEST))
        try:
            task = webhook.verify(body, dict(self.headers.items()))
        except (WebhookVerificationError, ValueError):
            self.send_response(401)
        else:
            if self.headers["webhook-id"] not in seen:
                seen.add(self.headers["webhook-id"])
                print(task["task_id"], task["status"], flush=True)
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8001"))), Receiver)
print(f"listening on {server.server_port}", flush=True)
server.serve_forever()
