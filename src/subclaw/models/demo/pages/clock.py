"""A clock that this machine serves: what a visitor sees is made when they look."""

import http.server
import time


class Clock(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        now = time.strftime("%H:%M:%S")
        page = f"<!doctype html><title>A clock</title><h1>{now} UTC</h1><p>Your machine's clock.</p>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.encode())


http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Clock).serve_forever()
