"""The program's life: start and its refusals, reload, drain, end, and staying below its limits."""
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import EGRESSD, ROOT, free_port
from dnsserver import A
from origins import HttpOrigin, Origin, script, sink

SAN = "san" in EGRESSD.split(os.sep)  # under sanitizers nothing is timed


@pytest.fixture
def list_file(tmp_path):
    path = tmp_path / "domains.txt"
    path.write_text("allowed.test\n")
    return str(path)


@pytest.fixture
def tunnel_to(egressd, dns, origin):
    """A raw tunnel's way to an origin: (proxy, origin, target)."""
    def start(handler=None, options=(), extra=(), **more):
        up = origin(Origin, handler) if handler else origin()
        dns.add("allowed.test", A(up.host))
        proxy = egressd([f"allowed.test:{up.port}", up.host, *extra], *options, **more)
        return proxy, up, f"allowed.test:{up.port}"
    return start


def one_line(result, status, *parts):
    """Ended with status, said exactly one line on standard error, and that has every part."""
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.startswith("egressd: ") and result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.endswith("\n")
    for part in parts:
        assert part in result.stderr, result.stderr


# ---- the command line

@pytest.mark.parametrize("options, part", [
    ([], "--allowlist FILE is needed"),
    (["--nosuch"], "--nosuch"),
    (["--allowlist"], "--allowlist needs a value"),
    (["--allowlist", "LIST", "--listen"], "--listen needs a value"),
    (["--allowlist", "LIST", "--listen", "localhost:1"], "localhost:1"),
    (["--allowlist", "LIST", "--listen", "127.0.0.1:0"], "127.0.0.1:0"),
    (["--allowlist", "LIST", "--listen=127.0.0.1"], "127.0.0.1"),
    (["--allowlist", "LIST", "--dns", "resolver.test"], "resolver.test"),
    (["--allowlist", "LIST", "--header-timeout", "soon"], "soon"),
    (["--allowlist", "LIST", "--idle-timeout", "0"], "--idle-timeout"),
    (["--allowlist", "LIST", "--max-connections=-1"], "-1"),
    (["--allowlist", "LIST", "--never", "10.0.0.0"], "10.0.0.0"),
    (["--allowlist", "LIST", "--allowlist", "LIST"], "--allowlist is given twice"),
    (["--allowlist", "LIST", "--json"], "--json"),
    (["--check"], "--check needs a value"),
    (["--check", "LIST", "--allowlist", "LIST"], "--allowlist has no meaning with --check"),
    (["--explain", "0x7f.1", "--allowlist", "LIST"], "0x7f.1"),
    (["--health", "3128"], "3128"),
    (["LIST"], "unexpected argument"),
    (["--workers", "0", "--allowlist", "LIST"], "--workers"),
    (["--metrics", "9100", "--allowlist", "LIST"], "--metrics"),
], ids=lambda value: " ".join(value) or "none" if isinstance(value, list) else None)
def test_wrong_usage(run_egressd, list_file, options, part):
    result = run_egressd(*[list_file if o == "LIST" else o for o in options])
    one_line(result, 2, part)


def test_help_and_version(run_egressd):
    shown = run_egressd("--help")
    assert shown.returncode == 0 and shown.stderr == ""
    for option in ("--allowlist FILE", "--listen ADDR:PORT", "--never ADDR/LEN"):
        assert option in shown.stdout
    version = run_egressd("--version")
    assert version.returncode == 0 and re.fullmatch(r"egressd \d+\.\d+\.\d+\n", version.stdout)


def test_output_that_cannot_be_written(list_file):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([EGRESSD, "--help"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"standard output" in done.stderr


# ---- --check and --explain

def test_check_good(run_egressd, list_file):
    done = run_egressd("--check", list_file)
    assert done.returncode == 0 and done.stdout == ""
    assert re.fullmatch(re.escape(list_file) + r": usable: 1 entry, 0 warnings\n", done.stderr)


def test_check_bad(run_egressd, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_text("good.test\n  *.bad.test\n0.0.0.0/0\n")
    done = run_egressd("--check", str(path))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{path}:2:3", f"{path}:3:9"]
    assert all(": error: " in line for line in lines)


def test_check_standard_input(run_egressd):
    assert run_egressd("--check", "-", stdin="good.test\n").returncode == 0
    assert run_egressd("--check", "-", stdin="*\n").returncode == 1


@pytest.mark.parametrize("text, status, want", [
    ("good.test\n", 0, []),
    ("good.test\ngood.test\n", 0, [(2, 1, "warning", "good.test")]),
    ("good.test\n *\n", 1, [(2, 2, "error", "*")]),
])
def test_check_json(run_egressd, text, status, want):
    done = run_egressd("--check", "-", "--json", stdin=text)
    assert done.returncode == status and done.stderr == ""
    found = json.loads(done.stdout)
    assert [(d["line"], d["column"], d["severity"], d["entry"]) for d in found] == want
    assert all(set(d) == {"line", "column", "severity", "entry", "text"} and d["text"] for d in found)


def test_check_json_of_many(run_egressd):
    done = run_egressd("--check", "-", "--json", stdin="*\n" * 500)
    assert done.returncode == 1
    assert [d["line"] for d in json.loads(done.stdout)] == list(range(1, 501))


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_check_unreadable(run_egressd, tmp_path, json_option):
    done = run_egressd("--check", str(tmp_path / "none"), *json_option)
    assert done.returncode == 1
    if json_option:
        assert [d["severity"] for d in json.loads(done.stdout)] == ["error"]
    else:
        assert "No such file" in done.stderr and done.stderr.count("\n") == 1


def test_check_says_why_as_serving_does(run_egressd, tmp_path):
    """What is no file, or too large for one, is said in the same words by both."""
    fifo, large = tmp_path / "fifo", tmp_path / "large"
    os.mkfifo(fifo)
    with open(large, "wb") as file:
        file.truncate((256 << 20) + 1)
    for path, why in ((fifo, "not a regular file"), (large, "larger than 256 MiB"), (tmp_path, "Is a directory")):
        line = f"{path}: error: cannot read: {why}\n"
        assert run_egressd("--check", str(path)).stderr == line
        assert run_egressd("--allowlist", str(path), "--dns", "127.0.0.1").stderr == line


@pytest.mark.parametrize("host, lines, status", [
    ("a.example.com", ["CONNECT: allow LIST:3: .example.com", "HTTP: allow LIST:3: .example.com"], 0),
    ("a.example.com:8443", ["CONNECT: deny LIST:3: .example.com", "HTTP: deny LIST:3: .example.com"], 1),
    ("EXAMPLE.com.:443", ["CONNECT: allow LIST:3: .example.com", "HTTP: deny LIST:3: .example.com"], 0),
    ("model.test:8080", ["CONNECT: allow LIST:1: model.test:8080",
                         "HTTP: allow LIST:1: model.test:8080"], 0),
    ("model.test", ["CONNECT: deny LIST:1: model.test:8080", "HTTP: deny LIST:1: model.test:8080"], 1),
    ("other.test", ["CONNECT: deny no entry", "HTTP: deny no entry"], 1),
    ("2001:db8::7", ["CONNECT: allow LIST:5: 2001:db8::/32", "HTTP: allow LIST:5: 2001:db8::/32"], 0),
    ("[2001:db8::7]:1234", ["CONNECT: deny LIST:5: 2001:db8::/32", "HTTP: allow LIST:5: 2001:db8::/32"], 0),
])
def test_explain(run_egressd, tmp_path, host, lines, status):
    path = tmp_path / "list"
    path.write_text("model.test:8080\n# comment\n.example.com\n\n2001:db8::/32\n")
    done = run_egressd("--explain", host, "--allowlist", str(path))
    assert done.stdout.splitlines() == [line.replace("LIST", str(path)) for line in lines]
    assert done.returncode == status and done.stderr == ""


# ---- start

def test_unusable_list(run_egressd, tmp_path):
    path = tmp_path / "bad"
    path.write_text("good.test\nhttps://bad.test/\n*\n")
    done = run_egressd("--allowlist", str(path), "--listen", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [f"{path}:2:1", f"{path}:3:1"]


@pytest.mark.parametrize("content", [None, "", "# nothing\n"])
def test_missing_or_empty_list(run_egressd, tmp_path, content):
    path = tmp_path / "list"
    if content is not None:
        path.write_text(content)
    done = run_egressd("--allowlist", str(path), "--listen", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert done.stderr.startswith(str(path)) and done.stderr.count("\n") == 1


def start_options(list_file, port, *more):
    return ["--allowlist", list_file, "--listen", f"127.0.0.1:{port}", "--dns", "127.0.0.1", *more]


@pytest.mark.parametrize("share", [False, True], ids=["plain", "with SO_REUSEPORT"])
def test_address_in_use(run_egressd, list_file, share):
    with socket.socket() as other:
        if share:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        one_line(run_egressd(*start_options(list_file, port)), 1, f"127.0.0.1:{port}", "in use")


def test_address_of_another_machine(run_egressd, list_file):
    done = run_egressd("--allowlist", list_file, "--dns", "127.0.0.1", "--listen", "192.0.2.1:3128")
    one_line(done, 1, "192.0.2.1:3128")


def test_second_listener_in_use(run_egressd, list_file):
    """Nothing is served if one of several cannot be opened."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run_egressd(*start_options(list_file, free_port(), "--listen", f"127.0.0.1:{port}"))
        one_line(done, 1, f"127.0.0.1:{port}")


@pytest.mark.parametrize("log", ["/nonexistent/log", "/", "/dev/full"])
def test_unwritable_audit_log(run_egressd, list_file, log):
    done = run_egressd(*start_options(list_file, free_port(), "--audit-log", log))
    assert done.returncode == 1
    assert "serving" not in done.stderr and "audit log" in done.stderr
    assert log == "/dev/full" or done.stderr.count("\n") == 1


def test_serving_on_every_listener(egressd):
    port = free_port()
    proxy = egressd("allowed.test", "--listen", f"127.0.0.1:{port}")
    proxy.wait_stderr(f"egressd: serving on 127.0.0.1:{port}")
    assert proxy.stderr[0] == f"egressd: serving on {proxy.address}"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"CONNECT denied.test:443 HTTP/1.1\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 403"


def test_ipv6_listener(egressd):
    if not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    proxy = egressd("allowed.test", listen=("::1", port))
    _, answer = proxy.tunnel("denied.test:443")
    assert answer.status == 403
    assert proxy.wait_audit(action="deny")["client"].startswith("[::1]:")


def test_audit_log_on_standard_output(egressd):
    proxy = egressd("allowed.test", audit="stdout")
    _, answer = proxy.tunnel("denied.test:443")
    assert answer.status == 403
    proxy.stop()
    actions = [json.loads(line)["action"] for line in proxy.stdout.splitlines()]
    assert actions == ["start", "deny", "stop"]


def cpu_seconds(process):
    """What it has used of a CPU, which other programs do not change as they do the time."""
    with open(f"/proc/{process.pid}/schedstat", encoding="ascii") as stat:
        return int(stat.read().split()[0]) / 1e9


@pytest.mark.skipif(SAN, reason="sanitizers take their time to start")
def test_ready_after_20_ms_of_work(list_file, tmp_path):
    """Up to "serving"; it waits for nothing, so on a quiet machine that is the time as well."""
    times = []
    for _ in range(5):
        port = free_port()
        with subprocess.Popen([EGRESSD, *start_options(list_file, port), "--audit-log",
                               str(tmp_path / "log")], stderr=subprocess.PIPE) as process:
            line = process.stderr.readline()
            times.append(cpu_seconds(process))
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert line == f"egressd: serving on 127.0.0.1:{port}\n".encode()
    print("ready after", sorted(times))
    assert min(times) < 0.020


# ---- health

def test_health(egressd, run_egressd):
    proxy = egressd("allowed.test")
    done = run_egressd("--health", proxy.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    client = proxy.connect()
    for _ in range(3):  # it asks for nothing, so the connection stays and no line is written
        client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.read_answer()
        assert answer.status == 204 and answer.field("Proxy-Status") == "egressd"
    client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
    assert [client.read_answer().status for _ in range(200)] == [204] * 200
    assert [line["action"] for line in proxy.audit()] == ["start"]


def test_health_of_nothing(run_egressd):
    one_line(run_egressd("--health", f"127.0.0.1:{free_port()}"), 1, "nothing listens")


def test_health_of_something_else(run_egressd, origin):
    other = origin(Origin, script(("until", b"\r\n\r\n"), b"HTTP/1.1 204 No Content\r\n\r\n"))
    one_line(run_egressd("--health", f"{other.host}:{other.port}"), 1, "no egressd")
    closing = origin(Origin, script(("read", 1), "close"))
    one_line(run_egressd("--health", f"{closing.host}:{closing.port}"), 1, "closed")
    endless = origin(Origin, script(b"x" * 10000, "read-all"))
    one_line(run_egressd("--health", f"{endless.host}:{endless.port}"), 1, "too long")


def test_health_while_draining(tunnel_to, run_egressd):
    proxy, _, target = tunnel_to()
    waiting = proxy.connect()
    waiting.send("OPTIONS * HTTP/1.1\r\nHo")
    assert health_of(proxy) == 204  # so the first half was read before the signal
    client, _ = proxy.tunnel(target)
    proxy.kill(signal.SIGTERM)
    wait_refused(proxy)
    waiting.send("st: x\r\n\r\n")
    assert waiting.read_answer().status == 503
    client.half_close()
    assert client.read_all() == b""
    waiting.close()
    assert proxy.process.wait(20) == 0


def health_of(proxy):
    client = proxy.connect()
    answer = client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").read_answer()
    client.close()
    return answer.status


# ---- reload

def status_of(proxy, target):
    client, answer = proxy.tunnel(target)
    client.close()
    return answer.status


def test_reload_by_signal(tunnel_to):
    proxy, up, target = tunnel_to()
    assert status_of(proxy, target) == 200
    line = proxy.reload(["other.test"])
    assert line["code"] == "reloaded"
    assert status_of(proxy, target) == 403
    proxy.reload([f"allowed.test:{up.port}", up.host])
    assert status_of(proxy, target) == 200


@pytest.mark.parametrize("broken", ["*\n", "", "# none\n", "https://x.test/\n", "a.test\n0.0.0.0/0\n", None])
def test_broken_reload_keeps_the_old_list(tunnel_to, broken):
    proxy, _, target = tunnel_to()
    proxy.expect(r"\S+(:\d+:\d+)?: error: .*", r"egressd: .*: the new list is unusable.*")
    if broken is None:
        os.unlink(proxy.list_path)
        proxy.kill(signal.SIGHUP)
        line = proxy.wait_audit(action="reload")
    else:
        line = proxy.reload(broken)
    assert line["code"] == "list-error"
    proxy.wait_stderr(r"egressd: .*: the new list is unusable.*")
    assert status_of(proxy, target) == 200
    assert proxy.reload(["other.test"])["code"] == "reloaded"
    assert status_of(proxy, target) == 403


def by_rename(path, text):
    with open(path + ".tmp", "w", encoding="ascii") as new:
        new.write(text)
    os.rename(path + ".tmp", path)


def by_truncation(path, text):
    """As editors that write in place: for a moment it is empty."""
    with open(path, "w", encoding="ascii") as same:
        same.flush()
        same.write(text)


@pytest.mark.parametrize("change", [by_rename, by_truncation])
def test_reload_by_file_event(tunnel_to, change):
    proxy, _, target = tunnel_to()
    change(proxy.list_path, "other.test\n")
    proxy.wait_audit(action="reload", code="reloaded")
    assert status_of(proxy, target) == 403
    assert len(proxy.audit(action="reload")) == 1


def test_reload_by_symlink_swap(egressd, dns, origin, tmp_path):
    """As a ConfigMap is mounted: domains.txt -> ..data/domains.txt, ..data -> ..N."""
    up = origin()
    dns.add("allowed.test", A(up.host))
    mount = tmp_path / "mount"
    for version, text in (("..1", f"allowed.test:{up.port}\n{up.host}\n"), ("..2", "other.test\n")):
        (mount / version).mkdir(parents=True)
        (mount / version / "domains.txt").write_text(text)
    (mount / "..data").symlink_to("..1")
    (mount / "domains.txt").symlink_to("..data/domains.txt")
    proxy = egressd("placeholder.test", "--help", wait=False)  # only for its folder and its checks
    proxy.process.wait(20)
    proxy.accounts = False
    argv = [mount / "domains.txt" if a == proxy.list_path else a for a in proxy.argv if a != "--help"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        try:
            while b"serving on" not in process.stderr.readline():
                assert process.poll() is None
            proxy.process = process
            assert status_of(proxy, f"allowed.test:{up.port}") == 200
            (mount / "..data_tmp").symlink_to("..2")
            os.rename(mount / "..data_tmp", mount / "..data")
            shutil.rmtree(mount / "..1")
            proxy.wait_audit(action="reload", code="reloaded")
            assert status_of(proxy, f"allowed.test:{up.port}") == 403
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_list_behind_a_link_into_another_folder(egressd, dns, origin):
    """The folder that the file is really in is watched as well."""
    up = origin()
    dns.add("allowed.test", A(up.host))
    proxy = egressd([f"allowed.test:{up.port}", up.host])
    real = pathlib.Path(proxy.folder) / "elsewhere"
    real.mkdir()
    (real / "list").write_text(f"allowed.test:{up.port}\n{up.host}\n")
    os.symlink(real / "list", proxy.list_path + ".link")
    os.rename(proxy.list_path + ".link", proxy.list_path)
    proxy.wait_audit(action="reload", count=1)
    assert status_of(proxy, f"allowed.test:{up.port}") == 200
    proxy.wait_audit(action="close")
    assert [health_of(proxy), health_of(proxy)] == [204, 204]  # the log's own events are over
    by_rename(str(real / "list"), "other.test\n")
    proxy.wait_audit(action="reload", count=2)
    assert status_of(proxy, f"allowed.test:{up.port}") == 403


def test_log_beside_the_list_causes_no_reload(tunnel_to):
    """The audit log of these tests is in the list's folder: its lines are events there."""
    proxy, up, target = tunnel_to()
    for _ in range(20):
        assert status_of(proxy, target) == 200
    by_rename(proxy.list_path, f"other.test\nallowed.test:{up.port}\n{up.host}\n")
    end = time.monotonic() + 20
    while not proxy.audit(action="reload") and time.monotonic() < end:
        assert status_of(proxy, target) == 200  # no quiet in the folder, and yet it is read
    assert len(proxy.audit(action="reload")) == 1
    for _ in range(20):
        assert status_of(proxy, target) == 200
    by_rename(proxy.list_path, "other.test\n")
    proxy.wait_audit(action="reload", count=2)
    assert len(proxy.audit(action="reload")) == 2


def test_revoked_tunnel_ends(tunnel_to):
    proxy, up, target = tunnel_to(extra=["other.test"])
    client, _ = proxy.tunnel(target, first=b"hello")
    assert client.read(5) == b"hello"
    proxy.reload(["other.test"])
    assert client.is_reset()
    proxy.wait_audit(action="close", code="not-listed", host="allowed.test")
    up.wait_ended()


def test_tunnel_that_stays_listed_goes_on(tunnel_to):
    proxy, up, target = tunnel_to()
    client, _ = proxy.tunnel(target, first=b"hello")
    assert client.read(5) == b"hello"
    proxy.reload(["new.test", f".allowed.test:{up.port}", up.host])
    client.send(b"again")
    assert client.read(5) == b"again"


def test_tunnel_whose_address_is_revoked_ends(tunnel_to):
    """The name is still listed, but nothing vouches for the special address any more."""
    proxy, up, target = tunnel_to()
    client, _ = proxy.tunnel(target, first=b"hello")
    assert client.read(5) == b"hello"
    proxy.reload([f"allowed.test:{up.port}"])
    assert client.is_reset()
    proxy.wait_audit(action="close", code="not-listed")


def test_tunnel_whose_port_is_revoked_ends(tunnel_to):
    proxy, up, target = tunnel_to()
    client, _ = proxy.tunnel(target, first=b"hello")
    assert client.read(5) == b"hello"
    proxy.reload(["allowed.test", up.host])
    assert client.is_reset()
    proxy.wait_audit(action="close", code="not-listed")


def test_revoked_while_looking_up(egressd, dns):
    dns.behave("allowed.test", hold=True)
    proxy = egressd("allowed.test")
    client = proxy.connect()
    client.send("CONNECT allowed.test:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert dns.wait_query("allowed.test", "A")
    proxy.reload("other.test")
    answer = client.read_answer("CONNECT")
    assert (answer.status, answer.code) == (403, "not-listed")
    proxy.wait_audit(action="deny", code="not-listed")
    dns.release("allowed.test")


def test_revoked_exchange_ends(egressd, dns, origin):
    """In the middle of an answer the connection is reset; before its first byte there is a 403."""
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    up = origin(Origin, lambda conn: (conn.send(half) if b"/half" in conn.read_until(b"\r\n\r\n") else None,
                                      conn.read_all()))
    dns.add("allowed.test", A(up.host))
    proxy = egressd([f"allowed.test:{up.port}", up.host])
    begun, silent = proxy.connect(), proxy.connect()
    begun.send(f"GET http://allowed.test:{up.port}/half HTTP/1.1\r\nHost: x\r\n\r\n")
    begun.read_until(b"half")
    silent.send(f"GET http://allowed.test:{up.port}/none HTTP/1.1\r\nHost: x\r\n\r\n")
    proxy.wait_audit(action="allow", count=2)
    proxy.reload("other.test")
    assert begun.is_reset()
    answer = silent.read_answer()
    assert (answer.status, answer.code) == (403, "not-listed")
    proxy.wait_audit(action="close", code="not-listed", count=2)


def test_kept_upstream_is_dropped_when_revoked(egressd, dns, origin):
    up = origin(HttpOrigin)
    dns.add("allowed.test", A(up.host))
    proxy = egressd([f"allowed.test:{up.port}", up.host])
    client = proxy.connect()
    ask = f"GET http://allowed.test:{up.port}/ HTTP/1.1\r\nHost: x\r\n\r\n"
    assert client.send(ask).read_answer().status == 200
    proxy.reload("other.test")
    up.wait_ended()
    assert client.send(ask).read_answer().status == 403


def test_many_reloads_under_load(tunnel_to):
    """Good and broken in turn: not one request is refused, and the socket never closes."""
    proxy, up, target = tunnel_to()
    proxy.expect(r"\S+:\d+:\d+: error: .*", r"egressd: .*: the new list is unusable.*")
    for i in range(20):
        proxy.write_list(["*"] if i % 2 else [f"allowed.test:{up.port}", up.host, f"n{i}.test"])
        proxy.kill(signal.SIGHUP)
        for _ in range(5):
            assert status_of(proxy, target) == 200


# ---- end

def wait_refused(proxy):
    """Until nobody listens any more."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection((proxy.host, proxy.port), 1).close()
        except ConnectionResetError:
            pass  # it was in the queue when that was closed
        except ConnectionRefusedError:
            return
    raise AssertionError("it still listens")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_drain(tunnel_to, number):
    """Idle clients are closed, what runs is finished, then it ends with 0."""
    proxy, _, target = tunnel_to(script(("read", 5), b"first", ("read", 5), b"last"))
    idle = proxy.connect()
    client, _ = proxy.tunnel(target, first=b"hello")
    assert client.read(5) == b"first"
    proxy.kill(number)
    assert idle.ended()
    wait_refused(proxy)
    assert proxy.process.poll() is None
    client.send(b"world")
    assert client.read(4) == b"last"
    client.half_close()
    assert proxy.process.wait(20) == 0


def test_drain_of_nothing_is_at_once(egressd):
    proxy = egressd("allowed.test")
    proxy.connect()
    begin = time.monotonic()
    proxy.kill(signal.SIGTERM)
    assert proxy.process.wait(20) == 0
    assert time.monotonic() - begin < 5


def test_drain_timeout(tunnel_to):
    proxy, up, target = tunnel_to(sink, options=["--drain-timeout", "1"])
    client, _ = proxy.tunnel(target)
    begin = time.monotonic()
    proxy.kill(signal.SIGTERM)
    assert client.is_reset()
    assert proxy.process.wait(20) == 0
    assert 0.9 < time.monotonic() - begin < 15
    assert [line["code"] for line in proxy.audit(action="close")] == ["draining"]
    up.wait_ended()


def test_drain_without_time(tunnel_to):
    proxy, _, target = tunnel_to(sink, options=["--drain-timeout", "0"])
    client, _ = proxy.tunnel(target)
    proxy.kill(signal.SIGTERM)
    assert client.is_reset()
    assert proxy.process.wait(20) == 0


def test_requests_in_flight_finish_in_a_drain(egressd, dns, origin):
    up = origin(Origin, script(("until", b"\r\n\r\n"), b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf",
                               ("read", 0), "read-all"))
    dns.add("allowed.test", A(up.host))
    proxy = egressd([f"allowed.test:{up.port}", up.host])
    client = proxy.connect()
    client.send(f"GET http://allowed.test:{up.port}/ HTTP/1.1\r\nHost: x\r\n\r\n")
    client.read_until(b"half")
    late = proxy.connect()
    late.send(f"CONNECT allowed.test:{up.port} HT")
    assert health_of(proxy) == 204  # so the first half was read before the signal
    proxy.kill(signal.SIGTERM)
    wait_refused(proxy)
    late.send("TP/1.1\r\n\r\n")
    answer = late.read_answer("CONNECT")
    assert (answer.status, answer.code) == (503, "draining")
    up.connections[0].send(b"more")
    assert client.read(4) == b"more"
    assert client.ended()
    assert proxy.process.wait(20) == 0


def test_an_answer_in_a_drain_says_that_it_is_the_last(egressd, dns, origin):
    """Who would have kept its connection is told before it is closed."""
    go = threading.Event()

    def handler(conn):
        conn.read_until(b"\r\n\r\n")
        assert go.wait(20)
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        conn.read_all()

    up = origin(Origin, handler)
    dns.add("allowed.test", A(up.host))
    proxy = egressd([f"allowed.test:{up.port}", up.host])
    client = proxy.connect()
    client.send(f"GET http://allowed.test:{up.port}/ HTTP/1.1\r\nHost: x\r\n\r\n")
    up.wait_received(b"\r\n\r\n")
    proxy.kill(signal.SIGTERM)
    wait_refused(proxy)
    go.set()
    answer = client.read_answer()
    assert (answer.status, answer.body, answer.field("Connection")) == (200, b"ok", "close")
    assert client.ended()
    client.close()
    assert proxy.process.wait(20) == 0


def test_second_signal_ends_at_once(tunnel_to):
    proxy, _, target = tunnel_to(sink)
    client, _ = proxy.tunnel(target)
    proxy.kill(signal.SIGTERM)
    wait_refused(proxy)
    proxy.kill(signal.SIGINT)
    assert proxy.process.wait(20) == 128 + signal.SIGINT
    proxy.exit_status, proxy.accounts = 128 + signal.SIGINT, False
    client.close()


def test_log_is_reopened(tunnel_to):
    proxy, _, target = tunnel_to()
    assert status_of(proxy, target) == 200
    proxy.wait_audit(action="close")
    os.rename(proxy.audit_path, proxy.audit_path + ".1")
    proxy.kill(signal.SIGUSR1)
    end = time.monotonic() + 20
    while not os.path.exists(proxy.audit_path) and time.monotonic() < end:
        time.sleep(0.005)
    assert status_of(proxy, target) == 200
    proxy.wait_audit(action="close")
    proxy.accounts = False  # the log is in two files
    with open(proxy.audit_path + ".1", encoding="ascii") as old:
        assert [json.loads(line)["action"] for line in old] == ["start", "allow", "close"]


# ---- limits

def test_slow_head(egressd):
    """408 after the header time."""
    proxy = egressd("allowed.test", "--header-timeout", "1")
    client = proxy.connect()
    client.send("CONNECT allowed.test:443 HTTP/1.1\r\n")
    answer = client.read_answer("CONNECT")
    assert (answer.status, answer.code) == (408, "timeout")
    assert client.ended()
    assert "host" not in proxy.wait_audit(action="deny", code="timeout")


def test_trickled_head_is_not_extended(egressd):
    """The time runs from the first byte, however steadily more come."""
    proxy = egressd("allowed.test", "--header-timeout", "1")
    client = proxy.connect()
    client.send("CONNECT allowed.test:443 HTTP/1.1\r\nX: ")
    begin = time.monotonic()
    client.sock.settimeout(0.05)
    data = b""
    while not data and time.monotonic() - begin < 20:
        try:
            client.send("x")
            data = client.sock.recv(4096)
        except TimeoutError:
            pass
    assert data.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - begin < 10


def test_too_many_of_one_client(egressd, dns, origin):
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    proxy = egressd([f"allowed.test:{up.port}", up.host], "--max-per-client", "2", workers=1)
    kept = [proxy.tunnel(f"allowed.test:{up.port}")[0] for _ in range(2)]
    client, answer = proxy.tunnel(f"allowed.test:{up.port}")
    assert (answer.status, answer.code) == (429, "limit")
    assert client.ended()
    proxy.wait_audit(action="deny", code="limit")
    other = proxy.connect(source=("127.0.0.2", 0))  # another client is not concerned
    other.send(f"CONNECT allowed.test:{up.port} HTTP/1.1\r\n\r\n")
    assert other.read_answer("CONNECT").status == 200
    kept[0].close()
    client.close()
    proxy.wait_audit(action="close")
    end = time.monotonic() + 20
    while (status := status_of(proxy, f"allowed.test:{up.port}")) == 429 and time.monotonic() < end:
        pass  # the refused one may still be on its way out
    assert status == 200


def test_connection_limit_pauses_accepting(tunnel_to):
    """Clients above it wait in the kernel, nothing spins, and they are served when there is room."""
    proxy, up, target = tunnel_to(options=["--max-connections", "3"], workers=1)
    kept = [proxy.tunnel(target)[0] for _ in range(3)]
    waiting = []
    for _ in range(5):
        client = proxy.connect()
        client.send(f"CONNECT {target} HTTP/1.1\r\n\r\n")
        waiting.append(client)
    before = cpu_seconds(proxy.process)
    kept[0].send(b"alive")
    assert kept[0].read(5) == b"alive"
    waiting[0].sock.settimeout(1)
    with pytest.raises(TimeoutError):
        waiting[0].sock.recv(1)
    assert cpu_seconds(proxy.process) - before < 0.2
    waiting[0].sock.settimeout(20)
    for client in kept:
        client.close()
    for client in waiting[:3]:
        assert client.read_answer("CONNECT").status == 200
        client.close()
    for client in waiting[3:]:
        assert client.read_answer("CONNECT").status == 200


def test_open_files_limit(egressd, dns, origin, tmp_path):
    """With few descriptors it stays below their limit, serves, and does not spin."""
    up = origin(sink)
    dns.add("allowed.test", A(up.host))
    wrapper = tmp_path / "limited"
    wrapper.write_text(f"#!/bin/sh\nulimit -n 100\nexec {EGRESSD} \"$@\"\n")
    wrapper.chmod(0o755)
    proxy = egressd([f"allowed.test:{up.port}", up.host], wait=False, workers=1)
    proxy.wait_ready()
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(20) == 0
    os.unlink(proxy.audit_path)
    argv = [str(wrapper), *proxy.argv[1:]]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        try:
            while b"serving on" not in process.stderr.readline():
                assert process.poll() is None
            proxy.process = process
            target = f"allowed.test:{up.port}"
            clients = []
            for _ in range(60):  # (100 - 64) / 4 = 9 of them are served at a time
                clients.append(proxy.connect())
                clients[-1].send(f"CONNECT {target} HTTP/1.1\r\n\r\n")
            for client in clients[:9]:
                assert client.read_answer("CONNECT").status == 200
            assert len(os.listdir(f"/proc/{process.pid}/fd")) < 60
            before = cpu_seconds(process)
            clients[9].sock.settimeout(1)
            with pytest.raises(TimeoutError):
                clients[9].sock.recv(1)
            clients[9].sock.settimeout(20)
            assert cpu_seconds(process) - before < 0.2
            for i, client in enumerate(clients):
                if i >= 9:
                    assert client.read_answer("CONNECT").status == 200
                client.close()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_more_connections_than_files(egressd):
    """What --max-connections asks for is cut to what the hard limit allows, and says so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > 4_000_000:
        pytest.skip("the limit of open files is beyond what may be asked for")
    proxy = egressd("allowed.test", "--max-connections", "1048576")
    proxy.wait_stderr(r"egressd: the limit of open files allows \d+ connections, not 1048576")


@pytest.mark.skipif(SAN, reason="sanitizers have their own memory")
def test_idle_tunnels_cost_little(tunnel_to):
    """Memory of an idle tunnel, and no time at all."""
    proxy, up, target = tunnel_to(sink, options=["--max-connections", "1000"])
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1024:
        pytest.skip("too few open files for this test")
    first = [proxy.tunnel(target)[0] for _ in range(20)]
    before = memory_kib(proxy.process)
    more = [proxy.tunnel(target)[0] for _ in range(200)]
    grown = memory_kib(proxy.process) - before
    used = cpu_seconds(proxy.process)
    first[0].sock.settimeout(2)
    with pytest.raises(TimeoutError):
        first[0].sock.recv(1)
    used = cpu_seconds(proxy.process) - used
    print(f"{grown} KiB for 200 tunnels, {used} s in 2 s")
    assert grown < 200 * 3
    assert used <= 0.02
    assert len(more) == 200 and len(up.connections) == 220


def memory_kib(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_manual_names_the_exit_status():
    """The manual is part of the program: the statuses used here are described there."""
    with open(os.path.join(ROOT, "egressd", "egressd.8"), encoding="utf-8") as manual:
        text = manual.read()
    for word in ("SIGHUP", "SIGTERM", "SIGUSR1", "128"):
        assert word in text, word
