"""The kinds of clients of the soak: what each sends, what it must see, and what the log must say of it.

A kind is a coroutine that gets a Client, on which it opens connections. want() tells the ledger of a
request before its bytes leave.
"""
import asyncio
import binascii
import contextlib
import json
import random
import socket
import ssl

import world
from ledger import Wanted

# Names of a sort: few enough that every worker knows them all after the warm-up, so that the number of pins
# is one. Failures are few: a reload forgets them.
NAMES = {"echo": 60, "web": 60, "tls": 30, "priv": 10, "far": 10, "flip": 6,
         "nx": 3, "servfail": 3, "silent": 3, "junk": 3}
PATIENCE = 90


class Excused(Exception):
    """egressd refused for a fault of the surroundings that was there: the kind ends."""


class Reply:
    def __init__(self, status, fields):
        self.status, self.fields, self.body = status, fields, b""


class Client:
    """What a kind works with: connections from one address that nobody else has."""

    def __init__(self, soak, kind, number):
        self.ledger, self.web, self.kind, self.number = soak.ledger, soak.web, kind, number
        self.host = f"127.{64 + (number >> 16) % 64}.{number >> 8 & 255}.{number & 255}"
        self.conns = []

    def name(self, sort, zone="soak"):
        return f"{sort}{random.randrange(NAMES[sort])}.{zone}.test"

    async def connect(self):
        conn = Conn(self)
        self.conns.append(conn)
        await conn.open()
        return conn

    async def tunnel(self, host, port, *outcomes, first=b"", status=200):
        conn = await self.connect()
        conn.want("CONNECT", host, port, *(outcomes or ("allow:done",)))
        conn.send(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode() + first)
        await conn.reply("CONNECT", status)
        return conn

    def finish(self, now):
        for conn in self.conns:
            conn.close()
            if conn.account is not None:
                conn.account.end = now


class Conn:
    def __init__(self, client):
        self.client, self.ledger = client, client.ledger
        self.account = self.reader = self.writer = None
        self.sent = self.received = 0  # of a tunnel

    async def open(self):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((self.client.host, 0))
        self.account = self.ledger.open(self.client.kind, "%s:%d" % sock.getsockname())
        await asyncio.get_running_loop().sock_connect(sock, world.PROXY)
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=1 << 17)

    def want(self, method, host, port, *outcomes, path=None):
        members = {"method": method, "host": host, "port": port, "path": path}
        wanted = Wanted({key: value for key, value in members.items() if value is not None}, set(outcomes))
        self.account.wanted.append(wanted)
        return wanted

    def get(self, host, path, *outcomes, method="GET", fields="", body=b""):
        """A request of plain HTTP, sent."""
        wanted = self.want(method, host, 80, *(outcomes or ("allow:done",)), path=path)
        self.send(f"{method} http://{host}{path}?q HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode() + body)
        return wanted

    # ---- bytes

    def send(self, data):
        self.writer.write(data)

    def send_tunnel(self, data):
        self.sent += len(data)
        self.writer.write(data)

    async def read(self, count):
        data = await self.reader.readexactly(count)
        self.received += count
        return data

    async def read_to_end(self):
        total = 0
        while data := await self.reader.read(65536):
            total += len(data)
        self.received += total
        return total

    def half_close(self):
        self.writer.write_eof()

    async def is_reset(self):
        try:
            assert await self.reader.read() == b"", "bytes where a reset was due"
        except ConnectionError:
            return
        raise AssertionError("an end where a reset was due")

    def reset(self):
        if self.writer is not None:
            world.abort(self.writer)
            self.writer = None

    def close(self):
        if self.writer is not None:
            self.writer.close()

    def count_bytes(self):
        """A tunnel that ended well: the log has the numbers."""
        self.account.wanted[-1].close.update(bytes_up=self.sent, bytes_down=self.received)

    # ---- answers

    async def reply(self, method="GET", status=200, code=None, index=-1):
        reply = await self.read_head()
        while reply.status in (100, 103):
            reply = await self.read_head()
        if method != "HEAD" and reply.status not in (101, 204, 304) and not (
                method == "CONNECT" and reply.status == 200):
            await self.read_body(reply)
        wanted = self.account.wanted[index] if self.account.wanted else None
        own = "error=" in reply.fields.get("proxy-status", "")
        said = json.loads(reply.body)["code"] if own and reply.body else None
        if own and method == "HEAD":
            said = {503: "audit", 504: "dns-timeout"}.get(reply.status)
        if wanted is not None and not (said == "audit" and reply.status == 503):
            # To port 443 the decision comes after the 200.
            wanted.answered = not (method == "CONNECT" and status == 200 and wanted.members["port"] == 443)
        if reply.status == status and (code is None or said == code):
            if wanted is not None and not own and method != "CONNECT":
                wanted.close["status"] = reply.status
            return reply
        if wanted is not None and said in ("audit", "dns-timeout") and \
                self.ledger.excuses(said, wanted.begin):
            wanted.excuse(said)
            raise Excused(said)
        raise AssertionError(f"answered {reply.status} {said} {reply.body[:200]!r} and not {status} {code}")

    async def refused_early(self, wanted, reply, *codes):
        """An answer of egressd's own that none of these codes explains must be excused."""
        await self.read_body(reply)
        code = json.loads(reply.body)["code"]
        wanted.answered = code != "audit"
        if code not in codes:
            assert self.ledger.excuses(code, wanted.begin), f"answered {reply.status} {code}"
            wanted.excuse(code)
            raise Excused(code)
        wanted.outcomes = {f"deny:{code}", f"fail:{code}"}

    @contextlib.contextmanager
    def may_be_cut_off(self):
        """Who is refused and sends on and on is reset, and may not see why: the log says it."""
        try:
            yield
        except (ConnectionError, asyncio.IncompleteReadError):
            wanted = self.account.wanted[-1]
            if not self.ledger.excuses("dns-timeout", wanted.begin):
                raise
            wanted.excuse("dns-timeout")
            raise Excused("dns-timeout")

    async def read_head(self):
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        fields = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
        assert len(fields) == len(lines) - 1, f"a field stands twice: {lines}"
        return Reply(int(lines[0].split(" ")[1]), fields)

    async def read_body(self, reply):
        if "transfer-encoding" in reply.fields:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                reply.body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
        elif "content-length" in reply.fields:
            reply.body = await self.reader.readexactly(int(reply.fields["content-length"]))
        else:
            while data := await self.reader.read(65536):
                reply.body += data

    async def handshake(self, name):
        """TLS as a client; returns the object that encrypts, with its two sides."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(coming, going, server_hostname=name)
        while True:
            try:
                tls.do_handshake()
                self.send_tunnel(going.read())
                return tls, coming, going
            except ssl.SSLWantReadError:
                self.send_tunnel(going.read())
                await self.more(coming)

    async def more(self, coming):
        data = await self.reader.read(65536)
        if not data:
            raise EOFError("the end, in TLS")
        self.received += len(data)
        coming.write(data)


# ---- tunnels

async def small_tunnel(client):
    conn = await client.tunnel(client.name("echo"), world.RAW, first=b"echo\n")
    conn.sent += 5
    for _ in range(random.randrange(1, 6)):
        data = random.randbytes(random.randrange(1, 3000))
        conn.send_tunnel(data)
        assert await conn.read(len(data)) == data
    conn.half_close()
    assert await conn.read_to_end() == 0
    conn.count_bytes()


async def bulk_down(client, pause=0.0):
    length = random.randrange(1 << 17, 1 << 21)
    conn = await client.tunnel(client.name("echo"), world.RAW)
    conn.send_tunnel(b"send %d\n" % length)
    crc = 0
    while data := await conn.reader.read(65536):
        crc, conn.received = binascii.crc32(data, crc), conn.received + len(data)
        if pause:
            await asyncio.sleep(pause)
    assert (conn.received, crc) == (length, world.bulk_crc(length)), "the bytes are others"
    conn.half_close()
    conn.count_bytes()


async def slow_reader(client):
    await bulk_down(client, pause=0.05)


async def bulk_up(client):
    length = random.randrange(1 << 17, 1 << 21)
    conn = await client.tunnel(client.name("echo"), world.RAW)
    conn.send_tunnel(b"take %d\n" % length)
    await world.send_bulk(conn.writer, length)
    conn.sent += length
    assert int((await conn.reader.readuntil(b"\n"))[:-1]) == world.bulk_crc(length)
    conn.half_close()
    await conn.read_to_end()


async def origin_ends_first(client):
    conn = await client.tunnel(client.name("echo"), world.RAW)
    conn.send_tunnel(b"half\n")
    assert await conn.read_to_end() == 3
    conn.send_tunnel(b"still heard")
    conn.half_close()
    conn.count_bytes()


async def origin_resets(client):
    conn = await client.tunnel(client.name("echo"), world.RAW, "allow:upstream-closed")
    conn.send_tunnel(b"reset\n")
    await conn.is_reset()


async def client_resets(client):
    conn = await client.tunnel(client.name("echo"), world.RAW, "allow:client-closed")
    conn.send_tunnel(b"echo\nsome")
    await conn.read(4)
    conn.reset()


async def idle_tunnel(client):
    conn = await client.tunnel(client.name("echo"), world.RAW, "allow:idle")
    conn.send_tunnel(b"echo\n")
    await conn.is_reset()


async def tls(client):
    name = client.name("tls")
    conn = await client.tunnel(name, 443)
    wrapped, coming, going = await conn.handshake(name)
    wrapped.write(b"echo\n" + b"x" * 500)
    conn.send_tunnel(going.read())
    got = b""
    while len(got) < 500:
        try:
            got += wrapped.read(500)
        except ssl.SSLWantReadError:
            await conn.more(coming)
    assert got == b"x" * 500
    conn.account.wanted[-1].answered = True
    conn.half_close()
    await conn.read_to_end()
    conn.count_bytes()


async def wrong_name(client):
    conn = await client.tunnel(client.name("tls"), 443, "deny:sni-mismatch")
    try:
        await conn.handshake("other.soak.test")
    except ConnectionError:
        return
    raise AssertionError("another name passed")


async def no_tls(client):
    conn = await client.tunnel(client.name("tls"), 443, "deny:not-tls")
    conn.send(b"GET / HTTP/1.1\r\n\r\n")
    await conn.is_reset()


async def no_hello(client):
    conn = await client.tunnel(client.name("tls"), 443, "deny:timeout")
    await conn.is_reset()


async def leaves_before_hello(client):
    conn = await client.tunnel(client.name("tls"), 443, "fail:client-closed")
    conn.half_close()
    await conn.is_reset()


# ---- plain HTTP

async def kept(client):
    conn = await client.connect()
    for n in range(random.randrange(1, 8)):
        path = f"/ok/{client.number}-{n}"
        conn.get(client.name("web"), path, method=random.choice(["GET", "GET", "HEAD"]))
        await conn.reply(conn.account.wanted[-1].members["method"])
        assert client.web.paths.pop(path, 0) == 1, "the origin has not had it once"


async def pipelined(client):
    conn, host = await client.connect(), client.name("web")
    count = 1 if client.ledger.excuses("audit", conn.account.begin) else 4
    for n in range(count):
        conn.get(host, f"/ok/{client.number}-{n}")
    for n in range(count):
        try:
            await conn.reply(index=n)
        except Excused:  # and the connection ends with it: the rest was never looked at
            del conn.account.wanted[n + 1:]
            raise


async def post_chunked(client):
    conn = await client.connect()
    conn.get(client.name("web"), f"/ok/{client.number}", method="POST", fields="Transfer-Encoding: chunked\r\n")
    crc = total = 0
    with conn.may_be_cut_off():
        for _ in range(random.randrange(1, 10)):
            data = random.randbytes(random.randrange(1, 20000))
            crc, total = binascii.crc32(data, crc), total + len(data)
            conn.send(b"%x;ignored=yes\r\n%b\r\n" % (len(data), data))
            await conn.writer.drain()
            await asyncio.sleep(0.01)
        conn.send(b"0\r\n\r\n")
        assert (await conn.reply("POST")).body == b"%d %d" % (total, crc)


async def post_length(client):
    body = random.randbytes(random.randrange(200000))
    conn = await client.connect()
    conn.get(client.name("web"), f"/ok/{client.number}", method="PUT", body=body,
             fields=f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n")
    with conn.may_be_cut_off():
        assert (await conn.reply("PUT")).body == b"%d %d" % (len(body), binascii.crc32(body))


async def events(client):
    conn = await client.connect()
    conn.get(client.name("web"), f"/events/{client.number}")
    assert (await conn.reply()).body.count(b"data: ") == 20


async def until_close(client):
    conn = await client.connect()
    conn.get(client.name("web"), f"/until-close/{client.number}")
    assert len((await conn.reply()).body) == 100000


async def websocket(client):
    conn = await client.connect()
    conn.get(client.name("web"), f"/websocket/{client.number}",
             fields="Connection: Upgrade\r\nUpgrade: websocket\r\n")
    await conn.reply(status=101)
    for _ in range(5):
        data = random.randbytes(random.randrange(1, 2000))
        conn.send(data)
        assert await conn.read(len(data)) == data
    conn.half_close()
    await conn.read_to_end()


async def origin_breaks_off(client):
    conn = await client.connect()
    conn.get(client.name("web"), f"/reset/{client.number}", "allow:upstream-closed")
    try:
        await conn.reply()
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    raise AssertionError("half an answer looked whole")


async def origin_says_nothing(client):
    conn = await client.connect()
    conn.get(client.name("web"), f"/silent/{client.number}", "allow:upstream-closed")
    await conn.reply(status=502, code="upstream-closed")


async def origin_talks_nonsense(client):
    conn = await client.connect()
    conn.get(client.name("web"), f"/bad/{client.number}", "allow:upstream-protocol")
    await conn.reply(status=502, code="upstream-protocol")


async def leaves_in_answer(client):
    conn = await client.connect()
    wanted = conn.get(client.name("web"), f"/events/{client.number}", "allow:client-closed")
    reply = await conn.read_head()
    wanted.answered = True
    if reply.status == 200:
        conn.reset()
        return
    await conn.refused_early(wanted, reply)


async def bad_chunk(client):
    conn = await client.connect()
    conn.get(client.name("web"), f"/ok/{client.number}", "allow:bad-request", method="POST",
             fields="Transfer-Encoding: chunked\r\n", body=b"5\r\nhello\r\n0x\r\n")
    await conn.reply("POST", 400, "bad-request")


# ---- refusals

async def denied_tunnel(client):
    await client.tunnel(f"n{client.number}.denied.test", 443, "deny:not-listed", status=403)


async def denied_port(client):
    await client.tunnel(client.name("echo"), 22, "deny:port", status=403)


async def denied_get(client):
    conn = await client.connect()
    conn.get(f"n{client.number}.denied.test", f"/{client.number}", "deny:not-listed")
    await conn.reply(status=403, code="not-listed")


BAD = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET http://web1.soak.test/ HTTP/1.1\r\n\r\n",
       b"GET http://web1.soak.test/ HTTP/1.1\nHost: web1.soak.test\r\n\r\n",
       b"GET http://web1.soak.test/ HTTP/1.1\r\nHost : web1.soak.test\r\n\r\n",
       b"POST http://web1.soak.test/ HTTP/1.1\r\nHost: web1.soak.test\r\nContent-Length: 3\r\n"
       b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       b"GET http://web1.soak.test/ HTTP/1.1\r\nHost: web1.soak.test\r\n folded: x\r\n\r\n",
       b"CONNECT 0x7f.1:443 HTTP/1.1\r\n\r\n", b"CONNECT echo1.soak.test HTTP/1.1\r\n\r\n",
       b"CONNECT echo1.soak.test:0443 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello\r\n\r\n",
       b"GET http://web1.soak.test/\x00 HTTP/1.1\r\nHost: web1.soak.test\r\n\r\n"]


async def bad_request(client):
    conn = await client.connect()
    conn.want(None, None, None, "deny:bad-request")
    conn.send(random.choice(BAD))
    await conn.reply(status=400, code="bad-request")


async def odd_method(client):
    conn = await client.connect()
    method, status = random.choice([("TRACE", 405), ("BREW", 501)])
    conn.want(method, None, None, "deny:bad-request")
    conn.send(f"{method} http://web1.soak.test/ HTTP/1.1\r\nHost: web1.soak.test\r\n\r\n".encode())
    await conn.reply(status=status, code="bad-request")


async def huge_head(client):
    conn = await client.connect()
    conn.want(None, None, None, "deny:too-large")
    conn.send(b"GET http://web1.soak.test/ HTTP/1.1\r\nHost: web1.soak.test\r\nX: " + b"x" * 70000 + b"\r\n\r\n")
    await conn.reply(status=431, code="too-large")


async def itself(client):
    await client.tunnel(*world.PROXY, "deny:self", status=403)


async def special(client):
    await client.tunnel(client.name("priv"), world.RAW, "deny:special-address", status=403)


async def refused(client):
    await client.tunnel(client.name("echo"), world.REFUSED, "fail:connect-refused", status=502)


async def unreachable(client):
    await client.tunnel(client.name("far"), world.RAW, "fail:connect-unreachable", status=502)


async def no_such_name(client):
    await client.tunnel(client.name("nx"), world.RAW, "fail:dns-nxdomain", status=502)


async def server_failure(client):
    await client.tunnel(client.name("servfail"), world.RAW, "fail:dns-error", status=502)


async def silent_name(client):
    await client.tunnel(client.name("silent"), world.RAW, "fail:dns-timeout", status=504)


async def garbage(client):
    conn = await client.connect()
    host = client.name("junk")
    wanted = conn.want("CONNECT", host, world.RAW, "fail:dns-timeout", "fail:dns-error")
    conn.send(f"CONNECT {host}:{world.RAW} HTTP/1.1\r\n\r\n".encode())
    await conn.refused_early(wanted, await conn.read_head(), "dns-timeout", "dns-error")


async def leaves_in_lookup(client):
    conn = await client.connect()
    host = client.name("silent")
    wanted = conn.want("CONNECT", host, world.RAW, "fail:client-closed")
    conn.send(f"CONNECT {host}:{world.RAW} HTTP/1.1\r\n\r\n".encode())
    try:
        reply = await asyncio.wait_for(conn.read_head(), 0.3)
    except TimeoutError:
        wanted.left = True
        conn.reset()
        return
    await conn.refused_early(wanted, reply, "dns-timeout")  # known from before


async def too_many(client):
    """4 a worker: of 9 at a time at least one is refused."""
    host, statuses = client.name("echo"), []
    for _ in range(9):
        conn = await client.connect()
        wanted = conn.want("CONNECT", host, world.RAW, "allow:done", "deny:limit")
        conn.send(f"CONNECT {host}:{world.RAW} HTTP/1.1\r\n\r\n".encode())
        reply = await conn.read_head()
        if reply.status == 429:
            wanted.outcomes, wanted.answered = {"deny:limit"}, True
        elif reply.status == 200:
            wanted.outcomes, wanted.answered = {"allow:done"}, True
        else:
            await conn.refused_early(wanted, reply)
        statuses.append(reply.status)
    for conn in client.conns:
        conn.half_close()
    assert 429 in statuses, "no limit"


# ---- slow, and half

async def slow_head(client):
    conn = await client.connect()
    host = client.name("web")
    conn.want("GET", host, 80, "allow:done", path=f"/ok/{client.number}")
    for piece in (f"GET http://{host}", f"/ok/{client.number} HTTP/1.1\r", f"\nHost: {host}", "\r\n\r", "\n"):
        conn.send(piece.encode())
        await asyncio.sleep(0.3)
    await conn.reply()


async def head_without_end(client):
    conn = await client.connect()
    conn.want(None, None, None, "deny:timeout")

    async def trickle():
        for byte in b"GET http://web1.soak.test/ HTTP/1.1\r\nX: " + b"x" * 100:
            conn.send(bytes([byte]))
            await asyncio.sleep(0.4)
    sending = asyncio.ensure_future(trickle())
    try:
        await conn.reply(status=408, code="timeout")
    finally:
        sending.cancel()


async def half_a_head(client):
    """No request, no line."""
    conn = await client.connect()
    conn.send(b"GET http://web1.soak.test/ HT")
    await asyncio.sleep(0.1)
    if random.random() < 0.5:
        conn.reset()


async def health(client):
    """No line either."""
    conn = await client.connect()
    conn.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    reply = await conn.read_head()
    assert reply.status == 204 or client.ledger.excuses("audit", conn.account.begin), reply.status


# ---- reloads

async def revocable(client):
    """Its entry comes and goes: denied, or served until it is revoked."""
    conn = await client.connect()
    host = client.name("flip", "flip")
    wanted = conn.want("CONNECT", host, world.RAW, "deny:not-listed", "allow:done", "allow:not-listed")
    conn.send(f"CONNECT {host}:{world.RAW} HTTP/1.1\r\n\r\necho\n".encode())
    reply = await conn.read_head()
    if reply.status != 200:
        await conn.refused_early(wanted, reply, "not-listed")  # perhaps while it was looked up
        return
    wanted.answered = True
    try:
        for _ in range(random.randrange(1, 20)):
            conn.send(b"ping")
            assert await conn.read(4) == b"ping"
            await asyncio.sleep(0.5)
    except (ConnectionError, asyncio.IncompleteReadError):
        wanted.outcomes = {"allow:not-listed"}
        return
    conn.half_close()
    wanted.outcomes = {"allow:done", "allow:not-listed"}  # revoked in between
    try:
        await conn.read_to_end()
    except ConnectionError:
        pass


async def long_tunnel(client, until):
    """Lives through all of it."""
    conn = await client.tunnel(client.name("echo"), world.RAW, first=b"echo\n")
    conn.sent += 5
    while not until.is_set():
        conn.send_tunnel(b"alive")
        assert await conn.read(5) == b"alive"
        try:
            await asyncio.wait_for(until.wait(), 5)
        except TimeoutError:
            pass
    conn.half_close()
    await conn.read_to_end()
    conn.count_bytes()


# How often, relative to the others: what takes long or costs much is rarer.
KINDS = {small_tunnel: 14, bulk_down: 3, slow_reader: 1, bulk_up: 2, origin_ends_first: 3, origin_resets: 3,
         client_resets: 3, idle_tunnel: 0.3, tls: 3, wrong_name: 3, no_tls: 3, no_hello: 0.4,
         leaves_before_hello: 2, kept: 12, pipelined: 3, post_chunked: 5, post_length: 3, events: 1,
         until_close: 2, websocket: 3, origin_breaks_off: 2, origin_says_nothing: 2, origin_talks_nonsense: 2,
         leaves_in_answer: 1, bad_chunk: 2, denied_tunnel: 4, denied_port: 2, denied_get: 4, bad_request: 6,
         odd_method: 2, huge_head: 1, itself: 1, special: 3, refused: 2, unreachable: 2, no_such_name: 2,
         server_failure: 2, silent_name: 0.5, garbage: 1, leaves_in_lookup: 1, too_many: 0.5, slow_head: 1,
         head_without_end: 0.3, half_a_head: 2, health: 2, revocable: 3}
