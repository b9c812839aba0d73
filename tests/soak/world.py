"""What the soak's egressd lives in: origins, a resolver, the egressd itself, its log on a small disk."""
import asyncio
import binascii
import collections
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "proxy"))
from dnsserver import TYPES, Message, Record, parse_query  # noqa: E402
from ledger import parse_line  # noqa: E402

ORIGIN = "127.9.9.9"
RAW, REFUSED, PROXY, METRICS, DNS = 7000, 7001, ("127.0.0.1", 3128), ("127.0.0.1", 9128), ("127.0.0.1", 5353)
SESSION = "soak"
OPTIONS = ["--workers", "2", "--max-connections", "800", "--max-per-client", "4", "--header-timeout", "10",
           "--dns-timeout", "5", "--idle-timeout", "30", "--drain-timeout", "20", "--session", SESSION]
WORKERS = 2
LIST = f"""# names lead to {ORIGIN}
.soak.test
.soak.test:{RAW}
.soak.test:{REFUSED}
{ORIGIN}
{PROXY[0]}:{PROXY[1]}
"""
FLIPPED = f".flip.test:{RAW}\n"
BROKEN = ["", "*.example.com\n", LIST + "two entries\n", "http://soak.test/\n", LIST + "\0\n"]

PATTERN = random.Random(1).randbytes(65536)


# ---- origins

async def raw_origin(reader, writer):
    """A line says what to do: echo, send N, take N, reset, close, half (the origin ends first)."""
    try:
        words = (await reader.readline()).split()
        if words[:1] == [b"send"]:
            await send_bulk(writer, int(words[1]))
        elif words[:1] == [b"take"]:
            crc, left = 0, int(words[1])
            while left > 0:
                data = await reader.read(min(left, 65536))
                if not data:
                    return
                crc, left = binascii.crc32(data, crc), left - len(data)
            writer.write(b"%d\n" % crc)
        elif words[:1] == [b"reset"]:
            abort(writer)
            return
        elif words[:1] == [b"half"]:
            writer.write(b"bye")
            writer.write_eof()
            await reader.read()
            return
        elif words[:1] == [b"echo"]:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        if words and words[0] != b"close" and writer.can_write_eof():
            writer.write_eof()
            await reader.read()
    except (OSError, ValueError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


def abort(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def send_bulk(writer, length):
    while length > 0:
        writer.write(PATTERN[:length])
        length -= min(length, len(PATTERN))
        await writer.drain()


def bulk_crc(length):
    crc = 0
    while length > 0:
        crc = binascii.crc32(PATTERN[:length], crc)
        length -= min(length, len(PATTERN))
    return crc


class WebServer:
    """HTTP/1.1, strict; the path says how to answer."""

    def __init__(self, fault):
        self.fault = fault
        self.paths = collections.Counter()  # that came, until somebody asks

    async def serve(self, reader, writer):
        try:
            more = True
            while more:
                more = await self.one(reader, writer)
            if more is None:  # a websocket: what comes goes back
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        except ValueError as error:
            self.fault(f"what came to an origin: {error}")
        finally:
            writer.close()

    async def one(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        method, target, version = head[0].split(" ")
        fields = dict((key.lower(), value.strip()) for key, _, value in (line.partition(":") for line in head[1:]))
        path = target.partition("?")[0]
        if version != "HTTP/1.1" or len(fields) != len(head) - 1:
            raise ValueError(head)
        self.paths[path] += 1
        if fields.get("expect") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await self.read_body(reader, fields)
        return await self.respond(writer, method, path, fields, body)

    @staticmethod
    async def read_body(reader, fields):
        if "transfer-encoding" not in fields:
            return await reader.readexactly(int(fields.get("content-length", "0")))
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            if await reader.readexactly(2) != b"\r\n":
                raise ValueError("the end of a chunk")
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return body

    async def respond(self, writer, method, path, fields, body):
        how = path.split("/")[1]
        if how == "silent":
            return False
        if how == "reset":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            await writer.drain()
            await asyncio.sleep(0.05)
            abort(writer)
            return False
        if how == "bad":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx")
            return False
        if how == "until-close":
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            await send_bulk(writer, 100000)
            return False
        if how == "events":
            await self.send_events(writer)
            return True
        if how == "websocket":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            return False if fields.get("upgrade") != "websocket" else None
        text = b"%d %d" % (len(body), binascii.crc32(body))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + (b"" if method == "HEAD" else text))
        await writer.drain()
        return True

    @staticmethod
    async def send_events(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(20):
            event = b"data: %d\n\n" % n
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0.2)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


# ---- DNS

class Resolver(asyncio.DatagramProtocol):
    """The first letters of a name say how it is answered."""

    def __init__(self, fault):
        self.fault, self.paused, self.transport = fault, False, None
        self.queries = 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        query = parse_query(data)
        if query is None:
            return
        ident, _, name, qtype, _ = query
        low = name.lower()
        self.queries += 1
        if not (low.endswith(".soak.test") or low.endswith(".flip.test")):
            self.fault(f"a query for {name}, which is not listed")
        if self.paused or low.startswith("silent"):
            return
        rcode = 3 if low.startswith("nx") else 2 if low.startswith("servfail") else 0
        answer = Message(ident, 0x8180 | rcode)
        answer.question(name, qtype)
        address = {"priv": "10.1.2.3", "far": "9.9.9.9"}.get(low.partition(".")[0].rstrip("0123456789"), ORIGIN)
        if rcode == 0 and qtype == TYPES["A"]:
            answer.record(1, Record("A", address, 1), name)
        out = answer.data()
        if low.startswith("junk"):
            out = out[:12] + random.randbytes(random.randrange(60))
        self.transport.sendto(out, peer)


# ---- egressd

class Metrics(dict):
    def total(self, name):
        return sum(value for key, value in self.items() if key.partition("{")[0] == name)


async def read_metrics():
    reader, writer = await asyncio.open_connection(*METRICS)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    lines = text.partition("\r\n\r\n")[2].splitlines()
    return Metrics((key, float(value)) for key, _, value in
                   (line.rpartition(" ") for line in lines if line and not line.startswith("#")))


class Proxy:
    def __init__(self, program, folder, log_folder, fault):
        self.fault = fault
        self.list_path = os.path.join(folder, "domains.txt")
        self.log_path = os.path.join(log_folder, "audit.jsonl")
        self.log_folder = log_folder
        self.write_list(LIST + FLIPPED)
        self.stderr_path = os.path.join(folder, "stderr")
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                [program, "--allowlist", self.list_path, "--audit-log", self.log_path,
                 "--listen", "%s:%d" % PROXY, "--metrics", "%s:%d" % METRICS, "--dns", "%s:%d" % DNS, *OPTIONS],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        self.pid = self.process.pid
        self.log = None
        self.rest = b""
        self.torn = None  # what the last file ended in, which this one must start with

    def write_list(self, text):
        with open(self.list_path + ".new", "wb") as new:
            new.write(text.encode())
        os.rename(self.list_path + ".new", self.list_path)

    async def wait_ready(self):
        for _ in range(500):
            with open(self.stderr_path, errors="replace") as said:
                if "serving on" in said.read():
                    self.log = open(self.log_path, "rb")
                    return
            if self.process.poll() is not None:
                break
            await asyncio.sleep(0.02)
        raise SystemExit("egressd did not start: " + open(self.stderr_path).read())

    # ---- its log

    def read_log(self, ledger):
        """Whole lines that came since the last time."""
        data = self.rest + self.log.read()
        *lines, self.rest = data.split(b"\n")
        for raw in lines:
            if self.torn is not None and not raw.startswith(self.torn):
                ledger.fault(f"a torn line {self.torn!r} is not the next file's first: {raw!r}")
            self.torn = None
            try:
                ledger.take(parse_line(raw, SESSION))
            except (ValueError, KeyError) as error:
                ledger.fault(f"the log: {error!r}")

    async def rotate(self, ledger):
        os.rename(self.log_path, self.log_path + ".old")
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + 30
        while not os.path.exists(self.log_path):
            if time.monotonic() > end:
                ledger.fault("SIGUSR1 opened no new log in 30 s")
                os.rename(self.log_path + ".old", self.log_path)
                return
            await asyncio.sleep(0.01)
        self.read_log(ledger)  # nothing goes to the old file any more
        if self.rest:
            if not ledger.excuses("audit", time.monotonic() - 30):
                ledger.fault(f"a file ends in a torn line: {self.rest!r}")
            self.torn, self.rest = self.rest, b""
        self.log.close()
        os.unlink(self.log_path + ".old")
        self.log = open(self.log_path, "rb")

    # ---- what it uses

    def usage(self):
        """-> resident KiB, threads, {kind of descriptor: count}, seconds of processor"""
        with open(f"/proc/{self.pid}/status") as status:
            rows = dict(line.split(":", 1) for line in status)
        kinds = collections.Counter()
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                kinds[os.readlink(f"/proc/{self.pid}/fd/{fd}").partition(":")[0]] += 1
            except OSError:
                pass
        with open(f"/proc/{self.pid}/stat") as stat:
            words = stat.read().rpartition(")")[2].split()
        return (int(rows["VmRSS"].split()[0]), int(rows["Threads"]), dict(kinds),
                (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"))


async def start_origins(fault, folder):
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-keyout", key, "-out", cert, "-days", "30", "-subj", "/CN=soak.test"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    web = WebServer(fault)
    await asyncio.start_server(raw_origin, ORIGIN, RAW, backlog=512)
    await asyncio.start_server(raw_origin, ORIGIN, 443, ssl=context, backlog=512)
    await asyncio.start_server(web.serve, ORIGIN, 80, backlog=512)
    _, resolver = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Resolver(fault), local_addr=DNS)
    return web, resolver
