"""CONNECT: the relay (both ways, half-close, back-pressure, resets), what fails before the 200, and what
the first bytes of a tunnel must be (on port 443, and raw on other ports)."""
import hashlib
import os
import select
import socket
import ssl
import threading

import pytest

from dnsserver import A
from origins import Origin, TlsOrigin, script, sink

MIB = 1 << 20


# ---- helpers

def client_context(**options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context


class Tls:
    """A TLS client without a socket: what it says is bytes to send, what it hears are bytes to feed."""

    def __init__(self, name, **options):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context(**options).wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def step(self, data=b""):
        """Feed data; -> what the client says next."""
        if data:
            self.incoming.write(data)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()


def hello(name, **options):
    return Tls(name, **options).step()


def records(data):
    """The TLS records of data, each as bytes."""
    found = []
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[:size])
        data = data[size:]
    return found


def fragmented(client_hello, size):
    """The same ClientHello in records of at most size bytes (RFC 8446 5.1)."""
    body = client_hello[5:]
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(client_hello[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def renamed(client_hello, old, new):
    assert len(old) == len(new) and client_hello.count(old.encode()) == 1
    return client_hello.replace(old.encode(), new.encode())


def bulk_echo(conn):
    """Like echo(), but keeps nothing."""
    while data := conn.sock.recv(1 << 18):
        conn.sock.sendall(data)
    conn.half_close()


def read_bulk(client):
    """Everything up to the end, without looking at it."""
    pieces, client.buffer = [client.buffer], b""  # some of it may have come with the answer
    while data := client.sock.recv(1 << 18):
        pieces.append(data)
    return b"".join(pieces)


class Setup:
    """An origin behind the name allowed.test and a proxy that allows it."""

    def __init__(self, egressd, dns, up, entry, *options):
        self.up, self.target = up, f"allowed.test:{up.port}"
        dns.add("allowed.test", A(up.host))
        self.proxy = egressd([entry, up.host], *options)

    def tunnel(self, first=b"", target=None):
        client, answer = self.proxy.tunnel(target or self.target, first)
        assert answer.status == 200, answer
        return client

    def closed(self, **want):
        return self.proxy.wait_audit(action="close", **want)


@pytest.fixture
def raw(egressd, dns, origin):
    """raw(handler): a raw tunnel's way, on a port that the list names."""
    def start(*handler, options=()):
        up = origin(Origin, *handler)
        return Setup(egressd, dns, up, f"allowed.test:{up.port}", *options)
    return start


@pytest.fixture
def tls(egressd, dns, origin):
    """tls(handler): port 443 of allowed.test, where the first bytes must be its ClientHello."""
    def start(*handler, kind=Origin, entries=()):
        up = origin(kind, *handler, port=443)
        one = Setup(egressd, dns, up, "allowed.test")
        if entries:
            one.proxy.reload(["allowed.test", up.host, *entries])
        return one
    return start


def refused(setup, client, code, action="deny", seen=b""):
    """The tunnel is reset, logged, and the origin has seen no byte (or just those)."""
    assert client.is_reset()
    line = setup.proxy.wait_audit(action=action, code=code)
    setup.up.wait_ended()
    assert setup.up.received == seen
    return line


# ---- relaying

def test_both_ways(raw):
    one = raw(script(("read", 4), b"pong", ("until", b"done"), b"bye", "read-all"))
    client = one.tunnel()
    client.send(b"ping")
    assert client.read(4) == b"pong"
    client.send(b"all done")
    assert client.read(3) == b"bye"
    client.half_close()
    assert client.read_all() == b""
    one.closed(code="done", bytes_up=12, bytes_down=7)


def test_half_close_by_client(raw):
    """The end of the client's bytes passes; what the origin says after it still comes."""
    one = raw(script("read-all", b"you said all"))
    client = one.tunnel()
    client.send(b"everything").half_close()
    assert client.read_all() == b"you said all"
    assert one.up.received == b"everything"
    one.closed(code="done")


def test_half_close_by_origin(raw):
    one = raw(script(b"that was all", "half-close", "read-all"))
    client = one.tunnel()
    assert client.read_all() == b"that was all"
    client.send(b"still there").send(b" and more")
    one.up.wait_received(b"still there and more")
    client.half_close()
    one.up.wait_ended()
    one.closed(code="done", bytes_up=20, bytes_down=12)


def test_first_bytes_with_the_request(raw):
    one = raw()
    client = one.tunnel(first=b"came with the head")
    assert client.read(18) == b"came with the head"
    client.send(b"!")
    assert client.read(1) == b"!"


def test_request_byte_by_byte(raw):
    one = raw()
    client = one.proxy.connect()
    client.send_slowly(f"CONNECT {one.target} HTTP/1.1\r\nHost: x\r\n\r\nfirst".encode())
    assert client.read_answer("CONNECT").status == 200
    assert client.read(5) == b"first"


def test_many_first_bytes(raw):
    """More than any buffer for heads holds."""
    one = raw(bulk_echo)
    data = os.urandom(3 * MIB)
    client = one.proxy.connect()
    head = f"CONNECT {one.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    sender = threading.Thread(target=lambda: client.send(head + data).half_close())
    sender.start()
    assert client.read_answer("CONNECT").status == 200
    got, client.buffer = client.buffer, b""
    assert got + read_bulk(client) == data
    sender.join()


def test_32_mib_byte_for_byte(raw):
    """Echoed, so that both directions are full at once."""
    one = raw(bulk_echo)
    data = os.urandom(MIB) * 32
    client = one.tunnel()
    sender = threading.Thread(target=lambda: client.send(data).half_close())
    sender.start()
    got = read_bulk(client)
    sender.join()
    assert len(got) == len(data)
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    one.closed(code="done", bytes_up=len(data), bytes_down=len(data))


def fill(sock, most):
    """Send until nothing is taken any more for as long as it takes others to be served."""
    sock.setblocking(False)
    sent = 0
    while sent < most and select.select([], [sock], [], 0.5)[1]:
        try:
            sent += sock.send(b"x" * 65536)
        except BlockingIOError:
            pass
    sock.setblocking(True)
    return sent


def memory_kib(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_slow_reader_stops_the_sender(raw):
    """An origin that does not read stops its client, not the others; then every byte comes."""
    go = threading.Event()

    def handler(conn):
        if conn.read(1) == b"s":
            assert go.wait(60)
            while conn.sock.recv(1 << 18):
                pass
            conn.send(b"thanks")
        else:
            conn.send(b"quick")

    one = raw(handler)
    slow = one.tunnel(first=b"s")
    one.up.wait_received(b"s")
    before = memory_kib(one.proxy.process)
    sent = fill(slow.sock, 512 * MIB)
    assert sent < 64 * MIB
    assert memory_kib(one.proxy.process) - before < 8 * 1024
    assert one.tunnel(first=b"q").read(5) == b"quick"
    go.set()
    slow.half_close()
    assert slow.read_all() == b"thanks"
    one.closed(code="done", bytes_up=sent + 1)


def test_slow_client_stops_the_origin(raw):
    sent = []

    def handler(conn):
        sent.append(fill(conn.sock, 512 * MIB))
        conn.half_close()

    one = raw(handler)
    client = one.tunnel()
    one.up.wait(lambda: sent)  # it gave up sending: nothing was taken any more
    assert 0 < sent[0] < 64 * MIB
    assert len(read_bulk(client)) == sent[0]


def test_client_reset_reaches_the_origin(raw):
    how = []

    def handler(conn):
        conn.read(5)
        conn.send(b"ready")
        try:
            how.append(conn.sock.recv(1))
        except ConnectionResetError:
            how.append("reset")

    one = raw(handler)
    client = one.tunnel(first=b"hello")
    assert client.read(5) == b"ready"
    client.reset()
    one.closed(code="client-closed")
    one.up.wait_ended()
    assert how == ["reset"]


def test_origin_reset_reaches_the_client(raw):
    """An end that is none must not look like one."""
    one = raw(script(("read", 5), "reset"))
    client = one.tunnel(first=b"hello")
    assert client.is_reset()
    one.closed(code="upstream-closed")


def test_many_tunnels_at_once(raw):
    one = raw()
    clients = [one.tunnel() for _ in range(50)]
    for i, client in enumerate(clients):
        client.send(b"%04d" % i)
    for i, client in reversed(list(enumerate(clients))):
        assert client.read(4) == b"%04d" % i


def test_idle_tunnel_ends(raw):
    one = raw(sink, options=["--idle-timeout", "1"])
    client = one.tunnel()
    assert client.is_reset()
    line = one.closed(code="idle")
    assert line["duration_ms"] >= 1000


def test_busy_tunnel_outlives_the_idle_time(raw):
    """Bytes of either side keep it: one that moves now and then is never idle for a second."""
    steps = [0]

    def handler(conn):
        for _ in range(8):
            conn.send(b"x")
            steps[0] += 1
            conn.sock.settimeout(0.2)
            try:
                conn.sock.recv(1)
            except TimeoutError:
                pass
        conn.half_close()

    one = raw(handler, options=["--idle-timeout", "1"])
    client = one.tunnel()
    assert client.read_all() == b"x" * 8
    client.half_close()
    line = one.closed(code="done")
    assert line["duration_ms"] > 1000


# ---- failures before the 200 are HTTP answers

def test_refused(egressd, dns, loopback):
    host = loopback()
    dns.add("allowed.test", A(host))
    proxy = egressd(["allowed.test:9", host])
    client, answer = proxy.tunnel("allowed.test:9")
    assert (answer.status, answer.code) == (502, "connect-refused")
    assert client.ended()
    proxy.wait_audit(action="fail", code="connect-refused", host="allowed.test", port=9)


def test_unresolvable(egressd, dns):
    proxy = egressd("allowed.test")
    client, answer = proxy.tunnel("allowed.test:443")
    assert (answer.status, answer.code) == (502, "dns-nxdomain")
    assert client.ended()
    proxy.wait_audit(action="fail", code="dns-nxdomain", host="allowed.test")


def test_silent_resolver(egressd, dns):
    dns.behave("allowed.test", silent=True)
    proxy = egressd("allowed.test", "--dns-timeout", "1")
    _, answer = proxy.tunnel("allowed.test:443")
    assert (answer.status, answer.code) == (504, "dns-timeout")
    proxy.wait_audit(action="fail", code="dns-timeout")


def test_client_leaves_during_the_lookup(egressd, dns):
    dns.behave("allowed.test", hold=True)
    proxy = egressd("allowed.test")
    client = proxy.connect()
    client.send("CONNECT allowed.test:443 HTTP/1.1\r\nHost: allowed.test\r\n\r\n")
    assert dns.wait_query("allowed.test", "A")
    client.reset()
    proxy.wait_audit(action="fail", code="client-closed", host="allowed.test")
    dns.release("allowed.test")
    _, answer = proxy.tunnel("denied.test:443")  # it lives on
    assert answer.status == 403


def test_client_says_its_last_byte_during_the_lookup(egressd, dns, origin):
    """Its end is no loss of what came before: both pass once the tunnel is there."""
    up = origin(Origin, script("read-all", b"you said all"))
    dns.add("allowed.test", A(up.host))
    dns.behave("allowed.test", hold=True)
    proxy = egressd([f"allowed.test:{up.port}", up.host])
    client = proxy.connect()
    client.send(f"CONNECT allowed.test:{up.port} HTTP/1.1\r\nHost: x\r\n\r\nall").half_close()
    assert dns.wait_query("allowed.test", "A")
    dns.release("allowed.test")
    assert client.read_answer("CONNECT").status == 200
    assert client.read_all() == b"you said all"
    assert up.received == b"all"


def test_client_breaks_off_a_body_during_the_lookup(egressd, dns, origin):
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    dns.behave("allowed.test", hold=True)
    proxy = egressd([f"allowed.test:{up.port}", up.host])
    client = proxy.connect()
    client.send(f"POST http://allowed.test:{up.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
    client.half_close()
    assert dns.wait_query("allowed.test", "A")
    dns.release("allowed.test")
    proxy.wait_audit(action="close")
    client.read_all()
    up.wait_ended()


def test_silent_host(egressd, dns, loopback):
    """A host whose queue of connections is full answers no SYN."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        host = loopback()
        listener.bind((host, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for sock in (first, second):
            sock.setblocking(False)
            sock.connect_ex((host, port))
        assert select.select([], [first], [], 5)[1]
        dns.add("allowed.test", A(host))
        proxy = egressd([f"allowed.test:{port}", host], "--connect-timeout", "1")
        _, answer = proxy.tunnel(f"allowed.test:{port}")
        assert (answer.status, answer.code) == (504, "connect-timeout")
        line = proxy.wait_audit(action="fail", code="connect-timeout")
        assert line["rule"]["line"] == 1


def test_denied_without_a_query(egressd, dns, origin):
    up = origin()
    dns.add("denied.test", A(up.host))
    proxy = egressd(["allowed.test", up.host])
    client, answer = proxy.tunnel(f"denied.test:{up.port}")
    assert (answer.status, answer.code) == (403, "not-listed")
    assert client.ended()
    assert dns.queries == [] and up.connections == []
    line = proxy.wait_audit(action="deny", code="not-listed")
    assert line["rule"] is None and line["host"] == "denied.test"


def test_listed_for_another_port(egressd, dns):
    proxy = egressd("allowed.test:8443")
    _, answer = proxy.tunnel("allowed.test:443")
    assert (answer.status, answer.code) == (403, "port")
    assert dns.queries == []
    assert proxy.wait_audit(action="deny", code="port")["rule"] == {"line": 1, "entry": "allowed.test:8443"}


def test_closes_after_a_refusal(egressd):
    """Also with a request behind the refused one: it is not read."""
    proxy = egressd("allowed.test")
    client = proxy.connect()
    client.send("CONNECT denied.test:443 HTTP/1.1\r\nHost: x\r\n\r\n"
                "CONNECT denied.test:444 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.read_answer("CONNECT").status == 403
    assert client.ended()
    assert len(proxy.audit(action="deny")) == 1


# ---- port 443: the ClientHello

def handshake(client, name, **options):
    """A real TLS handshake through the tunnel -> ssl socket."""
    assert client.buffer == b""
    return client_context(**options).wrap_socket(client.sock, server_hostname=name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_right_name(tls, certificate, version):
    one = tls(certificate, kind=TlsOrigin)
    client = one.tunnel()
    sock = handshake(client, "allowed.test", maximum_version=version)
    assert sock.version() == version.name.replace("v1_", "v1.")
    sock.sendall(b"ping")
    assert sock.recv(4) == b"ping"
    sock.unwrap().close()
    assert one.up.connections[0].sni == "allowed.test"
    line = one.proxy.wait_audit(action="allow")
    assert line["sni"] == "allowed.test" and line["port"] == 443
    one.closed(code="done")


def test_name_in_capitals(tls):
    """The names are compared in canonical form."""
    one = tls()
    data = renamed(hello("allowed.test"), "allowed.test", "ALLOWED.tEsT")
    client = one.tunnel(first=data)
    assert client.read(len(data)) == data


def test_hello_with_the_request(tls):
    one = tls()
    data = hello("allowed.test")
    client = one.tunnel(first=data)
    assert client.read(len(data)) == data
    one.proxy.wait_audit(action="allow", sni="allowed.test")


def test_hello_split_at_every_byte(tls):
    one = tls()
    data = hello("allowed.test")
    for cut in range(1, len(data)):
        client = one.tunnel()
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(data[:cut])
        client.send(data[cut:])
        assert client.read(len(data)) == data, cut
        client.close()


def test_hello_byte_by_byte(tls):
    one = tls()
    data = hello("allowed.test")
    client = one.tunnel()
    client.send_slowly(data)
    assert client.read(len(data)) == data


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100, 511])
def test_hello_in_many_records(tls, size):
    one = tls()
    data = fragmented(hello("allowed.test"), size)
    client = one.tunnel(first=data)
    assert client.read(len(data)) == data


SSH = b"SSH-2.0-OpenSSH_9.2\r\n"
ALERT = bytes.fromhex("15030300020228")

WRONG_STARTS = [
    ("another name", hello("other.test"), "sni-mismatch"),
    ("a longer name", hello("xallowed.test"), "sni-mismatch"),
    ("a name below", hello("a.allowed.test"), "sni-mismatch"),
    ("the name above", hello("test.test"), "sni-mismatch"),
    ("no name", hello(None), "sni-missing"),
    ("another name in many records", fragmented(hello("other.test"), 7), "sni-mismatch"),
    ("SSH", SSH, "not-tls"),
    ("HTTP", b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n", "not-tls"),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not-tls"),
    ("an SSLv2 hello", bytes.fromhex("802e0100020015000000100100800200800600400400800700c0") + bytes(22),
     "not-tls"),
    ("an alert", ALERT, "not-tls"),
    ("application data", bytes.fromhex("1703030001") + b"x", "not-tls"),
    ("a change of cipher spec", bytes.fromhex("140303000101"), "not-tls"),
    ("a ServerHello's type", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "not-tls"),
    ("an empty record", b"\x16\x03\x01\x00\x00" + hello("allowed.test"), "not-tls"),
    ("one byte", b"x", "not-tls"),
    ("a NUL", b"\0", "not-tls"),
]


@pytest.mark.parametrize("data, code", [start[1:] for start in WRONG_STARTS],
                         ids=[start[0] for start in WRONG_STARTS])
def test_wrong_start(tls, data, code):
    """Reset, logged, and the origin has seen no byte."""
    one = tls()
    client = one.tunnel(first=data)
    line = refused(one, client, code)
    assert line["host"] == "allowed.test" and line["port"] == 443


@pytest.mark.parametrize("data, code", [start[1:] for start in WRONG_STARTS[:6]],
                         ids=[start[0] for start in WRONG_STARTS[:6]])
def test_wrong_start_slowly(tls, data, code):
    one = tls()
    client = one.tunnel()
    try:
        client.send_slowly(data)
    except (ConnectionResetError, BrokenPipeError):
        pass  # it was reset before the last byte
    refused(one, client, code)


def test_hello_that_shares_its_record(tls):
    """A hello must end its record: what stands behind it there would go up unread."""
    one = tls()
    data = hello("allowed.test")
    more = data + b"\x18\0\0\0"
    more = data[:3] + (len(more) - 5).to_bytes(2, "big") + more[5:]
    refused(one, one.tunnel(first=more), "not-tls")


def test_hello_without_end(tls):
    """64 KiB and still no whole hello."""
    one = tls()
    body = b"\x01\xff\xff\xff" + bytes(70000)
    data = b"".join(b"\x16\x03\x01\x40\x00" + body[i:i + 16384].ljust(16384, b"\0")
                    for i in range(0, len(body), 16384))
    client = one.tunnel()
    try:
        client.send(data)
    except (ConnectionResetError, BrokenPipeError):
        pass
    refused(one, client, "not-tls")


def test_client_leaves_before_the_hello(tls):
    one = tls()
    client = one.tunnel(first=hello("allowed.test")[:40])
    one.up.wait_connection()
    client.half_close()
    line = refused(one, client, "client-closed", action="fail")
    assert "sni" not in line


def test_client_resets_before_the_hello(tls):
    one = tls()
    client = one.tunnel(first=hello("allowed.test")[:40])
    one.up.wait_connection()
    client.reset()
    one.proxy.wait_audit(action="fail", code="client-closed")
    one.up.wait_ended()
    assert one.up.received == b""


def test_nothing_comes_down_before_the_check(tls):
    """What an origin says at once reaches no client whose hello is wrong."""
    one = tls(script(b"a banner", "read-all"))
    client = one.tunnel()
    one.up.wait_connection()
    client.send(SSH)
    refused(one, client, "not-tls")


def test_what_waited_comes_down_after_the_check(tls):
    one = tls(script(b"a banner", "read-all"))
    client = one.tunnel()
    one.up.wait_connection()
    data = hello("allowed.test")
    client.send(data)
    assert client.read(8) == b"a banner"
    one.up.wait_received(data)


@pytest.mark.slow
def test_no_hello_in_time(tls, raw):
    """10 s for a whole hello. A raw tunnel whose client has sent half of one opens after that time."""
    data = hello("allowed.test")
    one = tls()
    silent, half = one.tunnel(), one.tunnel(first=data[:100])
    other = raw()
    held = other.tunnel(first=data[:50])
    assert silent.is_reset() and half.is_reset()
    one.proxy.wait_audit(action="deny", code="timeout", count=2)
    assert one.up.received == b""
    assert held.read(50) == data[:50]


# ---- an address on 443

def test_address_without_a_name(tls):
    one = tls()
    data = hello(None)
    client = one.tunnel(first=data, target=f"{one.up.host}:443")
    assert client.read(len(data)) == data
    assert "sni" not in one.proxy.wait_audit(action="allow")


def test_address_with_a_listed_name(tls):
    one = tls()
    data = hello("allowed.test")
    client = one.tunnel(first=data, target=f"{one.up.host}:443")
    assert client.read(len(data)) == data
    one.proxy.wait_audit(action="allow", sni="allowed.test", host=one.up.host)


def test_address_with_an_unlisted_name(tls):
    one = tls()
    client = one.tunnel(first=hello("other.test"), target=f"{one.up.host}:443")
    assert refused(one, client, "sni-mismatch")["sni"] == "other.test"


def test_address_with_a_name_listed_for_another_port(tls):
    one = tls(entries=["other.test:8443"])
    client = one.tunnel(first=hello("other.test"), target=f"{one.up.host}:443")
    refused(one, client, "sni-mismatch")


def test_address_needs_tls(tls):
    one = tls()
    client = one.tunnel(first=SSH, target=f"{one.up.host}:443")
    refused(one, client, "not-tls")


# ---- a second hello after HelloRetryRequest

class RetryOrigin(TlsOrigin):
    """Takes no key share that a client offers first, so that it must ask for a second hello."""

    def __init__(self, certificate, **more):
        super().__init__(certificate, **more)
        self.context.set_ecdh_curve("secp521r1")


RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


def test_retry_with_the_same_name(tls, certificate):
    one = tls(certificate, kind=RetryOrigin)
    sock = handshake(one.tunnel(), "allowed.test", minimum_version=ssl.TLSVersion.TLSv1_3)
    sock.sendall(b"ping")
    assert sock.recv(4) == b"ping"
    sock.unwrap().close()
    one.closed(code="done")


def until_retry(one):
    """A tunnel in which the server has asked for a second hello -> client, first hello, second."""
    client, talker = one.tunnel(), Tls("allowed.test", minimum_version=ssl.TLSVersion.TLSv1_3)
    first = talker.step()
    client.send(first)
    second = b""
    while b"\x01" not in {r[5:6] for r in records(second) if r[0] == 22}:
        answer = client.read_some()
        assert answer != b""
        second += talker.step(answer)
    return client, first, second


def recording(conn):
    """A server that asks for a retry by hand and keeps what comes after it."""
    conn.read(5 + int.from_bytes(conn.read(5)[3:5], "big") - 5)
    conn.send(RETRY)
    conn.read_all()


def retry_message():
    """A HelloRetryRequest record: RFC 8446 4.1.4, asking for secp521r1."""
    extensions = bytes.fromhex("002b00020304" "003300020019")
    body = b"\x03\x03" + RETRY_RANDOM + b"\x00" + b"\x13\x01" + b"\x00" + \
        len(extensions).to_bytes(2, "big") + extensions
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


RETRY = retry_message()


def first_and_retry(one, before=b""):
    """Through the hand-made server: the first hello went up, the retry came down."""
    data = hello("allowed.test")
    client = one.tunnel(first=data)
    assert client.read(len(before + RETRY)) == before + RETRY
    return client, data


@pytest.mark.parametrize("second, code", [
    (hello("other.test"), "sni-mismatch"),
    (hello(None), "sni-missing"),
    (SSH, "not-tls"),
    (b"\x16\x03\x03\x00\x04\x0b\x00\x00\x00", "not-tls"),
    (fragmented(hello("other.test"), 9), "sni-mismatch"),
], ids=["another name", "no name", "SSH", "another message", "another name in pieces"])
def test_retry_with_a_wrong_hello(tls, second, code):
    """The server has seen the first hello and nothing of the second."""
    one = tls(recording)
    client, first = first_and_retry(one)
    client.send(second)
    assert client.is_reset()
    one.closed(code=code)
    one.up.wait_ended()
    assert one.up.received == first


def test_real_retry_with_another_name(tls, certificate):
    one = tls(certificate, kind=RetryOrigin)
    client, _, second = until_retry(one)
    client.send(renamed(second, "allowed.test", "another.test"))
    assert client.is_reset()
    one.closed(code="sni-mismatch")


@pytest.mark.parametrize("before", [bytes.fromhex("140303000101"), ALERT,
                                    bytes.fromhex("140303000101") * 3],
                         ids=["change-cipher-spec", "alert", "three of them"])
def test_retry_behind_other_records(tls, before):
    """Records of other types before the server's first message hide nothing."""
    def handler(conn):
        conn.read(5 + int.from_bytes(conn.read(5)[3:5], "big") - 5)
        conn.send(before + RETRY)
        conn.read_all()

    one = tls(handler)
    client, first = first_and_retry(one, before)
    client.send(bytes.fromhex("140303000101") + hello("other.test"))
    assert client.is_reset()
    one.closed(code="sni-mismatch")
    one.up.wait_ended()
    assert one.up.received in (first, first + bytes.fromhex("140303000101"))


def test_retry_byte_by_byte(tls):
    def handler(conn):
        conn.read(5 + int.from_bytes(conn.read(5)[3:5], "big") - 5)
        for i in range(len(RETRY)):
            conn.send(RETRY[i:i + 1])
        conn.read_all()

    one = tls(handler)
    client, first = first_and_retry(one)
    client.send(hello("other.test"))
    assert client.is_reset()
    one.closed(code="sni-mismatch")
    one.up.wait_ended()
    assert one.up.received == first


def test_both_hellos_ahead(tls):
    """The second hello is held until the server has spoken, and judged when it asked for it."""
    go = threading.Event()

    def handler(conn):
        conn.read(5 + int.from_bytes(conn.read(5)[3:5], "big") - 5)
        assert go.wait(20)
        conn.send(RETRY)
        conn.read_all()

    one = tls(handler)
    first = hello("allowed.test")
    client = one.tunnel(first=first + hello("other.test"))
    one.up.wait_received(first)
    go.set()
    assert client.read(len(RETRY)) == RETRY
    assert client.is_reset()
    one.closed(code="sni-mismatch")
    one.up.wait_ended()
    assert one.up.received == first


def test_early_data_passes_before_the_server_speaks(tls):
    """Records of type 20 and 23 behind the hello can be no second hello (RFC 8446 4.2.10)."""
    go = threading.Event()

    def handler(conn):
        conn.read(5 + int.from_bytes(conn.read(5)[3:5], "big") - 5)
        conn.read(6 + 9)
        go.set()
        conn.read_all()

    one = tls(handler)
    first, early = hello("allowed.test"), bytes.fromhex("140303000101" "1703030004") + b"data"
    client = one.tunnel(first=first + early)
    one.up.wait_received(first + early)
    assert go.wait(20)
    client.half_close()


SERVER_HELLO = b"\x16\x03\x03" + (4 + 34).to_bytes(2, "big") + b"\x02\x00\x00\x22\x03\x03" + bytes(32)


def test_everything_passes_after_a_server_hello(tls):
    """Without a retry the tunnel is relayed unread from the server's first message on."""
    def handler(conn):
        conn.read(5 + int.from_bytes(conn.read(5)[3:5], "big") - 5)
        conn.send(SERVER_HELLO)
        conn.read_all()

    one = tls(handler)
    first = hello("allowed.test")
    client = one.tunnel(first=first)
    assert client.read(len(SERVER_HELLO)) == SERVER_HELLO
    client.send(b"\x16\x03\x03\x00\x05hello and more")
    one.up.wait_received(b"hello and more")


def test_what_waits_for_the_server_is_bounded(tls):
    """While the server is silent no more is read than a hello may have; then nothing of it is lost."""
    go, rest = threading.Event(), []

    def handler(conn):
        conn.read(5 + int.from_bytes(conn.read(5)[3:5], "big") - 5)
        assert go.wait(20)
        conn.send(SERVER_HELLO)
        rest.append(len(conn.sock.recv(1 << 20)))
        while rest[-1] > 0:
            rest.append(len(conn.sock.recv(1 << 20)))

    one = tls(handler)
    first, record = hello("allowed.test"), b"\x16\x03\x03\x40\x00" + bytes(1 << 14)
    client = one.tunnel(first=first)
    one.up.wait_received(first)
    client.sock.settimeout(0.5)
    flood, sent = memoryview(record * 2000), 0  # 32 MiB: far more than sockets hold for who does not read
    with pytest.raises(TimeoutError):
        while sent < len(flood):
            sent += client.sock.send(flood[sent:sent + (1 << 16)])
    client.sock.settimeout(20)
    go.set()
    assert client.read(len(SERVER_HELLO)) == SERVER_HELLO
    client.half_close()
    one.closed(code="done", bytes_up=len(first) + sent)
    assert sum(rest) == sent


@pytest.mark.parametrize("said, more", [(b"", b""), (ALERT, b""), (RETRY, b""), (ALERT, hello("other.test"))],
                         ids=["nothing", "an alert", "a retry", "an alert, another hello waits"])
def test_server_ends_before_the_handshake(tls, said, more):
    """What it said, why it refuses perhaps, reaches the client, and its end as an end: no reset overtakes it."""
    told = threading.Event()

    def handler(conn):
        conn.read(5 + int.from_bytes(conn.read(5)[3:5], "big") - 5)
        assert told.wait(20)
        conn.send(said)
        conn.half_close()
        conn.read_all()

    one = tls(handler)
    first = hello("allowed.test")
    client = one.tunnel(first=first)
    one.up.wait_received(first)
    client.send(more)
    told.set()
    while data := client.sock.recv(65536):  # a reset would raise
        client.buffer += data
    assert client.buffer == said
    client.send(b"\x15\x03\x03\x00\x02\x01\x00")  # read away
    one.closed(code="upstream-closed", bytes_up=len(first), bytes_down=len(said))
    one.up.wait_ended()
    assert one.up.received == first


# ---- raw tunnels

@pytest.mark.parametrize("data", [SSH, b"\x00" * 9, b"x", b"GET / HTTP/1.1\r\n\r\n", ALERT,
                                  b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"],
                         ids=["SSH", "NULs", "one byte", "HTTP", "an alert", "another message"])
def test_raw_passes_what_is_no_hello(raw, data):
    one = raw()
    client = one.tunnel(first=data)
    assert client.read(len(data)) == data


def test_raw_passes_the_right_name(raw):
    one = raw()
    data = hello("allowed.test") + b"and more"
    client = one.tunnel()
    client.send_slowly(data, 50)
    assert client.read(len(data)) == data


def test_raw_passes_a_hello_without_name(raw):
    one = raw()
    data = hello(None)
    client = one.tunnel(first=data)
    assert client.read(len(data)) == data


@pytest.mark.parametrize("step", [1, 1000])
def test_raw_refuses_another_name(raw, step):
    one = raw()
    client = one.tunnel()
    try:
        client.send_slowly(hello("other.test"), step)
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert client.is_reset()
    one.closed(code="sni-mismatch")
    one.up.wait_ended()
    assert one.up.received == b""


def test_raw_server_speaks_first(raw):
    """Then it is not TLS, and the client may say what it wants."""
    one = raw(script(b"220 mail.test\r\n", "read-all"))
    client = one.tunnel()
    assert client.read_until(b"\r\n") == b"220 mail.test\r\n"
    data = hello("other.test")
    client.send(data)
    one.up.wait_received(data)


def test_raw_server_ends_without_a_word(raw):
    """That is half a tunnel's end, not its failure: what the client says still goes up."""
    one = raw(script("half-close", "read-all"))
    client = one.tunnel()
    assert client.sock.recv(1) == b""
    client.send(b"one line of a log\n")
    one.up.wait_received(b"one line of a log\n")
    client.half_close()
    one.up.wait_ended()
    one.closed(code="done", bytes_up=18, bytes_down=0)


def test_raw_server_ends_behind_half_a_hello(raw):
    """What waited because it could become a hello goes up when the server has ended."""
    told = threading.Event()

    def handler(conn):
        told.wait(20)
        conn.half_close()
        conn.read_all()

    one = raw(handler)
    client = one.tunnel()
    data = hello("allowed.test")[:100]
    client.send(data)
    told.set()
    assert client.sock.recv(1) == b""
    one.up.wait_received(data)
    client.half_close()
    one.closed(code="done", bytes_up=100, bytes_down=0)


def test_raw_to_an_address_is_not_looked_at(egressd, origin):
    up = origin()
    proxy = egressd([f"{up.host}:{up.port}"])
    data = hello("other.test")
    client, answer = proxy.tunnel(f"{up.host}:{up.port}", first=data)
    assert answer.status == 200
    assert client.read(len(data)) == data
