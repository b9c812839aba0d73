"""Origins for the proxy to talk to, each on a loopback address of its own, a thread per connection.

    Origin()                          echoes what comes, half-closes when the client does
    Origin(handler)                   handler(conn) runs for each connection; conn is a Connection
    HttpOrigin()                      answers each request with a JSON copy of it, keeps connections
    HttpOrigin(respond)               respond(request) -> bytes to send, or None to close
    TlsOrigin(certificate, handler)   the same behind TLS; conn.sni is the name the client gave

Every origin keeps what each connection received (origin.connections[i].received) and lets tests wait
for it. A handler that raises ends its connection; the error is kept in origin.errors.
"""
import json
import socket
import ssl
import struct
import threading

PATIENCE = 20


class Connection:
    def __init__(self, origin, sock, peer):
        self.origin, self.sock, self.peer = origin, sock, peer
        self.received = b""
        self.at = 0  # of received: what the handler has taken
        self.ended = False  # the peer has closed its side
        self.sni = None

    def _more(self):
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        with self.origin.changed:
            self.received += data
            self.ended = self.ended or not data
            self.origin.changed.notify_all()
        return data

    def read(self, count):
        while len(self.received) - self.at < count:
            if not self._more():
                raise EOFError
        self.at += count
        return self.received[self.at - count:self.at]

    def read_until(self, mark):
        while self.received.find(mark, self.at) < 0:
            if not self._more():
                raise EOFError
        return self.read(self.received.index(mark, self.at) + len(mark) - self.at)

    def read_some(self):
        if len(self.received) == self.at:
            self._more()
        data = self.received[self.at:]
        self.at = len(self.received)
        return data

    def read_all(self):
        while self._more():
            pass
        data = self.received[self.at:]
        self.at = len(self.received)
        return data

    def send(self, data):
        self.sock.sendall(data)

    def half_close(self):
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock = self.sock.unwrap()  # RFC 8446 6.1: else it looks like a cut
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


def echo(conn):
    while data := conn.read_some():
        conn.send(data)
    conn.half_close()


def sink(conn):
    """Reads and never answers."""
    conn.read_all()


class Origin:
    def __init__(self, handler=echo, host="127.0.0.1", port=0):
        self.handler = handler
        self.changed = threading.Condition()
        self.connections = []
        self.errors = []
        self._stopped = False
        self._listener = socket.create_server((host, port), backlog=512)
        self.host, self.port = self._listener.getsockname()[:2]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def _accept(self):
        while not self._stopped:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            conn = Connection(self, sock, peer)
            with self.changed:
                self.connections.append(conn)
                self.changed.notify_all()
            thread = threading.Thread(target=self._serve, args=(conn,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, conn):
        try:
            conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.prepare(conn)
            self.handler(conn)
        except (EOFError, OSError):
            pass  # the peer left: tests look at what was received
        except Exception as error:
            self.errors.append(error)
        finally:
            try:
                conn.sock.close()
            except OSError:
                pass
            with self.changed:
                conn.ended = True
                self.changed.notify_all()

    def prepare(self, conn):
        """For subclasses: before the handler."""

    # ---- for tests

    @property
    def received(self):
        """All bytes of all connections."""
        with self.changed:
            return b"".join(conn.received for conn in self.connections)

    def wait(self, condition, timeout=PATIENCE):
        """Wait until condition() is true; it is asked anew after every event."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), \
                f"never came; received: {[c.received for c in self.connections]}"

    def wait_connection(self, count=1, timeout=PATIENCE):
        self.wait(lambda: len(self.connections) >= count, timeout)
        return self.connections[count - 1]

    def wait_received(self, data, timeout=PATIENCE):
        self.wait(lambda: any(data in c.received for c in self.connections), timeout)

    def wait_ended(self, index=0, timeout=PATIENCE):
        self.wait(lambda: len(self.connections) > index and self.connections[index].ended, timeout)

    def stop(self):
        self._stopped = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for conn in self.connections:
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not self.errors, f"origin: {self.errors}"

    def dump(self):
        for conn in self.connections:
            print(f"---- origin {self.host}:{self.port} received {conn.received[:2000]!r}")


class HttpRequest:
    def __init__(self, method, target, version, fields):
        self.method, self.target, self.version, self.fields = method, target, version, fields
        self.body, self.trailers = b"", []

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def field(self, name):
        values = self.all(name)
        return values[0] if values else None


def respond_with_copy(request):
    body = json.dumps({
        "method": request.method, "target": request.target, "fields": request.fields,
        "body": request.body.decode("latin-1"), "trailers": request.trailers}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head if request.method == "HEAD" else head + body


class HttpOrigin(Origin):
    """A strict HTTP/1.1 server: what it does not understand ends the connection and is an error."""

    def __init__(self, respond=respond_with_copy, **more):
        self.respond = respond
        self.requests = []
        super().__init__(self.serve, **more)

    def read_request(self, conn):
        lines = conn.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        method, target, version = lines[0].split(" ")
        fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip() or not name:
                raise ValueError(f"field {line!r}")
            fields.append((name, value.strip(" \t")))
        request = HttpRequest(method, target, version, fields)
        codings, lengths = request.all("Transfer-Encoding"), request.all("Content-Length")
        if len(codings) + len(lengths) > 1:
            raise ValueError(f"framing {codings} {lengths}")
        if request.field("Expect") == "100-continue":
            conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if codings:
            self.read_chunked(conn, request)
        elif lengths:
            request.body = conn.read(int(lengths[0]))
        return request

    @staticmethod
    def read_chunked(conn, request):
        while True:
            line = conn.read_until(b"\r\n")[:-2]
            size = int(line, 16)
            if line.lower() != b"%x" % size:
                raise ValueError(f"chunk line {line!r}")
            if size == 0:
                break
            request.body += conn.read(size)
            if conn.read(2) != b"\r\n":
                raise ValueError("chunk end")
        while (line := conn.read_until(b"\r\n")[:-2].decode("latin-1")) != "":
            name, _, value = line.partition(":")
            request.trailers.append((name, value.strip(" \t")))

    def serve(self, conn):
        while True:
            try:
                request = self.read_request(conn)
            except EOFError:
                return
            with self.changed:
                self.requests.append(request)
                self.changed.notify_all()
            answer = self.respond(request)
            if answer is None:
                return
            conn.send(answer)

    def wait_requests(self, count=1, timeout=PATIENCE):
        self.wait(lambda: len(self.requests) >= count, timeout)
        return self.requests[count - 1]


class TlsOrigin(Origin):
    def __init__(self, certificate, handler=echo, **more):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        super().__init__(handler, **more)

    def prepare(self, conn):
        def note(_, name, __):
            conn.sni = name
        context = self.context
        context.sni_callback = note
        conn.sock = context.wrap_socket(conn.sock, server_side=True)


def script(*steps):
    """
    A handler from steps: bytes are sent, ("read", n) and ("until", mark) wait for input, "half-close",
    "reset" and "close" end, "read-all" reads to the end.
    """
    def handler(conn):
        for step in steps:
            if isinstance(step, bytes):
                conn.send(step)
            elif step == "half-close":
                conn.half_close()
            elif step == "reset":
                conn.reset()
            elif step == "close":
                conn.close()
            elif step == "read-all":
                conn.read_all()
            elif step[0] == "read":
                conn.read(step[1])
            elif step[0] == "until":
                conn.read_until(step[1])
            else:
                raise ValueError(step)
    return handler
