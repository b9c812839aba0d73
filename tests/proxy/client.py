"""A raw client: sends exactly the bytes a test wants, reads answers strictly."""
import json
import socket
import struct


class Answer:
    def __init__(self, version, status, reason, fields, body=b"", trailers=()):
        self.version, self.status, self.reason = version, status, reason
        self.fields, self.body, self.trailers = fields, body, list(trailers)

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def field(self, name):
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The code of an answer of egressd's own."""
        return self.json["code"]

    def __repr__(self):
        return f"<{self.status} {self.reason} {self.fields} {self.body[:200]!r}>"


class Client:
    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        return self

    def send_slowly(self, data, step=1):
        """Each piece in a segment of its own."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(data), step):
            self.sock.sendall(data[i:i + step])
        return self

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    # ---- reading

    def _more(self):
        data = self.sock.recv(65536)
        self.buffer += data
        return len(data) > 0

    def read(self, count):
        """Exactly count bytes."""
        while len(self.buffer) < count:
            if not self._more():
                raise EOFError(f"end after {self.buffer!r}, {count} bytes wanted")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_until(self, mark):
        while mark not in self.buffer:
            if not self._more():
                raise EOFError(f"end after {self.buffer!r}, {mark!r} wanted")
        return self.read(self.buffer.index(mark) + len(mark))

    def read_some(self):
        """What comes next, at least one byte; b"" at the end."""
        if not self.buffer:
            self._more()
        data, self.buffer = self.buffer, b""
        return data

    def read_all(self):
        """Everything up to the end; a reset counts as one."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            pass
        data, self.buffer = self.buffer, b""
        return data

    def ended(self):
        """True when the proxy has closed and sent nothing more, by FIN or reset."""
        return self.read_all() == b""

    def is_reset(self):
        """True when the connection ends by a reset, with nothing before it."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            return self.buffer == b""
        return False

    def read_head(self):
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status, reason = (lines[0].split(" ", 2) + [""])[:3]
        fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon and name and name == name.strip(), f"odd field {line!r}"
            fields.append((name, value.strip(" \t")))
        return Answer(version, int(status), reason, fields)

    def read_chunked(self):
        """-> (body, trailers)"""
        body = b""
        while True:
            line = self.read_until(b"\r\n")[:-2]
            size = int(line, 16)
            assert line == b"%x" % size or line == b"%X" % size, f"odd chunk line {line!r}"
            if size == 0:
                break
            body += self.read(size)
            assert self.read(2) == b"\r\n"
        trailers = []
        while (line := self.read_until(b"\r\n")[:-2].decode("latin-1")) != "":
            name, _, value = line.partition(":")
            trailers.append((name, value.strip(" \t")))
        return body, trailers

    def read_answer(self, method="GET", interim=False):
        """One final answer (or any, with interim) with its body by its framing."""
        answer = self.read_head()
        while answer.status < 200 and answer.status != 101 and not interim:
            answer = self.read_head()
        coding, length = answer.field("Transfer-Encoding"), answer.field("Content-Length")
        assert coding is None or length is None, "both framings"
        if method == "HEAD" or answer.status < 200 or answer.status in (204, 304) or \
                (method == "CONNECT" and answer.status == 200):
            return answer
        if coding is not None:
            assert coding == "chunked", coding
            answer.body, answer.trailers = self.read_chunked()
        elif length is not None:
            answer.body = self.read(int(length))
        else:
            answer.body = self.read_all()
        return answer
