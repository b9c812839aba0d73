"""A scriptable DNS server for tests, on 127.0.0.1, UDP and TCP on one port. Standard library only.

    with DnsServer() as dns:
        dns.add("api.test", A("192.0.2.1"), A("192.0.2.2", ttl=5), AAAA("2001:db8::1"))
        dns.add("www.test", CNAME("api.test", ttl=60))       # the chain is put into the answer
        dns.add("*.many.test", A("192.0.2.9"))               # every name below many.test
        dns.behave("dead.test", silent=True)
        start_egressd("--dns", dns.address)                  # "127.0.0.1:PORT"
        ...
        assert dns.wait_query("api.test", "A")               # waits for the event
        assert dns.count("evil.test") == 0                   # "no query for a denied name"

A name that was never added answers NXDOMAIN; one without records of the asked type answers NODATA;
both with a SOA that would let a cache keep them for an hour.

behave(name, qtype=None, **how) changes how a name (or one type of it) is answered; how:

    rcode="SERVFAIL"     NXDOMAIN, SERVFAIL, REFUSED, FORMERR, NOTIMP: header only
    silent=True          the query is logged and never answered
    delay=0.5            seconds before the answer (a late answer)
    hold=True            no answer before release(name) (a late answer without a clock)
    truncate=True        UDP answers have TC and no records, so that TCP must follow
    no_tcp=True          TCP queries of this name are not answered
    send=("wrong-id", "right")
                         what is sent, in order; kinds: right, wrong-id, wrong-question,
                         wrong-class (the question's class), foreign (the records belong to another
                         owner), record-class (records of class CH), not-a-response, opcode,
                         two-questions, no-question, cut (half of the message), short (5 bytes),
                         garbage (random bytes behind the right id), loop (a compression pointer
                         to itself)
    extra=[A("192.0.2.66", owner="other.test")]
                         records added to the answer section, in front; authority=[...] and
                         additional=[...] add to the other sections
    chase=False          a CNAME is answered alone
    shuffle=True         the answer's records in reverse order
    compress=False       names are written out

forget(name) takes records and behaviours away. pause() makes the server silent to all, resume() ends
that; stop() closes the sockets (port unreachable), start() opens the same port again.

queries is the log: Query(name, qtype, transport, raw_name, time). Names are lower case without dot.
"""
import dataclasses
import os
import socket
import struct
import threading
import time
from typing import NamedTuple, Optional

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28, "OPT": 41, "HTTPS": 65}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}
UDP_MAX = 512  # RFC 1035 4.2.1, without EDNS
CHAIN_MAX = 40


class Record(NamedTuple):
    qtype: str
    value: object
    ttl: int = 300
    owner: Optional[str] = None  # None: the name it was added to
    rclass: int = 1


def A(address, ttl=300, **more):
    return Record("A", address, ttl, **more)


def AAAA(address, ttl=300, **more):
    return Record("AAAA", address, ttl, **more)


def CNAME(target, ttl=300, **more):
    return Record("CNAME", target, ttl, **more)


class Query(NamedTuple):
    name: str
    qtype: str
    transport: str  # "udp", "tcp"
    raw_name: str
    time: float


@dataclasses.dataclass
class Behaviour:
    rcode: Optional[str] = None
    silent: bool = False
    delay: float = 0
    hold: bool = False
    truncate: bool = False
    no_tcp: bool = False
    send: tuple = ("right",)
    extra: tuple = ()
    authority: tuple = ()
    additional: tuple = ()
    chase: bool = True
    shuffle: bool = False
    compress: bool = True


class Message:
    """Builds one DNS message (RFC 1035 4.1)."""

    def __init__(self, ident, flags, compress=True):
        self.ident, self.flags, self.compress = ident, flags, compress
        self.counts = [0, 0, 0, 0]
        self.body = bytearray()
        self.names = {}

    def put_name(self, name):
        labels = [label for label in name.split(".") if label]
        while labels:
            suffix = ".".join(labels).lower()
            if self.compress and suffix in self.names:
                self.body += struct.pack(">H", 0xC000 | self.names[suffix])
                return
            at = 12 + len(self.body)
            if at < 0x4000:
                self.names.setdefault(suffix, at)
            label = labels.pop(0).encode("latin-1")
            self.body += bytes([len(label)]) + label
        self.body += b"\0"

    def question(self, name, qtype, qclass=1):
        self.put_name(name)
        self.body += struct.pack(">HH", qtype, qclass)
        self.counts[0] += 1

    def record(self, section, record, owner):
        self.put_name(record.owner or owner)
        self.body += struct.pack(">HHI", TYPES[record.qtype], record.rclass, record.ttl & 0xFFFFFFFF)
        at = len(self.body)
        self.body += b"\0\0"
        if record.qtype == "A":
            self.body += socket.inet_pton(socket.AF_INET, record.value)
        elif record.qtype == "AAAA":
            self.body += socket.inet_pton(socket.AF_INET6, record.value)
        elif record.qtype in ("CNAME", "NS", "PTR"):
            self.put_name(record.value)
        elif record.qtype == "SOA":
            self.put_name("ns.invalid")
            self.put_name("root.invalid")
            self.body += struct.pack(">IIIII", 1, 3600, 3600, 3600, record.value)
        else:
            self.body += bytes(record.value)
        struct.pack_into(">H", self.body, at, len(self.body) - at - 2)
        self.counts[section] += 1

    def data(self):
        return struct.pack(">HHHHHH", self.ident, self.flags, *self.counts) + bytes(self.body)


def parse_query(data):
    """-> (id, flags, name as sent, qtype, udp size) or None."""
    if len(data) < 12:
        return None
    ident, flags, questions, _, _, more = struct.unpack(">HHHHHH", data[:12])
    if questions != 1 or flags & 0x8000:
        return None
    labels, at = [], 12
    while at < len(data) and data[at] != 0:
        if data[at] > 63:
            return None
        labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
        at += 1 + data[at]
    if at + 5 > len(data):
        return None
    qtype = struct.unpack(">H", data[at + 1 : at + 3])[0]
    at += 5
    size = UDP_MAX
    if more and at + 11 <= len(data) and data[at] == 0:
        if struct.unpack(">H", data[at + 1 : at + 3])[0] == TYPES["OPT"]:
            size = max(UDP_MAX, struct.unpack(">H", data[at + 3 : at + 5])[0])
    return ident, flags, ".".join(labels), qtype, size


class DnsServer:
    def __init__(self, host="127.0.0.1", port=0):
        self.host = host
        self.port = port
        self.queries = []
        self._records = {}
        self._behaviours = {}
        self._held = {}
        self._paused = False
        self._cond = threading.Condition()
        self._udp = self._listener = None
        self._tcp = set()
        self._threads = []
        self._timers = set()
        self.start()

    # ---- life

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def start(self):
        assert self._udp is None
        for _ in range(50):  # the UDP port that the system chose may be taken for TCP
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                udp.bind((self.host, self.port))
                tcp.bind((self.host, udp.getsockname()[1]))
                tcp.listen(64)
                break
            except OSError:
                udp.close()
                tcp.close()
        else:
            raise OSError("no port for UDP and TCP")
        self.port = udp.getsockname()[1]
        self._udp, self._listener = udp, tcp
        self._threads = [
            threading.Thread(target=self._serve_udp, args=(udp,), daemon=True),
            threading.Thread(target=self._accept, args=(tcp,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Close the sockets: further queries find the port unreachable."""
        with self._cond:
            udp, tcp = self._udp, self._listener
            self._udp = self._listener = None
            connections, self._tcp = self._tcp, set()
            timers, self._timers = self._timers, set()
            self._held.clear()
        for timer in timers:
            timer.cancel()
        if udp is None:
            return
        # Ends the blocking calls of the threads; close() alone would not.
        for sock in [tcp, *connections]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wake:
            wake.sendto(b"", (self.host, self.port))
        for thread in self._threads:
            thread.join(5)
        for sock in [udp, tcp, *connections]:
            sock.close()

    close = stop

    def pause(self):
        self._paused = True

    def resume(self):
        self._paused = False

    # ---- what is answered

    def add(self, name, *records, **how):
        """Add records to a name; how as in behave()."""
        with self._cond:
            self._records.setdefault(name.lower(), []).extend(records)
        if how:
            self.behave(name, **how)

    def replace(self, name, *records):
        with self._cond:
            self._records[name.lower()] = list(records)

    def behave(self, name, qtype=None, **how):
        with self._cond:
            self._behaviours[name.lower(), qtype] = Behaviour(**how)
            self._records.setdefault(name.lower(), [])

    def forget(self, name):
        with self._cond:
            self._records.pop(name.lower(), None)
            for key in [key for key in self._behaviours if key[0] == name.lower()]:
                del self._behaviours[key]

    def release(self, name, qtype=None):
        """Send what is held for a name; returns how many answers that were."""
        with self._cond:
            keys = [k for k in self._held if k[0] == name.lower() and qtype in (None, k[1])]
            sends = [send for key in keys for send in self._held.pop(key)]
        for send in sends:
            send()
        return len(sends)

    # ---- what was asked

    def count(self, name=None, qtype=None, transport=None):
        with self._cond:
            return self._count(name, qtype, transport)

    def _count(self, name, qtype, transport):
        return sum(
            1
            for q in self.queries
            if (name is None or q.name == name.lower())
            and (qtype is None or q.qtype == qtype)
            and (transport is None or q.transport == transport)
        )

    def wait_query(self, name, qtype=None, transport=None, count=1, timeout=10):
        """Wait until a query has come `count` times; True if it did."""
        with self._cond:
            return self._cond.wait_for(lambda: self._count(name, qtype, transport) >= count, timeout)

    # ---- sockets

    def _serve_udp(self, sock):
        while self._udp is sock:
            try:
                data, peer = sock.recvfrom(4096)
            except OSError:
                continue  # an earlier answer found its port closed
            self._handle(data, "udp", lambda answer, to=peer: sock.sendto(answer, to))

    def _accept(self, listener):
        while self._listener is listener:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._cond:
                self._tcp.add(sock)
            threading.Thread(target=self._serve_tcp, args=(sock,), daemon=True).start()

    def _serve_tcp(self, sock):
        def read(count):
            data = b""
            while len(data) < count:
                part = sock.recv(count - len(data))
                if not part:
                    raise EOFError
                data += part
            return data

        try:
            while True:
                data = read(struct.unpack(">H", read(2))[0])
                self._handle(data, "tcp", lambda a: sock.sendall(struct.pack(">H", len(a)) + a))
        except (OSError, EOFError):
            pass
        finally:
            with self._cond:
                self._tcp.discard(sock)
            sock.close()

    # ---- answers

    def _lookup(self, table, name):
        """Exact, else the nearest wildcard above."""
        if name in table:
            return table[name]
        labels = name.split(".")
        for i in range(1, len(labels)):
            if "*." + ".".join(labels[i:]) in table:
                return table["*." + ".".join(labels[i:])]
        return None

    def _behaviour(self, name, qtype):
        for kind in (qtype, None):
            found = self._lookup({n: b for (n, t), b in self._behaviours.items() if t == kind}, name)
            if found is not None:
                return found
        return Behaviour()

    def _handle(self, data, transport, send):
        query = parse_query(data)
        if query is None:
            return
        name = query[2].lower()
        qtype = TYPE_NAMES.get(query[3], str(query[3]))
        with self._cond:
            how = self._behaviour(name, qtype)
            answers = self._answers(query, name, qtype, transport, how)
            silent = self._paused or how.silent or (transport == "tcp" and how.no_tcp)

            def send_all():
                for answer in answers:
                    try:
                        send(answer)
                    except OSError:
                        return  # who asked is gone

            if not silent and how.hold:
                self._held.setdefault((name, qtype), []).append(send_all)
            self.queries.append(Query(name, qtype, transport, query[2], time.monotonic()))
            self._cond.notify_all()
        if silent or how.hold:
            return
        if how.delay > 0:
            timer = threading.Timer(how.delay, send_all)
            timer.daemon = True
            self._timers.add(timer)
            timer.start()
        else:
            send_all()

    def _answers(self, query, name, qtype, transport, how):
        truncate = how.truncate and transport == "udp"
        return [self._answer(query, name, qtype, how, kind, truncate, transport) for kind in how.send]

    def _chain(self, name, qtype, how):
        """-> (records with owners, rcode)."""
        out, owner = [], name
        for _ in range(CHAIN_MAX):
            records = self._lookup(self._records, owner)
            if records is None:
                return out, ("NXDOMAIN" if not out else "NOERROR")
            fitting = [r for r in records if r.qtype == qtype]
            aliases = [r for r in records if r.qtype == "CNAME" and not r.owner]
            out += [r._replace(owner=r.owner or owner) for r in fitting or aliases]
            if fitting or not aliases or not how.chase:
                break
            owner = aliases[0].value.lower()
        return out, "NOERROR"

    def _answer(self, query, name, qtype, how, kind, truncate, transport):
        ident, flags, raw, number, udp_size = query
        records, rcode = self._chain(name, qtype, how)
        rcode = how.rcode or rcode
        if rcode != "NOERROR" or truncate:
            records = []
        if how.shuffle:
            records = records[::-1]
        if kind == "foreign":
            records = [r._replace(owner="foreign.invalid") for r in records]
        if kind == "record-class":
            records = [r._replace(rclass=3) for r in records]
        # QR, RD as asked, RA; TC
        head = 0x8000 | (flags & 0x0100) | 0x0080 | RCODES[rcode] | (0x0200 if truncate else 0)
        if kind == "not-a-response":
            head &= 0x7FFF
        if kind == "opcode":
            head |= 2 << 11
        m = Message(ident ^ (0x5555 if kind == "wrong-id" else 0), head, how.compress)
        if kind != "no-question":
            m.question("x" + raw if kind == "wrong-question" else raw, number, 3 if kind == "wrong-class" else 1)
        if kind == "two-questions":
            m.question("second.invalid", number)
        if kind == "loop":
            m.body += struct.pack(">HHHIH", 0xC000 | (12 + len(m.body)), 1, 1, 300, 4) + b"\xc0\0\2\1"
            m.counts[1] += 1
        for r in how.extra if not truncate else ():
            m.record(1, r, raw)
        for r in records:
            m.record(1, r, raw)
        for r in how.authority:
            m.record(2, r, raw)
        if not records and not truncate and rcode in ("NOERROR", "NXDOMAIN"):
            m.record(2, Record("SOA", 3600, 3600), raw.split(".", 1)[-1])
        for r in how.additional:
            m.record(3, r, raw)
        data = m.data()
        if transport == "udp" and len(data) > udp_size:
            m = Message(m.ident, head | 0x0200)
            m.question(raw, number)
            data = m.data()
        if kind == "cut":
            data = data[: 12 + (len(data) - 12) * 3 // 4]
        elif kind == "short":
            data = data[:5]
        elif kind == "garbage":
            data = data[:12] + os.urandom(40)
        return data
