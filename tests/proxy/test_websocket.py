"""WebSocket and server-sent events through the proxy: a real client and a real server (python3-websockets),
over ws:// as a plain HTTP upgrade and inside a CONNECT tunnel; and what must not pass as a websocket."""
import asyncio
import http.client
import os
import socket
import ssl
import threading
import urllib.request

import pytest

from conftest import PATIENCE
from dnsserver import A
from origins import HttpOrigin, Origin, script

websockets = pytest.importorskip("websockets", reason="python3-websockets is not installed")


class Server:
    """A websocket server of the package: echoes, and notes how each connection ended."""

    def __init__(self, host, port, context):
        self.ends, self.hosts, self.error = [], [], None
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(host, port, context), daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        if self.error is not None:
            raise self.error

    async def _echo(self, ws, *_path):
        headers = ws.request.headers if hasattr(ws, "request") else ws.request_headers  # since 13, before
        self.hosts.append(headers["Host"])
        try:
            async for message in ws:
                if message == "leave":
                    await ws.close(4321, "as asked")
                    break
                await ws.send(message)
        finally:
            await ws.wait_closed()
            with self._changed:
                self.ends.append((ws.close_code, ws.close_reason))
                self._changed.notify_all()

    def _run(self, host, port, context):
        async def main():
            self._stop = asyncio.Event()
            async with websockets.serve(self._echo, host, port, ssl=context, max_size=1 << 23) as server:
                self.host, self.port = server.sockets[0].getsockname()[:2]
                self._ready.set()
                await self._stop.wait()
        try:
            self._loop.run_until_complete(main())
        except OSError as error:
            self.error = error
            self._ready.set()

    def wait_end(self):
        """How the first connection ended: (code, reason)."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.ends, PATIENCE)
        return self.ends[0]

    def stop(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        self._loop.close()


@pytest.fixture
def server(loopback):
    running = []

    def start(port=0, context=None):
        try:
            running.append(Server(loopback(), port, context))
        except PermissionError:
            pytest.skip(f"listening on port {port} needs root")
        return running[-1]

    yield start
    for one in running:
        one.stop()


class Conversation:
    """What the client of the package does on one connection."""

    def __init__(self, uri, sock, **options):
        self.uri, self.sock, self.options = uri, sock, options

    async def _talk(self):
        async with websockets.connect(self.uri, sock=self.sock, max_size=1 << 23, **self.options) as ws:
            big = os.urandom(1 << 19)
            for message in ["text", "ä €\U0001f600", "", b"binary\x00\xff", bytes(range(256)), b"", "x" * 70000, big]:
                await ws.send(message)
                got = await asyncio.wait_for(ws.recv(), PATIENCE)
                assert got == message and isinstance(got, type(message)), message[:20]
            await ws.send(["a message ", "in three ", "fragments"])
            assert await asyncio.wait_for(ws.recv(), PATIENCE) == "a message in three fragments"
            await asyncio.wait_for(await ws.ping(), PATIENCE)
            await ws.close(1000, "done")
        return ws.close_code, ws.close_reason

    def run(self):
        return asyncio.run(self._talk())


def ws_through_http(proxy, authority):
    """
    A socket that says GET http://... in place of GET /...: what a client does that sends its upgrade to
    a proxy (RFC 6455 4.1 would have it CONNECT; both must work).
    """
    class Absolute(socket.socket):
        first = True

        def send(self, data, *flags):
            if self.first:
                self.first = False
                data = bytes(data)
                assert data.startswith(b"GET /")
                changed = data.replace(b"GET /", b"GET http://%s/" % authority.encode(), 1)
                self.sendall(changed)
                return len(data)
            return super().send(data, *flags)

    sock = Absolute(socket.AF_INET, socket.SOCK_STREAM)
    sock.connect((proxy.host, proxy.port))
    sock.setblocking(False)
    return sock


def listed(egressd, dns, up, entry=None):
    dns.add("allowed.test", A(up.host))
    return egressd(f"{entry or f'allowed.test:{up.port}'}\n{up.host}\n")


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_plain_websocket(egressd, dns, server, compression):
    """Text, binary, fragments, pings, half a MiB at once, and the close handshake with its code."""
    up = server()
    proxy = listed(egressd, dns, up)
    authority = f"allowed.test:{up.port}"
    talk = Conversation(f"ws://{authority}/chat?x=1", ws_through_http(proxy, authority), compression=compression)
    assert talk.run() == (1000, "done")
    close = proxy.wait_audit(action="close")
    assert (close["status"], close["code"]) == (101, "done")
    assert close["bytes_up"] > 1 << 19 and close["bytes_down"] > 1 << 19
    assert proxy.audit(action="allow")[0]["path"] == "/chat"
    assert up.wait_end() == (1000, "done") and up.hosts == [authority]


def test_the_server_closes(egressd, dns, server):
    up = server()
    proxy = listed(egressd, dns, up)
    authority = f"allowed.test:{up.port}"

    async def talk():
        sock = ws_through_http(proxy, authority)
        async with websockets.connect(f"ws://{authority}/", sock=sock) as ws:
            await ws.send("leave")
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(ws.recv(), PATIENCE)
            return closed.value.rcvd.code, closed.value.rcvd.reason

    assert asyncio.run(talk()) == (4321, "as asked")
    assert proxy.wait_audit(action="close")["code"] == "done"
    assert up.wait_end() == (4321, "as asked")


def test_websocket_in_a_tunnel(egressd, dns, server):
    """ws:// inside a CONNECT to a listed port."""
    up = server()
    proxy = listed(egressd, dns, up)
    authority = f"allowed.test:{up.port}"
    client, answer = proxy.tunnel(authority)
    assert answer.status == 200
    client.sock.setblocking(False)
    assert Conversation(f"ws://{authority}/", client.sock).run() == (1000, "done")
    assert proxy.wait_audit(action="close")["code"] == "done"
    assert up.wait_end() == (1000, "done")


def test_secure_websocket(egressd, dns, server, certificate):
    """wss:// through a tunnel to 443: the ordinary case."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    up = server(443, context)
    proxy = listed(egressd, dns, up, "allowed.test")
    client, answer = proxy.tunnel("allowed.test:443")
    assert answer.status == 200
    client.sock.setblocking(False)
    talk = Conversation("wss://allowed.test/", client.sock, server_hostname="allowed.test",
                        ssl=ssl.create_default_context(cafile=certificate[0]))
    assert talk.run() == (1000, "done")
    assert proxy.wait_audit(action="allow")["sni"] == "allowed.test"
    assert proxy.wait_audit(action="close")["code"] == "done"


def test_a_denied_websocket_is_told(egressd, dns, server):
    """The package's client shows the status of the refusal."""
    up = server()
    proxy = listed(egressd, dns, up)

    async def talk():
        with pytest.raises(websockets.InvalidHandshake) as refused:
            await websockets.connect("ws://denied.test/", sock=ws_through_http(proxy, "denied.test"))
        return getattr(refused.value, "response", refused.value).status_code

    assert asyncio.run(talk()) == 403
    assert up.hosts == []


# ---- what is no websocket ------------------------------------------------------------------------

SWITCH = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")  # RFC 6455 1.3
ASK = ("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
UNASKED = [
    # what the client sends, what the origin answers
    ("GET", "", b"", SWITCH),
    ("POST", "Content-Length: 2\r\n" + ASK, b"ab", SWITCH),
    ("POST", "Transfer-Encoding: chunked\r\n" + ASK, b"0\r\n\r\n", SWITCH),
    ("GET", "Content-Length: 2\r\n" + ASK, b"ab", SWITCH),
    ("HEAD", ASK, b"", SWITCH),
    ("GET", "Upgrade: websocket\r\n", b"", SWITCH),  # not named by Connection
    ("GET", "Connection: Upgrade\r\nUpgrade: h2c\r\n", b"", SWITCH),
    ("GET", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", b"", SWITCH),
    ("GET", ASK, b"", SWITCH.replace(b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n")),
    ("GET", ASK, b"", SWITCH.replace(b"Upgrade: websocket\r\n", b"")),
    ("GET", ASK, b"", SWITCH.replace(b"Connection: Upgrade\r\n", b"")),
    ("GET", ASK, b"", SWITCH.replace(b"HTTP/1.1", b"HTTP/1.0")),
]


@pytest.mark.parametrize("number", range(len(UNASKED)))
def test_a_101_nobody_asked_for(egressd, dns, origin, number):
    """502 and close; what follows the 101 reaches nobody."""
    method, fields, body, said = UNASKED[number]
    up = origin(Origin, script(("until", b"\r\n\r\n"), said + b"\x81\x05ghost", "read-all"))
    proxy = listed(egressd, dns, up)
    client = proxy.connect()
    client.send(f"{method} http://allowed.test:{up.port}/ HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode() + body)
    answer = client.read_head()
    assert answer.status == 502
    assert b"ghost" not in client.read_all()
    assert proxy.wait_audit(action="close")["code"] == "upstream-protocol"
    up.wait_ended()


def test_bytes_ahead_of_the_101_wait(egressd, dns, origin):
    """A frame sent with the request goes up only after the 101."""
    seen = threading.Event()

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.sock.settimeout(0.2)  # nothing may come: only the absence can be waited for
        try:
            early = conn.sock.recv(100)
        except TimeoutError:
            early = b""
        conn.sock.settimeout(None)
        seen.set()
        conn.send(SWITCH)
        conn.send(b"\x82\x01" + (b"!" if early == b"" else b"?"))
        conn.send(conn.read(6))
        conn.read_all()

    up = origin(Origin, handler)
    proxy = listed(egressd, dns, up)
    client = proxy.connect()
    client.send(f"GET http://allowed.test:{up.port}/ HTTP/1.1\r\nHost: x\r\n{ASK}\r\n".encode() + b"\x81\x84mask")
    assert client.read_answer().status == 101
    assert client.read(3) == b"\x82\x01!"
    assert client.read(6) == b"\x81\x84mask"


# ---- server-sent events --------------------------------------------------------------------------

class Events:
    """An origin that sends its next event only when it is told that the client has the one before."""

    def __init__(self, framing, count=20):
        self.had = [threading.Event() for _ in range(count)]
        self.framing = framing

    def __call__(self, conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s\r\n" %
                  (b"Transfer-Encoding: chunked\r\n" if self.framing == "chunked" else b"Connection: close\r\n"))
        for i, had in enumerate(self.had):
            text = b"id: %d\ndata: %s\n\n" % (i, b"x" * (i * 100))
            conn.send(b"%x\r\n%s\r\n" % (len(text), text) if self.framing == "chunked" else text)
            if not had.wait(PATIENCE):
                raise AssertionError(f"event {i} was held back")
        if self.framing == "chunked":
            conn.send(b"0\r\n\r\n")


def read_events(answer, events):
    for i, had in enumerate(events.had):
        assert answer.readline() == b"id: %d\n" % i
        assert answer.readline() == b"data: %s\n" % (b"x" * (i * 100))
        assert answer.readline() == b"\n"
        had.set()
    assert answer.read() == b""


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_events(egressd, dns, origin, framing):
    """Python's own client reads each event before the next is sent."""
    events = Events(framing)
    up = origin(Origin, events)
    proxy = listed(egressd, dns, up)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://{proxy.address}"}))
    with opener.open(f"http://allowed.test:{up.port}/events", timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        read_events(answer, events)
    assert proxy.wait_audit(action="close")["code"] == "done"


def test_events_for_an_old_client(egressd, dns, origin):
    """HTTP/1.0 gets the events of a chunked answer as they come, up to the close."""
    events = Events("chunked")
    up = origin(Origin, events)
    proxy = listed(egressd, dns, up)
    conn = http.client.HTTPConnection(proxy.host, proxy.port, timeout=PATIENCE)
    conn._http_vsn, conn._http_vsn_str = 10, "HTTP/1.0"
    conn.request("GET", f"http://allowed.test:{up.port}/events")
    answer = conn.getresponse()
    assert answer.getheader("Transfer-Encoding") is None
    read_events(answer, events)
    conn.close()


def test_requests_stream_too(egressd, dns, origin):
    """The other way: a body's pieces reach the origin as the client sends them."""
    up = origin(HttpOrigin)
    proxy = listed(egressd, dns, up)
    client = proxy.connect()
    client.send(f"POST http://allowed.test:{up.port}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for i in range(10):
        piece = b"piece %d" % i
        client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        up.wait_received(piece)
    client.send(b"0\r\n\r\n")
    assert client.read_answer().json["body"] == "".join(f"piece {i}" for i in range(10))
