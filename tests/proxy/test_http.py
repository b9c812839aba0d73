"""Plain HTTP through the proxy: what goes up, what comes down, and what neither may look like."""
import base64
import hashlib
import os
import re
import threading
import time

import pytest

from conftest import PATIENCE
from dnsserver import A
from origins import HttpOrigin, TlsOrigin, respond_with_copy, script


class Web:
    """A proxy with one listed origin."""

    def __init__(self, egressd, dns, up, *options):
        self.up = up
        self.authority = f"allowed.test:{up.port}"
        self.base = f"http://{self.authority}"
        dns.add("allowed.test", A(up.host))
        self.proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n", *options)

    def fill(self, data):
        """BASE and AUTHORITY in raw requests."""
        if isinstance(data, str):
            data = data.encode("latin-1")
        return data.replace(b"BASE", self.base.encode()).replace(b"AUTHORITY", self.authority.encode())

    def send(self, data):
        client = self.proxy.connect()
        client.send(self.fill(data))
        return client

    def closes(self, count=1, **want):
        return self.proxy.wait_audit(count=count, action="close", **want)


@pytest.fixture
def web(egressd, dns, origin):
    def start(respond=respond_with_copy, *options):
        return Web(egressd, dns, origin(HttpOrigin, respond), *options)
    return start


@pytest.fixture
def raw_web(egressd, dns, origin):
    """An origin that runs a script for each connection."""
    def start(handler, *options):
        return Web(egressd, dns, origin(handler), *options)
    return start


GET = "GET BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n"
HEAD_SEEN = ("until", b"\r\n\r\n")


# ---- what passes ---------------------------------------------------------------------------------

def test_methods(web):
    site = web()
    client = site.proxy.connect()
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "POST", "PATCH", "PROPFIND"]:
        body = "Content-Length: 3\r\n\r\nabc" if method in ("PUT", "POST", "PATCH") else "\r\n"
        client.send(site.fill(f"{method} BASE/a/b?c=d&e HTTP/1.1\r\nHost: AUTHORITY\r\n{body}"))
        answer = client.read_answer(method)
        assert answer.status == 200, method
        if method != "HEAD":
            copy = answer.json
            assert (copy["method"], copy["target"]) == (method, "/a/b?c=d&e")
            assert copy["body"] == ("abc" if "abc" in body else "")
    assert len(site.up.connections) == 1
    site.closes(count=8, code="done", status=200)


def test_targets(web):
    """absolute-form in, origin-form out, nothing normalised but what the target is."""
    site = web()
    for sent, got in [("", "/"), ("/", "/"), ("?q", "/?q"), ("/a//b/../c", "/a//b/../c"),
                      ("/%41%2f%2e", "/%41%2f%2e"), ("/a;p=1,2!$&'()*+:@~_-", "/a;p=1,2!$&'()*+:@~_-"),
                      ("/?a=/?:@", "/?a=/?:@")]:
        answer = site.proxy.get(site.base + sent)
        assert answer.status == 200 and answer.json["target"] == got, sent
    client = site.send("OPTIONS BASE HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.read_answer().json["target"] == "*"


def test_what_goes_up_is_written_anew(web):
    site = web()
    client = site.send(
        "GET BASE/ HTTP/1.1\r\nHost: evil.test\r\nX-Keep: a, b \r\nx-keep: c\r\nCookie: d=e\r\n"
        "Connection: X-Named, keep-alive,,x-other\r\nX-Named: gone\r\nX-OTHER: gone\r\n"
        "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n"
        "Proxy: http://x\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nForwarded: for=1.2.3.4\r\n"
        "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\n"
        "Via: 1.1 x\r\nX-Forwarded: kept-by-no-rule\r\nUser-Agent: u\r\n\r\n")
    fields = dict((name.lower(), value) for name, value in client.read_answer().json["fields"]
                  if name.lower() != "x-keep")
    assert fields.pop("host") == site.authority
    assert fields.pop("cookie") == "d=e" and fields.pop("user-agent") == "u"
    for gone in ["connection", "x-named", "x-other", "keep-alive", "proxy-connection", "te", "upgrade",
                 "proxy-authorization", "proxy", "forwarded", "x-forwarded-for", "x-forwarded-host",
                 "x-forwarded-proto", "via"]:
        assert gone not in fields, gone
    assert site.up.requests[0].all("x-keep") == ["a, b", "c"]
    head = site.up.received.split(b"\r\n")
    assert head[0] == b"GET / HTTP/1.1"


def test_what_comes_down_is_written_anew(raw_web):
    site = raw_web(script(
        HEAD_SEEN,
        b"HTTP/1.1 200 Fi\xffne\r\nContent-Length: 2\r\nConnection: X-Named\r\nX-Named: gone\r\nVia: 1.1 x\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Forwarded-For: x\r\nSet-Cookie: a=b\r\n"
        b"Set-Cookie: c=d\r\nX-Keep: e\r\n\r\nok", "read-all"))
    client = site.send(GET)
    answer = client.read_answer()
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"ok")
    assert answer.all("Set-Cookie") == ["a=b", "c=d"] and answer.field("X-Keep") == "e"
    for gone in ["X-Named", "Via", "Keep-Alive", "Proxy-Authenticate", "X-Forwarded-For"]:
        assert answer.all(gone) == [], gone


def test_keep_alive_and_pipelining(web):
    site = web()
    client = site.send("".join(f"GET BASE/{i} HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n" for i in range(20)))
    for i in range(20):
        assert client.read_answer().json["target"] == f"/{i}"
    assert len(site.up.connections) == 1
    client.send(site.fill("GET BASE/last HTTP/1.1\r\nHost: AUTHORITY\r\nConnection: close\r\n\r\n"))
    answer = client.read_answer()
    assert answer.json["target"] == "/last" and answer.field("Connection") == "close"
    assert client.ended()
    site.closes(count=21)


@pytest.mark.parametrize("last", [GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
                                  "GET BASE/ HTTP/1.0\r\n\r\n",
                                  "GET BASE/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"])
def test_nothing_is_read_behind_the_last_request(web, last):
    """What stands behind a request that ends its connection is no request."""
    site = web()
    client = site.send(last + GET + "POST BASE/x HTTP/1.1\r\nHost: AUTHORITY\r\nContent-Length: 5\r\n\r\nhello")
    assert client.read_answer().status == 200
    assert client.ended()
    site.closes()
    assert len(site.up.requests) == 1 and len(site.proxy.audit(action="allow")) == 1


def test_each_request_is_decided_anew(web):
    site = web()
    client = site.send(GET + "GET http://denied.test/ HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n" + GET)
    assert client.read_answer().status == 200
    answer = client.read_answer()
    assert (answer.status, answer.code) == (403, "not-listed")
    assert client.ended()
    assert len(site.up.requests) == 1


def test_another_name_gets_another_connection(egressd, dns, origin):
    up = origin(HttpOrigin)
    dns.add("one.test", A(up.host))
    dns.add("two.test", A(up.host))
    proxy = egressd(f"one.test:{up.port}\ntwo.test:{up.port}\n{up.host}\n")
    client = proxy.connect()
    for name in ["one.test", "two.test"]:
        client.send(f"GET http://{name}:{up.port}/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ["Host", f"{name}:{up.port}"] in client.read_answer().json["fields"]
    assert len(up.connections) == 2


def test_another_port_gets_another_connection(egressd, dns, origin):
    up = origin(HttpOrigin)
    other = origin(HttpOrigin, host=up.host)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\nallowed.test:{other.port}\n{up.host}\n")
    client = proxy.connect()
    for one in [up, other, up]:
        client.send(f"GET http://allowed.test:{one.port}/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ["Host", f"allowed.test:{one.port}"] in client.read_answer().json["fields"]
    assert [len(up.requests), len(other.requests)] == [2, 1]


def test_another_client_gets_another_connection(egressd, dns, origin):
    """Though the first one's is kept, and goes there."""
    up = origin(HttpOrigin)
    dns.add("allowed.test", A(up.host))
    proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n", workers=1)
    clients = [proxy.connect(), proxy.connect()]
    for client in clients + clients:
        client.send(f"GET http://allowed.test:{up.port}/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_answer().status == 200
    assert len(up.connections) == len(clients)


def test_byte_by_byte(web):
    site = web()
    client = site.proxy.connect()
    data = site.fill("\r\nPOST BASE/x HTTP/1.1\r\nHost: AUTHORITY\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-T: u\r\n\r\n" + GET)
    client.send_slowly(data)
    assert client.read_answer().json["body"] == "abcde"
    assert client.read_answer().json["target"] == "/"


BODY = os.urandom(3 << 20)


def chunks(data, size):
    return b"".join(b"%x\r\n%s\r\n" % (len(data[i:i + size]), data[i:i + size])
                    for i in range(0, len(data), size)) + b"0\r\n\r\n"


def test_large_bodies_up(web):
    def respond(request):
        digest = hashlib.sha256(request.body).hexdigest().encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest
    site = web(respond)
    digest = hashlib.sha256(BODY).hexdigest().encode()
    for framing, body in [(f"Content-Length: {len(BODY)}", BODY),
                          ("Transfer-Encoding: chunked", chunks(BODY, 100000)),
                          ("Transfer-Encoding: chunked", chunks(BODY[:60000], 1))]:
        client = site.send(f"POST BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\n{framing}\r\n\r\n")
        client.send(body)
        want = digest if len(body) > 1 << 20 else hashlib.sha256(BODY[:60000]).hexdigest().encode()
        assert client.read_answer().body == want, framing
    assert site.closes(count=3)["bytes_up"] >= 60000


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_large_bodies_down(raw_web, framing):
    head = {"length": b"Content-Length: %d\r\n" % len(BODY), "chunked": b"Transfer-Encoding: chunked\r\n",
            "close": b""}[framing]
    body = chunks(BODY, 77777) if framing == "chunked" else BODY
    site = raw_web(script(HEAD_SEEN, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body, "close"))
    client = site.send(GET)
    answer = client.read_answer()
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(BODY).digest()
    assert site.closes(code="done")["bytes_down"] >= len(BODY)


def test_answer_byte_by_byte(raw_web):
    answer_bytes = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    b"5\r\nhello\r\n6;x\r\n world\r\n0\r\nX-T: u\r\n\r\n")
    site = raw_web(script(HEAD_SEEN, *(answer_bytes[i:i + 1] for i in range(len(answer_bytes))), "read-all"))
    answer = site.send(GET).read_answer()
    assert answer.body == b"hello world" and answer.trailers == [("X-T", "u")]


def test_trailers(web):
    site = web()
    client = site.send("POST BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\nTransfer-Encoding: chunked\r\n"
                       "Connection: X-Named\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nX-Named: gone\r\n"
                       "Authorization: gone\r\nVia: gone\r\nX-Forwarded-For: gone\r\nProxy-X: gone\r\n"
                       "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: gone\r\nCookie: gone\r\n"
                       "Content_Length: 5\r\ntransfer_encoding: chunked\r\n\r\n")
    assert client.read_answer().json["trailers"] == [["X-Sum", "1"]]


def test_events_pass_as_they_come(raw_web):
    """Server-sent events: the next is sent only after the client has the one before."""
    seen = [threading.Event() for _ in range(5)]

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i, event in enumerate(seen):
            text = b"data: %d\n\n" % i
            conn.send(b"%x\r\n%s\r\n" % (len(text), text))
            if not event.wait(PATIENCE):
                raise AssertionError(f"event {i} is held back")
        conn.send(b"0\r\n\r\n")
        conn.read_all()

    site = raw_web(handler)
    client = site.send(GET)
    assert client.read_head().field("Content-Type") == "text/event-stream"
    for i, event in enumerate(seen):
        client.read_until(b"data: %d\n\n\r\n" % i)
        event.set()
    client.read_until(b"0\r\n\r\n")
    site.closes(code="done")


def test_expect_continue(web):
    site = web()
    client = site.send("POST BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert client.read_answer(interim=True).status == 100
    client.send(b"hello")
    answer = client.read_answer()
    assert answer.status == 200 and answer.json["body"] == "hello"


def test_expect_continue_denied(web):
    """The client hears the refusal in place of 100 and its body is never read."""
    site = web()
    client = site.send("POST http://denied.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                       "Expect: 100-continue\r\n\r\n")
    assert client.read_answer(interim=True).status == 403


def test_interim_answers_pass(raw_web):
    site = raw_web(script(HEAD_SEEN, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                                     b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "read-all"))
    client = site.send(GET)
    assert client.read_answer(interim=True).status == 103
    assert client.read_answer().status == 200


def test_http10_client(raw_web):
    """No chunks and no interim answer for HTTP/1.0; the end of the body is the end of the connection."""
    site = raw_web(script(HEAD_SEEN, b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n"
                                     b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
                          "read-all"))
    client = site.send("GET BASE/ HTTP/1.0\r\n\r\n")
    answer = client.read_answer(interim=True)
    assert answer.status == 200 and answer.field("Transfer-Encoding") is None
    assert answer.body == b"hello"
    assert site.up.received.startswith(b"GET / HTTP/1.1\r\n")


def test_http10_connections_are_not_kept(web):
    """RFC 9112 9.3: a proxy does not keep an HTTP/1.0 client's connection, whatever it asks."""
    site = web()
    client = site.send("GET BASE/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = client.read_answer()
    assert answer.status == 200 and answer.field("Connection") == "close"
    assert client.ended()


NO_BODY = [
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n", 304),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304),
    ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 50\r\n\r\n", 204),
    ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", 200),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200),
    ("HEAD", b"HTTP/1.1 404 Not Found\r\nContent-Length: 50\r\n\r\n", 404),
    # an interim answer has none either, and says nothing about the connection
    ("GET", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 50\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    ("GET", b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204),
    ("GET", b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204),
]


def test_what_has_no_body_eats_no_next_answer(raw_web):
    """On one connection: each is followed by an ordinary answer, which must be that of the next request."""
    steps = []
    for i, (_, data, _) in enumerate(NO_BODY):
        steps += [HEAD_SEEN, data, HEAD_SEEN, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%04d" % i]
    site = raw_web(script(*steps, "read-all"))
    client = site.proxy.connect()
    for i, (method, _, status) in enumerate(NO_BODY):
        client.send(site.fill(GET.replace("GET", method, 1)))
        assert client.read_answer(method).status == status
        client.send(site.fill(GET))
        assert client.read_answer().body == b"%04d" % i
    assert len(site.up.connections) == 1


def test_answers_without_a_body(raw_web):
    """HEAD, 204 and 304 have none, whatever their fields say: the next answer is not eaten."""
    head_only = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    site = raw_web(script(
        HEAD_SEEN, head_only, HEAD_SEEN, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\nETag: x\r\n\r\n",
        HEAD_SEEN, b"HTTP/1.1 204 No Content\r\n\r\n",
        HEAD_SEEN, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast", "read-all"))
    client = site.send(GET.replace("GET", "HEAD", 1))
    answer = client.read_answer("HEAD")
    assert answer.status == 200 and answer.field("Content-Length") == "1000"
    for status in [304, 204]:
        client.send(site.fill(GET))
        assert client.read_answer().status == status
    client.send(site.fill(GET))
    assert client.read_answer().body == b"last"
    assert len(site.up.connections) == 1


# ---- upgrades ------------------------------------------------------------------------------------

WEBSOCKET = ("GET BASE/chat HTTP/1.1\r\nHost: AUTHORITY\r\nConnection: keep-alive, Upgrade\r\n"
             "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
             "Sec-WebSocket-Protocol: chat\r\n\r\n")
ACCEPT = base64.b64encode(hashlib.sha1(  # RFC 6455 1.3
    b"dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
SWITCH = (f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n").encode()


def test_websocket(raw_web):
    def handler(conn):
        head = conn.read_until(b"\r\n\r\n").lower()
        if b"\r\nupgrade: websocket\r\n" not in head or b"\r\nsec-websocket-key: dghl" not in head:
            raise AssertionError(head)
        conn.send(SWITCH + b"\x81\x05hello")
        while data := conn.read_some():
            conn.send(data)
        conn.half_close()

    site = raw_web(handler)
    client = site.send(WEBSOCKET + "\x81\x85early")  # bytes behind the request wait for the 101
    answer = client.read_answer()
    assert answer.status == 101 and answer.field("Upgrade").lower() == "websocket"
    assert answer.field("Sec-WebSocket-Accept") == ACCEPT
    assert client.read(7) == b"\x81\x05hello"
    assert client.read(7) == b"\x81\x85early"
    binary = bytes(range(256)) * 400
    client.send(binary)
    assert client.read(len(binary)) == binary
    client.half_close()
    assert client.read_all() == b""
    close = site.closes()
    assert close["status"] == 101 and close["code"] == "done"


def test_refused_websocket_closes(raw_web):
    """Bytes behind the request were meant for a websocket: they are never read as a request."""
    site = raw_web(script(HEAD_SEEN, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "read-all"))
    client = site.send(WEBSOCKET + GET)
    answer = client.read_answer()
    assert answer.status == 403 and answer.body == b"no"
    assert client.ended()
    site.up.wait_ended()
    assert site.up.received.count(b"GET ") == 1


def test_other_upgrades_are_dropped(web):
    site = web()
    for upgrade in ["h2c", "TLS/1.0", "websocket, h2c", "foo"]:
        client = site.send(f"GET BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\nConnection: Upgrade\r\n"
                           f"Upgrade: {upgrade}\r\n\r\n")
        answer = client.read_answer()
        assert answer.status == 200, upgrade
        assert all(name.lower() not in ("upgrade", "connection") for name, _ in answer.json["fields"]), upgrade
    client = site.send("POST BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Content-Length: 2\r\n\r\nab")
    answer = client.read_answer()
    assert answer.status == 200 and answer.json["body"] == "ab"
    assert all(name.lower() != "upgrade" for name, _ in answer.json["fields"])


# ---- malformed requests --------------------------------------------------------------------------

def post(fields, body="hello"):
    return f"POST BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\n{fields}\r\n\r\n{body}"


def get(line="GET BASE/ HTTP/1.1", fields="Host: AUTHORITY\r\n"):
    return f"{line}\r\n{fields}\r\n"


CHUNKED = "Transfer-Encoding: chunked"
HELLO = "5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = "GET BASE/smuggled HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n"
# What is wrong, as the answer must say it: each is refused by its own rule, none only because llhttp
# or a later rule happens to refuse it too.
LENGTH, CODING = "Content-Length is (repeated|not a number|empty|too large)", "Transfer-Encoding is (repeated|not the)"
BOTH, BLANK, NAME = "exclude each other", "starts with a blank", "field name that is not a token"
LINE_END, CONTROL = "a CR without LF", "a control byte in a field"
VERSION, TARGET = "does not end in HTTP/1.0 or HTTP/1.1", "the target is not visible ASCII"
MALFORMED = [
    # framing
    (BOTH, post("Content-Length: 5\r\n" + CHUNKED, HELLO + SMUGGLED)),
    (BOTH, post(CHUNKED + "\r\nContent-Length: 5", HELLO)),
    (BOTH, post("Content-Length: 0\r\n" + CHUNKED, HELLO)),
    ("Content-Length is repeated", post("Content-Length: 5\r\nContent-Length: 5")),
    ("Content-Length is repeated", post("Content-Length: 5\r\nContent-Length: 6")),
    ("Content-Length is repeated", post("Content-Length: 0\r\nContent-Length: 0", "")),
    (LENGTH, post("Content-Length: 5, 5")), (LENGTH, post("Content-Length: +5")), (LENGTH, post("Content-Length: -5")),
    (LENGTH, post("Content-Length: 0x5")), (LENGTH, post("Content-Length: 5 5")),
    ("Content-Length ends in a TAB", post("Content-Length: 5\t")),
    ("Content-Length ends in a TAB", post("Content-Length: 5 \t ")),
    (LENGTH, post("Content-Length: ")), (LENGTH, post("Content-Length: five")), (LENGTH, post("Content-Length: 5;")),
    ("too large", post("Content-Length: 18446744073709551621")),
    ("too large", post("Content-Length: 9223372036854775808")),
    (NAME, post("Content-Length : 5")), (NAME, post("Content-Length\t: 5")),
    (BLANK, post("Content-Length: 5\r\n " + CHUNKED)),
    (CODING, post("Transfer-Encoding: gzip, chunked", HELLO)),
    (CODING, post("Transfer-Encoding: chunked, chunked", HELLO)),
    (CODING, post("Transfer-Encoding: chunked, identity", HELLO)),
    (CODING, post("Transfer-Encoding: identity", HELLO)), (CODING, post("Transfer-Encoding: xchunked", HELLO)),
    (CODING, post("Transfer-Encoding: chunkedx", HELLO)), (CODING, post("Transfer-Encoding: chunked;a=b", HELLO)),
    ("Transfer-Encoding ends in a TAB", post("Transfer-Encoding: chunked\t", HELLO)),
    (CODING, post("Transfer-Encoding:", HELLO)), (CODING, post("Transfer-Encoding: ,chunked", HELLO)),
    ("Transfer-Encoding is repeated", post(CHUNKED + "\r\n" + CHUNKED, HELLO)),
    (CODING, post("Transfer-Encoding: \"chunked\"", HELLO)), (BLANK, post("Transfer-Encoding:\r\n chunked", HELLO)),
    ("underscore", post("Transfer_Encoding: chunked", HELLO)),
    ("underscore", post("Content-Length: 5\r\nCONTENT_LENGTH: 0", b"hello")),
    (NAME, post("Transfer-Encoding\x0b: chunked", HELLO)), (CONTROL, post("Transfer-Encoding: chunked\x00", HELLO)),
    ("HTTP/1.0 has no", f"POST BASE/ HTTP/1.0\r\nHost: AUTHORITY\r\n{CHUNKED}\r\n\r\n{HELLO}"),
    # lines
    (VERSION, "GET BASE/ HTTP/1.1\nHost: AUTHORITY\r\n\r\n"), (CONTROL, get(fields="Host: AUTHORITY\n")),
    ("without a name", "GET BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\n\n"),
    ("without a name", "GET BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\nX: y\r\n\n"),
    (VERSION, "GET BASE/ HTTP/1.1\nHost: AUTHORITY\n\n"), (CONTROL, get(fields="Host: AUTHORITY\nX: y\n")),
    (CONTROL, get(fields="Host: AUTHORITY\r\nX: y\n")), (CONTROL, get(fields="Host: AUTHORITY\r\nX: y\n\r\nZ: y\r\n")),
    (LINE_END, "GET BASE/ HTTP/1.1\rHost: AUTHORITY\r\r"), (LINE_END, get(fields="Host: AUTHORITY\r\nX: a\rb\r\n")),
    (LINE_END, get(fields="Host: AUTHORITY\r\nX: a\r\r\n")),
    (LINE_END, "GET BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\n\rX"),
    (CONTROL, get(fields="Host: AUTHORITY\r\nX: a\nY: b\r\n")), (CONTROL, get(fields="Host: AUTHORITY\r\nX: a\x00b\r\n")),
    (BLANK, get(fields="Host: AUTHORITY\r\nX: a\r\n b\r\n")), (BLANK, get(fields="Host: AUTHORITY\r\nX: a\r\n\tb\r\n")),
    (BLANK, get(fields=" Host: AUTHORITY\r\n")), (NAME, get(fields="Host: AUTHORITY\r\nX\r\n")),
    ("without a name", get(fields="Host: AUTHORITY\r\n: a\r\n")), (NAME, get(fields="Host: AUTHORITY\r\nX : a\r\n")),
    (NAME, get(fields="Host: AUTHORITY\r\nX\t: a\r\n")), (NAME, get(fields="Host: AUTHORITY\r\nX(y): a\r\n")),
    (NAME, get(fields="Host: AUTHORITY\r\nX\xe4: a\r\n")), (NAME, get(fields="Host: AUTHORITY\r\nX\x00: a\r\n")),
    (CONTROL, get(fields="Host: AUTHORITY\r\nX: a\x01\r\n")), (CONTROL, get(fields="Host: AUTHORITY\r\nX: a\x7f\r\n")),
    # the first line
    (TARGET, get("GET  BASE/ HTTP/1.1")), (VERSION, get("GET BASE/  HTTP/1.1")),
    ("method is not a token", get("GET\tBASE/ HTTP/1.1")), ("method is not a token", get("GET(x) BASE/ HTTP/1.1")),
    ("not start with a method", get(" GET BASE/ HTTP/1.1")), (VERSION, get("GET BASE/ HTTP/1.1 ")),
    (VERSION, get("GET BASE/ HTTP/1.2")), (VERSION, get("GET BASE/ HTTP/2.0")), (VERSION, get("GET BASE/ HTTP/0.9")),
    (VERSION, get("GET BASE/ http/1.1")), (VERSION, get("GET BASE/ HTTP/01.1")), (VERSION, get("GET BASE/ HTTP/1.1x")),
    (VERSION, get("GET BASE/ RTSP/1.0")), (VERSION, get("SOURCE BASE/ ICE/1.0")), (TARGET, get("GET BASE/")),
    (VERSION, get("GET BASE/ HTTP/1.")), (LINE_END, get("GET BASE/ HTTP/1.1\r")),
    ("too many empty lines", "\r\n" * 9 + GET), ("not start with a method", "\n" + GET), (LINE_END, "\r" + GET),
    ("not start with a method", "\r\n\n" + GET),
    # targets
    ("this is a proxy", get("GET / HTTP/1.1")), ("this is a proxy", get("GET /BASE/ HTTP/1.1")),
    ("names no host", get("GET * HTTP/1.1")), ("absolute http:// URL", get("GET AUTHORITY HTTP/1.1")),
    ("names no host", get("OPTIONS * HTTP/1.1", "Host: AUTHORITY\r\nContent-Length: 1\r\n") + "x"),
    ("fragment", get("GET BASE/#fragment HTTP/1.1")), ("fragment", get("GET BASE/?q#fragment HTTP/1.1")),
    ("fragment|absolute", get("GET BASE#fragment HTTP/1.1")), ("use CONNECT", get("GET https://AUTHORITY/ HTTP/1.1")),
    ("only http://", get("GET ftp://AUTHORITY/ HTTP/1.1")), ("with Upgrade", get("GET ws://AUTHORITY/ HTTP/1.1")),
    ("host is empty", get("GET http:/// HTTP/1.1")), ("host is empty", get("GET http://:80/ HTTP/1.1")),
    ("absolute http:// URL", get("GET http:AUTHORITY/ HTTP/1.1")), ("this is a proxy", get("GET //AUTHORITY/ HTTP/1.1")),
    ("user information", get("GET http://user@AUTHORITY/ HTTP/1.1")),
    ("user information", get("GET http://a:b@AUTHORITY/ HTTP/1.1")),
    ("user information", get("GET http://@AUTHORITY/ HTTP/1.1")),
    ("the port is not", get("GET http://allowed.test:/ HTTP/1.1")),
    ("the port is not", get("GET http://allowed.test:0/ HTTP/1.1")),
    ("the port is not", get("GET http://allowed.test:65616/ HTTP/1.1")),
    ("the port is not", get("GET http://allowed.test:+80/ HTTP/1.1")),
    ("the port is not", get("GET http://allowed.test:080/ HTTP/1.1")),
    ("no canonical form", get("GET http://127.1/ HTTP/1.1")), ("no canonical form", get("GET http://0x7f000001/ HTTP/1.1")),
    ("no canonical form", get("GET http://allowed%2etest/ HTTP/1.1")), ("a '\\['", get("GET http://[::1/ HTTP/1.1")),
    (VERSION, get("GET BASE/a b HTTP/1.1")), (TARGET, get("GET BASE/\x7f HTTP/1.1")), (TARGET, get("GET BASE/\xe4 HTTP/1.1")),
    (TARGET, get("GET BASE/\x00 HTTP/1.1")), ("percent-encoded", get("GET BASE/\\ HTTP/1.1")),
    ("percent-encoded", get("GET BASE/<a> HTTP/1.1")), ("percent-encoded", get("GET BASE/\"a\" HTTP/1.1")),
    ("two hexadecimal digits", get("GET BASE/%4 HTTP/1.1")), ("two hexadecimal digits", get("GET BASE/?%4g HTTP/1.1")),
    # Host, Connection
    ("Host is missing", get(fields="")), ("Host is repeated", get(fields="Host: AUTHORITY\r\nHost: AUTHORITY\r\n")),
    ("Host is malformed", get(fields="Host: a b\r\n")), ("Host is malformed", get(fields="Host: a/b\r\n")),
    ("Host is malformed", get(fields="Host: a@b\r\n")), ("Host is malformed", get(fields="Host: a:b\r\n")),
    ("Host is malformed", get(fields="Host: [::1\r\n")), ("Host is malformed", get(fields="Host: :80\r\n")),
    ("Connection names", get(fields="Host: AUTHORITY\r\nConnection: host\r\n")),
    ("Connection names", get(fields="Host: AUTHORITY\r\nConnection: close, Content-Length\r\n")),
    ("Connection names", get(fields="Host: AUTHORITY\r\nConnection: transfer-encoding\r\n")),
    ("Connection names", get(fields="Host: AUTHORITY\r\nConnection: Trailer\r\n")),
    ("Connection is malformed", get(fields="Host: AUTHORITY\r\nConnection: a b\r\n")),
]


def test_malformed_requests_never_go_up(web):
    """400 and close; the origin has seen no connection, let alone a byte."""
    site = web()
    for why, data in MALFORMED:
        client = site.send(data)
        answer = client.read_answer()
        assert answer.status == 400 and answer.code == "bad-request", data
        assert re.search(why, answer.json["message"]), (answer.json["message"], data)
        assert client.ended(), data
    assert site.up.connections == []
    assert len(site.proxy.audit(action="deny", code="bad-request")) == len(MALFORMED)


TOO_LARGE = [
    (get("GET BASE/" + "a" * 16400 + " HTTP/1.1"), 414),
    (get(fields="Host: AUTHORITY\r\n" + "X: y\r\n" * 128), 431),
    (get(fields="Host: AUTHORITY\r\nX: " + "y" * 66000 + "\r\n"), 431),
    (get(fields="Host: AUTHORITY\r\n" + "X" * 65600 + ": y\r\n"), 431),
]


def test_too_large_heads_never_go_up(web):
    site = web()
    for data, status in TOO_LARGE:
        client = site.send(data)
        answer = client.read_answer()
        assert (answer.status, answer.code) == (status, "too-large")
        assert client.ended()
    assert site.up.connections == []


BAD_CHUNKS = [
    "5x\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n", "-1\r\nhello\r\n0\r\n\r\n", "\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\rhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello", "00000000000000005\r\nhello\r\n0\r\n\r\n", "FFFFFFFFFFFFFFFF1\r\n",
    "5;a\x01\r\nhello\r\n0\r\n\r\n", "5;a\x00\r\nhello\r\n0\r\n\r\n", "5;a\nhello\r\n0\r\n\r\n",
    "5;" + "a" * 300 + "\r\nhello\r\n0\r\n\r\n", "0" * 300 + "\r\n",
    "5\r\nhello\r\n0\r\nX\r\n\r\n", "5\r\nhello\r\n0\r\n X: y\r\n\r\n", "5\r\nhello\r\n0\r\nX: y\n\r\n",
    "5\r\nhello\r\n0\r\nX : y\r\n\r\n", "5\r\nhello\r\n0\r\nX: " + "y" * 9000 + "\r\n\r\n", "5\r\nhello\r\n0\r\n\n",
]


def test_bad_chunks_abort_the_upstream(web):
    """400 and close; the origin's request never becomes whole, and nothing behind it is read as one."""
    site = web()
    for body in BAD_CHUNKS:
        client = site.send(post(CHUNKED, body))
        try:
            client.send(site.fill(SMUGGLED))
        except OSError:
            pass  # it was refused already
        answer = client.read_answer()
        assert (answer.status, answer.code) == (400, "bad-request"), body[:60]
        client.close()
    site.closes(count=len(BAD_CHUNKS), code="bad-request")
    assert site.up.requests == []
    assert b"smuggled" not in site.up.received


def test_bodies_that_end_early_abort_the_upstream(web):
    site = web()
    for framing, body in [("Content-Length: 10", "hello"), (CHUNKED, "5\r\nhello\r\n"), (CHUNKED, "5\r\nhe")]:
        client = site.send(post(framing, body))
        client.half_close()
        client.read_all()
    site.closes(count=3)
    assert site.up.requests == []


def test_an_early_refusal_reaches_a_sending_client(web):
    """The client goes on sending its body after the refusal: no reset, and the answer is there."""
    site = web()
    client = site.send("POST http://denied.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
    site.proxy.wait_audit(action="deny", code="not-listed")
    for _ in range(6):
        client.send(bytes(1000))
        site.proxy.tunnel("other.test:443")  # by its answer those bytes have been read
    client.send(bytes(54000))
    assert client.read_answer().code == "not-listed"
    client.half_close()
    assert client.sock.recv(1) == b""  # a reset would raise


def test_a_refused_client_that_sends_on_is_cut_off(web):
    """64 KiB are discarded, not 64 MiB: a refusal is no sink."""
    site = web()
    client = site.send("POST http://denied.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
    assert client.read_answer().code == "not-listed"
    sent = 0
    with pytest.raises(ConnectionError):
        while sent < 64 << 20:
            sent += client.sock.send(bytes(1 << 16))
    assert sent < 20 << 20  # what the two sockets' buffers hold


def test_a_refused_client_that_stays_is_closed(web):
    """Two seconds after the answer the connection is gone, though the client has not closed it."""
    site = web()
    client = site.send("GET http://denied.test/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.read_answer().code == "not-listed"
    assert client.sock.recv(1) == b""  # the half-close comes at once
    since = time.monotonic()
    with pytest.raises(ConnectionError):
        while time.monotonic() - since < PATIENCE:
            client.sock.send(b"x")
            time.sleep(0.05)
    assert time.monotonic() - since > 1  # not so early that a reset could overtake the answer


def test_an_early_answer_of_the_origin_reaches_a_sending_client(raw_web):
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
    site = raw_web(script(HEAD_SEEN, answer, "half-close", "read-all"))
    client = site.send("POST BASE/ HTTP/1.1\r\nHost: AUTHORITY\r\nContent-Length: 50000000\r\n\r\n")
    client.send(bytes(50000))
    answer = client.read_answer()
    assert answer.status == 413 and answer.body == b"big"


# ---- hostile answers -----------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
VERSION_OF, STATUS_LINE = "not HTTP/1.0 or HTTP/1.1", "the status line is malformed"
REASON, RANGE = "a control byte in the status line", "a status outside 100-599"
ASKED = "an upgrade that was not asked for"
BAD_ANSWERS = [
    # what is wrong, as the answer must say it: the fault is found by its own rule
    (VERSION_OF, b"HELLO\r\n\r\n"), (VERSION_OF, b"\x16\x03\x01\x00\x01\x01"), (VERSION_OF, b"SSH-2.0-x\r\n"),
    (VERSION_OF, b"HTTP/2.0 200 OK\r\n\r\n"), (VERSION_OF, b"HTTP/0.9 200 OK\r\n\r\n"),
    (VERSION_OF, b"HTTP/1.2 200 OK\r\n\r\n"), (VERSION_OF, b"http/1.1 200 OK\r\n\r\n"),
    (VERSION_OF, b"ICY 200 OK\r\n\r\n"), (VERSION_OF, b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
    (STATUS_LINE, b"HTTP/1.1\r\n\r\n"), (STATUS_LINE, b"HTTP/1.1 20 OK\r\n\r\n"),
    (STATUS_LINE, b"HTTP/1.1 2000 OK\r\n\r\n"), (STATUS_LINE, b"HTTP/1.1  200 OK\r\n\r\n"),
    (STATUS_LINE, b"HTTP/1.1\t200 OK\r\n\r\n"), (STATUS_LINE, b"HTTP/1.1 200\tOK\r\n\r\n"),
    (STATUS_LINE, b"HTTP/1.1 2x0 OK\r\n\r\n"), (STATUS_LINE, b"HTTP/1.1 +20 OK\r\n\r\n"),
    (STATUS_LINE, b"HTTP/1.1x 200 OK\r\n\r\n"), (STATUS_LINE, b"HTTP/1.1 " + b"1" * 70000),
    (RANGE, b"HTTP/1.1 099 OK\r\n\r\n"), (RANGE, b"HTTP/1.1 600 OK\r\n\r\n"), (RANGE, b"HTTP/1.1 000 OK\r\n\r\n"),
    (REASON, b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"), (REASON, b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
    (REASON, b"HTTP/1.1 200 O\x00K\r\n\r\n"), (REASON, b"HTTP/1.1 200 \x1b[2J\r\n\r\n"),
    (LINE_END, b"HTTP/1.1 200 O\rK\r\n\r\n"),
    (CONTROL, OK + b"Content-Length: 0\n\r\n"), ("without a name", OK + b"Content-Length: 0\r\n\n"),
    (BLANK, OK + b"X: a\r\n b\r\n\r\n"), (CONTROL, OK + b"X: a\x00b\r\n\r\n"), (CONTROL, OK + b"X: a\x0bb\r\n\r\n"),
    (LINE_END, OK + b"X: a\rb\r\n\r\n"), (BLANK, OK + b" X: a\r\n\r\n"), (NAME, OK + b"X : a\r\n\r\n"),
    (NAME, OK + b"X\r\n\r\n"), ("without a name", OK + b": a\r\n\r\n"),
    ("Content-Length is repeated", OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("Content-Length is repeated", OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (LENGTH, OK + b"Content-Length: 5, 5\r\n\r\nhello"), (LENGTH, OK + b"Content-Length: -1\r\n\r\n"),
    (LENGTH, OK + b"Content-Length: +5\r\n\r\nhello"), (LENGTH, OK + b"Content-Length: 5x\r\n\r\nhello"),
    (LENGTH, OK + b"Content-Length:\r\n\r\nhello"), ("ends in a TAB", OK + b"Content-Length: 5\t\r\n\r\nhello"),
    ("too large", OK + b"Content-Length: 9223372036854775808\r\n\r\n"),
    (BOTH, OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (BOTH, OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    (CODING, OK + b"Transfer-Encoding: gzip\r\n\r\nx"), (CODING, OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("repeated", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (CODING, OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    (CODING, OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (CODING, OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), (CODING, OK + b"Transfer-Encoding:\r\n\r\nx"),
    ("HTTP/1.0 has no", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (ASKED, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    (ASKED, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ("the head is too large", OK + b"X: " + b"y" * 70000), ("too many fields", OK + b"X: y\r\n" * 200 + b"\r\n"),
    ("too many interim", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    ("Connection names", OK + b"Connection: content-length\r\nContent-Length: 0\r\n\r\n"),
    ("Connection is malformed", OK + b"Connection: a b\r\nContent-Length: 0\r\n\r\n"),
]


def test_hostile_answers_are_502(raw_web):
    todo = [data for _, data in BAD_ANSWERS]

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(todo[0])
        conn.half_close()
        conn.read_all()

    site = raw_web(handler)
    for i, (why, data) in enumerate(BAD_ANSWERS):
        client = site.send(GET)
        answer = client.read_answer()
        assert (answer.status, answer.code) == (502, "upstream-protocol"), data[:80]
        assert re.search(why, answer.json["message"]), (answer.json["message"], data[:80])
        assert answer.field("Proxy-Status") == "egressd; error=http_protocol_error"
        assert client.ended(), data[:80]
        assert site.closes(count=i + 1, code="upstream-protocol")["status"] == 502
        todo.pop(0)


def resident(proxy):
    with open(f"/proc/{proxy.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) << 10


MEGABYTE = 1 << 20
REQUEST_FLOODS = [
    ("\r\n" * (MEGABYTE // 2), "bad-request"), ("\n" * MEGABYTE, "bad-request"), ("\r" * MEGABYTE, "bad-request"),
    ("A" * MEGABYTE, "too-large"), ("GET BASE/" + "a" * MEGABYTE, "too-large"),
    ("GET BASE/ HTTP/1.1\r\n" + "X: y\r\n" * (MEGABYTE // 6), "too-large"),
    ("GET BASE/ HTTP/1.1\r\nX: " + " " * MEGABYTE, "too-large"),
    (post(CHUNKED, "0" * MEGABYTE), "bad-request"), (post(CHUNKED, "5;" + "a" * MEGABYTE), "bad-request"),
    (post(CHUNKED, "5\r\nhello\r\n" + "\n" * MEGABYTE), "bad-request"),
    (post(CHUNKED, "5\r\nhello\r\n" + "0" * MEGABYTE), "bad-request"),
    (post(CHUNKED, "0\r\n" + "X: y\r\n" * (MEGABYTE // 6)), "bad-request"),
    (post(CHUNKED, "0\r\nX: " + "y" * MEGABYTE), "bad-request"),
]


def test_request_floods_end_at_their_limits(web):
    """A megabyte of framing gets its refusal, is not held in memory, and the origin has no request."""
    site = web()
    site.proxy.get("http://denied.test/")
    before = resident(site.proxy)
    for data, code in REQUEST_FLOODS:
        client = site.proxy.connect()
        try:
            client.send(site.fill(data))
        except OSError:
            pass  # cut off while it was sending
        answer = client.read_answer()
        assert answer.code == code, data[:60]
        client.close()
    assert site.up.requests == []
    site.closes(count=6, code="bad-request")
    assert len(site.proxy.audit(action="deny")) == 1 + len(REQUEST_FLOODS) - 6
    if "/san/" not in site.proxy.argv[0]:
        assert resident(site.proxy) - before < MEGABYTE


ANSWER_FLOODS = [
    # what comes once, what comes without end, what the client may have seen of it
    (b"", b"\r\n", 502), (b"", b"A", 502), (b"HTTP/1.1 200 ", b"a", 502), (OK, b"X: y\r\n", 502), (OK + b"X: ", b"y", 502),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 502), (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 502),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0", 200), (OK + b"Transfer-Encoding: chunked\r\n\r\n5;", b"a", 200),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"\n", 200),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n", 200),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"y", 200),
]


@pytest.mark.parametrize("number", range(len(ANSWER_FLOODS)))
def test_answer_floods_end_at_their_limits(raw_web, number):
    """The origin sends until it is cut off: it never gets far, and no client takes the answer for whole."""
    once, again, status = ANSWER_FLOODS[number]
    sent = []

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(once)
        piece = again * (65536 // len(again))
        while len(sent) < 1600:  # 100 MiB
            conn.send(piece)
            sent.append(1)

    site = raw_web(handler)
    client = site.send(GET)
    answer = client.read_head()
    while answer.status < 200:
        answer = client.read_head()
    rest = client.read_all()
    assert answer.status == 502 or status == 200 and not rest.endswith(b"0\r\n\r\n")
    assert site.closes()["code"] == "upstream-protocol"
    site.up.wait_ended()
    assert len(sent) < 320  # 20 MiB: what the two sockets' buffers hold


def test_an_origin_that_closes_at_once_is_502(raw_web):
    for ending in ["close", "reset"]:
        site = raw_web(script(HEAD_SEEN, ending))
        answer = site.send(GET).read_answer()
        assert (answer.status, answer.code) == (502, "upstream-closed"), ending
        site.closes(code="upstream-closed")


BAD_BODIES = [
    # head and good part, what follows
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"xyz\r\n"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello", b"XX"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b""),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"0\r\nX\r\n\r\n"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"0" * 300 + b"\r\n\r\n"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"0\n\n"),
    (OK + b"Content-Length: 10\r\n\r\nhello", b""),
]


@pytest.mark.parametrize("number", range(len(BAD_BODIES)))
def test_a_broken_answer_never_looks_whole(raw_web, number):
    """Its head was sent on already: the connection ends before the body does."""
    good, bad = BAD_BODIES[number]
    seen = threading.Event()

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(good)
        seen.wait(PATIENCE)
        conn.send(bad)
        conn.half_close()
        conn.read_all()

    site = raw_web(handler)
    client = site.send(GET)
    answer = client.read_head()
    assert answer.status == 200
    client.read_until(b"hello")
    seen.set()
    rest = client.read_all()
    assert rest in (b"", b"\r\n")  # no last chunk, no answer behind the answer
    assert site.closes()["code"] == ("upstream-protocol" if bad else "upstream-closed")


def test_a_broken_answer_until_close_ends_by_a_reset(raw_web):
    """An HTTP/1.0 client knows the end of a body only by the end of the connection: no FIN may fake it."""
    seen = threading.Event()

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        seen.wait(PATIENCE)
        conn.send(b"xyz\r\n")
        conn.read_all()

    site = raw_web(handler)
    client = site.send("GET BASE/ HTTP/1.0\r\n\r\n")
    client.read_until(b"hello")
    seen.set()
    assert client.is_reset()
    site.closes(code="upstream-protocol")


def test_surplus_bytes_kill_the_upstream_connection(raw_web):
    """An answer to nobody never becomes the answer of the next request."""
    ghost = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nghost"

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(OK + b"Content-Length: 4\r\n\r\nreal" + ghost)
        conn.read_all()

    site = raw_web(handler)
    client = site.send(GET)
    for _ in range(3):
        assert client.read_answer().body == b"real"
        client.send(site.fill(GET))
    assert client.read_answer().body == b"real"
    assert len(site.up.connections) == 4


def test_an_origin_that_speaks_out_of_turn(raw_web):
    """Bytes on an idle kept connection kill it; the next request gets a fresh one."""
    speak = threading.Event()

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(OK + b"Content-Length: 4\r\n\r\nreal")
        speak.wait(PATIENCE)
        conn.send(OK + b"Content-Length: 5\r\n\r\nghost")
        conn.read_all()

    site = raw_web(handler)
    client = site.send(GET)
    assert client.read_answer().body == b"real"
    speak.set()
    site.up.wait_ended()
    client.send(site.fill(GET))
    assert client.read_answer().body == b"real"
    assert len(site.up.connections) == 2


def test_idempotent_requests_are_retried_once(egressd, dns, origin):
    """A kept connection may die while a request is on its way: asked again on a fresh one, once."""
    die = []

    def respond(request):
        return None if die and die.pop() else respond_with_copy(request)

    site = Web(egressd, dns, origin(HttpOrigin, respond))
    client = site.send(GET)
    assert client.read_answer().status == 200
    die.append(True)
    client.send(site.fill(GET))
    assert client.read_answer().status == 200  # the second try
    assert len(site.up.connections) == 2 and len(site.up.requests) == 3
    die.extend([True, True])
    client.send(site.fill(GET))
    assert client.read_answer().code == "upstream-closed"  # a fresh one that dies is no reason to ask again
    client = site.send(GET)
    assert client.read_answer().status == 200
    asked = len(site.up.requests)
    die.append(True)
    client.send(site.fill(post("Content-Length: 5")))
    assert client.read_answer().code == "upstream-closed"
    assert len(site.up.requests) == asked + 1  # POST never


def test_slow_origin_ends_at_the_idle_timeout(raw_web):
    site = raw_web(script(HEAD_SEEN, "read-all"), "--idle-timeout", "1")
    answer = site.send(GET).read_answer()
    assert (answer.status, answer.code) == (504, "idle")
    site.closes(code="idle")


def test_back_pressure_down(raw_web):
    """A client that does not read stops the origin: what is under way stays bounded."""
    sent = []

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        conn.send(OK + b"Content-Length: 1000000000\r\n\r\n")
        conn.sock.settimeout(1)
        try:
            for _ in range(1000):
                conn.send(bytes(1 << 20))
                sent.append(1)
        except TimeoutError:
            pass

    site = raw_web(handler)
    client = site.send(GET)
    site.up.wait_ended(timeout=60)
    assert len(sent) < 100
    with open(f"/proc/{site.proxy.process.pid}/status") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident < (64 << 10 if "/san/" not in site.proxy.argv[0] else 512 << 10)
    client.close()
