"""An endpoint for webhooks on loopback: keeps what it is sent and answers as a test tells it to."""
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Received:
    def __init__(self, path, headers, body):
        self.path, self.headers, self.body = path, headers, body


class Hook:
    """`answers` gives the status for each request in turn, the last one for all that follow; a number of seconds
    in `hold` is waited before it, for as long as the endpoint is open."""

    def __init__(self, answers=(204,), hold=0.0):
        self.answers, self.hold = list(answers), hold
        self.received = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                if hook._closing.is_set():  # a connection that was kept open
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status = hook._keep(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                hook._closing.wait(hook.hold)
                try:
                    self.send_response(status)
                    if 300 <= status < 400:
                        self.send_header("Location", f"http://127.0.0.1:{hook.port}/redirected")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    pass  # the server did not wait for it

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _keep(self, received):
        with self._changed:
            status = self.answers[min(len(self.received), len(self.answers) - 1)]
            self.received.append(received)
            self._changed.notify_all()
        return status

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    def wait(self, count=1, seconds=60):
        """The requests so far, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= count, seconds), \
                f"{len(self.received)} of {count} deliveries in {seconds} s"
            return list(self.received)

    def quiet(self, seconds):
        """How many more requests came in so many seconds."""
        before = len(self.received)
        time.sleep(seconds)
        return len(self.received) - before

    def close(self):
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
