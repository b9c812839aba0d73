"""The harness: the real egressd, a DNS server, origins, and checks that hold for every test.

    def test_something(egressd, dns, origin):
        with origin(HttpOrigin) as up:
            dns.add("allowed.test", A(up.host))
            proxy = egressd(f"allowed.test:{up.port}\n{up.host}")
            answer = proxy.get(f"http://allowed.test:{up.port}/")
            assert answer.status == 200
            proxy.wait_audit(action="close")

Names lead to addresses of 127.0.0.0/8, which are special: a list needs an entry for the address
itself ("127.1.2.3" or "127.1.2.3:PORT") beside the name.

After each test every egressd is ended by SIGTERM and must exit with 0, with nothing on standard error
but what the test expected; every line of its audit log must satisfy the schema, and every request must
have exactly the lines that it should have.

EGRESSD names the binary (build/egressd by default). EGRESSD_WORKERS is how many workers it is given where
a test does not say (1 by default, since pins, lookups and counts per client are each worker's own).
"""
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import jsonschema
import pytest

from client import Client
from dnsserver import DnsServer
from origins import Origin

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EGRESSD = os.environ.get("EGRESSD", os.path.join(ROOT, "build", "egressd"))
WORKERS = int(os.environ.get("EGRESSD_WORKERS", "1"))
PATIENCE = 20  # seconds until an event that must come counts as missing

with open(os.path.join(ROOT, "egressd", "audit.schema.json")) as schema_file:
    AUDIT_SCHEMA = json.load(schema_file)
AUDIT_LINE = jsonschema.Draft7Validator(AUDIT_SCHEMA)
# The same, with the action's part found here and not by the schema: four times as fast.
AUDIT_ACTIONS = {action: jsonschema.Draft7Validator({"$defs": AUDIT_SCHEMA["$defs"], **AUDIT_SCHEMA["$defs"][action]})
                 for action in AUDIT_SCHEMA["properties"]["action"]["enum"]}

# What is said without anything being wrong: the greeting, and that loopback entries are unusual.
ORDINARY = [r"egressd: serving on \S+", r"\S+:\d+:\d+: warning: .*loopback.*"]


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: waits long, or starts large clients (make slow, which make check runs)")
    config.addinivalue_line("markers", "load: takes long and needs a machine to itself (make load)")


_loopbacks = itertools.count(1)


def fresh_loopback():
    """An address of 127.0.0.0/8 that no other test uses, so that ports 80 and 443 are free on it."""
    n = next(_loopbacks)
    return f"127.{100 + os.getpid() % 150}.{n >> 8}.{n & 255 or 255}"


def free_port(host="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def matches(line, want):
    return all(line.get(key, None) == value for key, value in want.items())


def check_line(raw, number=0):
    """One line of an audit log, the number-th, without its end -> its members."""
    assert len(raw) < 4096 and not re.search(rb"[\x00-\x1f\x7f]", raw), raw

    def once(pairs):
        members = dict(pairs)
        assert len(members) == len(pairs), f"a member stands twice: {raw}"
        return members

    line = json.loads(raw.decode("utf-8"), object_pairs_hook=once)
    if number < 2 or line.get("action") not in AUDIT_ACTIONS:
        AUDIT_LINE.validate(line)
    else:
        AUDIT_ACTIONS[line["action"]].validate(line)
    return line


def check_accounts(lines, workers=1):
    """Exactly one allow, deny or fail for each request, exactly one close for each allow."""
    decided, closed = {}, {}
    for line in lines:
        if line["action"] in ("allow", "deny", "fail"):
            assert line["id"] not in decided, f"decided twice: {line}"
            decided[line["id"]] = line
        elif line["action"] == "close":
            assert line["id"] not in closed, f"closed twice: {line}"
            assert decided.get(line["id"], {}).get("action") == "allow", f"close of nothing: {line}"
            closed[line["id"]] = line
    for number, line in decided.items():
        assert line["action"] != "allow" or number in closed, f"allowed and never closed: {line}"
    for worker in range(1, workers + 1):
        ids = sorted(number for number in decided if (number - worker) % workers == 0)
        assert ids == [worker + i * workers for i in range(len(ids))], f"ids are missing: {ids}"


class Egressd:
    """One running egressd."""

    def __init__(self, folder, entries, options, dns, audit, listen, env, program,
                 list_path, audit_path, workers):
        self.folder = folder
        self.list_path = list_path or os.path.join(folder, "domains.txt")
        self.audit_path = audit_path or os.path.join(folder, "audit.jsonl")
        if entries is not None:
            self.write_list(entries)
        self.host, self.port = listen or ("127.0.0.1", free_port())
        argv = [program, "--allowlist", self.list_path, "--listen", self.address]
        if audit == "file":
            argv += ["--audit-log", self.audit_path]
        if dns is not None:
            argv += ["--dns", dns.address]
        self.workers = workers
        if workers is not None:
            argv += ["--workers", str(workers)]
        argv += options
        self.argv = argv
        self.expected = list(ORDINARY)
        self.accounts = audit == "file"  # check_accounts() at the end
        self.stderr = []
        self.stdout = b""
        self.exit_status = 0  # what stop() expects
        self.ending = False  # a test has told it to end
        self._clients = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder,
            stdout=subprocess.PIPE if audit in ("file", "stdout") else audit,
            env={**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1", **env})
        self._readers = [threading.Thread(target=self._read_stderr, daemon=True)]
        if self.process.stdout is not None:
            self._readers.append(threading.Thread(target=self._read_stdout, daemon=True))
        for reader in self._readers:
            reader.start()

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    # ---- what it says

    def _read_stderr(self):
        for raw in self.process.stderr:
            with self._changed:
                self.stderr.append(raw.decode("utf-8", "backslashreplace").rstrip("\n"))
                self._changed.notify_all()

    def _read_stdout(self):
        while True:
            data = os.read(self.process.stdout.fileno(), 65536)
            with self._changed:
                self.stdout += data
                self._changed.notify_all()
            if not data:
                return

    def expect(self, *patterns):
        """Lines on standard error that are no fault (whole line, regular expressions)."""
        self.expected += patterns
        return self

    def wait_stderr(self, pattern, count=1, timeout=PATIENCE):
        """Wait for count lines on standard error that match, and expect them."""
        self.expect(pattern)

        def found():
            return [line for line in self.stderr if re.fullmatch(pattern, line)]

        with self._changed:
            ok = self._changed.wait_for(
                lambda: len(found()) >= count or self.process.poll() is not None, timeout)
        assert ok and len(found()) >= count, f"no {pattern!r} on standard error: {self.stderr}"
        return found()

    def wait_ready(self):
        self.wait_stderr(r"egressd: serving on " + re.escape(self.address))

    # ---- audit log

    def audit(self, **want):
        """The lines so far whose members equal want; whole lines only."""
        try:
            with open(self.audit_path, "rb") as log:
                data = log.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if matches(line, want)]

    def wait_audit(self, count=1, timeout=PATIENCE, **want):
        """Wait until count lines match; returns the last of them."""
        end = time.monotonic() + timeout
        while True:
            found = self.audit(**want)
            if len(found) >= count:
                return found[-1]
            assert time.monotonic() < end and self.process.poll() is None, \
                f"only {len(found)} of {count} audit lines with {want}; the last are:\n" + \
                "\n".join(map(str, self.audit()[-8:]))
            time.sleep(0.005)

    # ---- requests

    def connect(self, timeout=PATIENCE, source=None):
        """A connection to the proxy: a Client."""
        client = Client(socket.create_connection((self.host, self.port), timeout, source))
        self._clients.append(client)
        return client

    def tunnel(self, target, first=b"", fields=""):
        """CONNECT target -> (client, answer)."""
        client = self.connect()
        client.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n".encode() + first)
        return client, client.read_answer("CONNECT")

    def request(self, method, url, fields="", body=b"", version="1.1"):
        """One plain request on a connection of its own -> answer."""
        client = self.connect()
        host = re.split("[/?]", url)[2]
        client.send(f"{method} {url} HTTP/{version}\r\nHost: {host}\r\n{fields}\r\n".encode() + body)
        answer = client.read_answer(method)
        client.close()
        return answer

    def get(self, url, fields=""):
        return self.request("GET", url, fields)

    # ---- life

    def write_list(self, entries):
        text = entries if isinstance(entries, str) else "\n".join(entries) + "\n"
        with open(self.list_path + ".new", "w") as new:
            new.write(text)
        os.rename(self.list_path + ".new", self.list_path)

    def kill(self, number):
        self.ending |= number in (signal.SIGTERM, signal.SIGINT)
        self.process.send_signal(number)

    def reload(self, entries):
        """
        A new list by SIGHUP; returns when it is in force (or refused). egressd stands still from before the
        list changes until it has the signal: else the change may lead to a reload of its own before.
        """
        before = len(self.audit(action="reload"))
        self.kill(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.write_list(entries)
        self.kill(signal.SIGHUP)
        self.kill(signal.SIGCONT)
        return self.wait_audit(count=before + 1, action="reload")

    def stop(self, number=signal.SIGTERM):
        """End it and check everything that holds for every run."""
        for client in self._clients:
            client.close()
        if self.process.poll() is None and not self.ending:  # a second one would cut its drain short
            self.process.send_signal(number)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("egressd does not end on SIGTERM") from None
        for reader in self._readers:
            reader.join(PATIENCE)
        unexpected = [line for line in self.stderr
                      if not any(re.fullmatch(pattern, line) for pattern in self.expected)]
        assert not unexpected, "unexpected on standard error:\n" + "\n".join(unexpected)
        assert status == self.exit_status
        self.check_log()

    def check_log(self):
        data = self.stdout
        if os.path.isfile(self.audit_path):
            with open(self.audit_path, "rb") as log:
                data = log.read()
        self.check_lines(data)

    def check_lines(self, data):
        assert data == b"" or data.endswith(b"\n"), "the log ends in a torn line"
        lines = [check_line(raw, number) for number, raw in enumerate(data.split(b"\n")[:-1])]
        if self.accounts:
            check_accounts(lines, self.workers)
            assert [line["action"] for line in (lines[0], lines[-1])] == ["start", "stop"]

    def dump(self):
        print("---- egressd", " ".join(self.argv[1:]))
        print("\n".join(self.stderr))
        try:
            with open(self.audit_path, errors="backslashreplace") as log:
                lines = log.read()
        except OSError:
            lines = self.stdout.decode("utf-8", "backslashreplace")
        print(lines if len(lines) < 10000 else f"{lines[:3000]}\n...\n{lines[-6000:]}")


@pytest.fixture
def dns():
    with DnsServer() as server:
        yield server


@pytest.fixture
def egressd(tmp_path, dns):
    """Starts egressd: egressd(entries, *options, audit="file"|"stdout"|descriptor, wait=True).

    workers None leaves their number to egressd. entries None: list_path is there already. program
    runs EGRESSD in some way of its own."""
    running = []

    def start(entries, *options, use_dns=dns, audit="file", wait=True, listen=None, env=None,
              program=EGRESSD, list_path=None, audit_path=None, workers=WORKERS):
        folder = tmp_path / f"egressd{len(running)}"
        folder.mkdir()
        one = Egressd(str(folder), entries, list(options), use_dns, audit, listen, env or {},
                      program, list_path, audit_path, workers)
        running.append(one)
        if wait:
            one.wait_ready()
        return one

    yield start
    faults = []
    for one in running:
        try:
            one.stop()
        except Exception as fault:  # the others must be ended too
            faults.append(fault)
        one.dump()
    if faults:
        raise faults[0]


@pytest.fixture
def run_egressd():
    """Runs it to its end: for wrong usage, --check, --explain and the like."""
    def run(*options, stdin=None, env=None):
        return subprocess.run([EGRESSD, *options], input=stdin, capture_output=True, text=True,
                              timeout=60, env={**os.environ, **(env or {})}, check=False)
    return run


@pytest.fixture
def loopback():
    """Fresh addresses of 127.0.0.0/8: loopback()."""
    return fresh_loopback


@pytest.fixture
def origin():
    """
    Starts an origin on a fresh loopback address: origin(HttpOrigin, port=443, ...), or with a handler
    of connections: origin(sink).
    """
    running = []

    def start(kind=Origin, *args, host=None, port=0, **more):
        if not isinstance(kind, type):
            kind, args = Origin, (kind, *args)
        try:
            one = kind(*args, host=host or fresh_loopback(), port=port, **more)
        except PermissionError:
            pytest.skip(f"listening on port {port} needs root "
                        "(or sysctl net.ipv4.ip_unprivileged_port_start=0)")
        running.append(one)
        return one

    yield start
    for one in running:
        one.stop()
        one.dump()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate, key) for every name below .test, self-signed."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=origin.test", "-addext",
                    "subjectAltName=DNS:allowed.test,DNS:other.test,DNS:origin.test"],
                   check=True, capture_output=True)
    return cert, key
