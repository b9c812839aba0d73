"""--metrics: what Prometheus is told is what the audit log says, and nothing else is to be had there."""
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

import limits
from client import Client
from conftest import EGRESSD, ROOT, free_port
from dnsserver import A
from origins import HttpOrigin

PATIENCE = 20


@pytest.fixture
def measured(egressd):
    """Starts egressd with --metrics on a free port: proxy.metrics is its address."""
    def start(entries, *options, host="127.0.0.1", **more):
        port = free_port(host)
        proxy = egressd(entries, "--metrics", f"{host}:{port}", *options, **more)
        proxy.metrics = (host, port)
        return proxy
    return start


def knock(proxy, data=b""):
    client = Client(socket.create_connection(proxy.metrics, PATIENCE))
    return client.send(data)


def scrape_text(proxy):
    answer = knock(proxy, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").read_answer()
    assert (answer.status, answer.field("Connection")) == (200, "close")
    assert answer.field("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    return answer.body.decode("ascii")


def scrape(proxy):
    """{(name, label, ...): value}, by the Python client library's reader."""
    values = {}
    text = scrape_text(proxy)
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("egressd_") and family.documentation, family
        assert family.type in ("counter", "gauge"), family
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total"), sample
            key = (sample.name[len("egressd_"):], *sample.labels.values())
            assert key not in values, f"{key} stands twice"
            values[key] = sample.value
    helps = re.findall(r"# HELP (\S+)", text)
    assert len(helps) == len(set(helps)) == len(re.findall(r"# TYPE ", text))
    return values


def wait_value(proxy, key, value):
    end = time.monotonic() + PATIENCE
    while (now := scrape(proxy)).get(key) != value:
        assert time.monotonic() < end, f"{key} is {now.get(key)}, not {value}"
        time.sleep(0.01)
    return now


def lines_by(proxy, action):
    counted = {}
    for line in proxy.audit(action=action):
        counted[line["code"]] = counted.get(line["code"], 0) + 1
    return counted


@pytest.mark.parametrize("workers", [1, 4])
def test_counts_are_the_log_s(measured, dns, origin, workers):
    up = origin(HttpOrigin)
    raw = origin()
    dns.add("web.test", A(up.host))
    dns.add("raw.test", A(raw.host))
    proxy = measured([f"web.test:{up.port}", up.host, f"raw.test:{raw.port}", raw.host, "gone.test"],
                     workers=workers)
    for _ in range(5):
        assert proxy.get(f"http://web.test:{up.port}/").status == 200
    for _ in range(4):
        assert proxy.get("http://denied.test/").code == "not-listed"
    for _ in range(3):
        assert proxy.get("http://gone.test/").code == "dns-nxdomain"
    for _ in range(2):
        assert proxy.get("http://web.test/").code == "port"
    assert proxy.request("GET", "http://0x7f.1/").code == "bad-request"
    tunnels = [proxy.tunnel(f"raw.test:{raw.port}")[0] for _ in range(3)]
    for client in tunnels:
        client.send("hello").sock.settimeout(PATIENCE)
    tunnels[0].close()
    proxy.wait_audit(count=1, action="close", host="raw.test")
    proxy.wait_audit(count=5, action="close", host="web.test")
    now = wait_value(proxy, ("tunnels",), 2)
    for action in ("allow", "deny", "fail"):
        shown = {key[2]: value for key, value in now.items()
                 if key[:2] == ("requests_total", action) and value > 0}
        assert shown == lines_by(proxy, action)
    closed = {key[1]: value for key, value in now.items() if key[0] == "closed_total" and value > 0}
    assert closed == lines_by(proxy, "close")
    for side in ("up", "down"):
        assert now["bytes_total", side] == sum(
            line[f"bytes_{side}"] for line in proxy.audit(action="close")) > 0
    assert now["tunnels_total",] == 3
    assert now["workers",] == workers
    assert now["connections_total",] == 5 + 4 + 3 + 2 + 1 + 3
    assert wait_value(proxy, ("connections",), 2)["connections_max",] >= workers
    lookups = sum(value for key, value in now.items() if key[0] == "lookups_total")
    assert lookups == 5 + 3 + 3  # those that the list refused were not looked up
    if workers == 1:
        assert now["lookups_total", "dns"] == 3 and now["lookups_total", "pin"] == 8
        assert now["lookup_failures_total", "dns-nxdomain"] == 1 and now["pins",] == 3


def test_who_had_the_answer(measured, dns):
    """One asks and the others wait with it; when no lookup more may begin, nobody is asked."""
    proxy = measured([".names.test"], "--dns-timeout", "300", "--drain-timeout", "0", workers=1)
    dns.behave("*.names.test", hold=True)

    def ask(name):
        client = proxy.connect()
        return client.send(f"CONNECT {name}.names.test:443 HTTP/1.1\r\n\r\n")

    for _ in range(3):
        ask("same")
    now = wait_value(proxy, ("lookups_total", "shared"), 2)
    assert now["lookups_total", "dns"] == 1 and now["lookups_total", "none"] == 0
    for i in range(limits.LIMIT_LOOKUPS - 1):
        ask(f"n{i}")
    wait_value(proxy, ("lookups_total", "dns"), limits.LIMIT_LOOKUPS)
    for i in range(2):
        assert ask(f"more{i}").read_answer("CONNECT").code == "overload"
    now = scrape(proxy)
    assert now["lookups_total", "none"] == 2 and now["lookups_total", "shared"] == 2
    assert now["lookups_total", "dns"] == now["pins",] == limits.LIMIT_LOOKUPS
    assert now["lookups_total", "pin"] == now["lookups_total", "hosts"] == 0


def test_the_hosts_file_had_the_answer(measured):
    with open("/etc/hosts", encoding="utf-8") as file:
        known = any("localhost" in line.split("#")[0].split()[1:] for line in file)
    if not known:
        pytest.skip("this machine's hosts file does not know localhost")
    proxy = measured(["localhost:4711"], workers=1)
    for _ in range(2):  # the second by the pin of the first
        assert proxy.get("http://localhost:4711/").code == "special-address"
    now = scrape(proxy)
    assert (now["lookups_total", "hosts"], now["lookups_total", "pin"], now["lookups_total", "dns"]) == (1, 1, 0)


def test_list(measured):
    proxy = measured(["a.test", "b.test", ".c.test"], "--max-connections", "40")
    assert scrape(proxy)["connections_max",] == 40
    now = scrape(proxy)
    assert now["list_entries",] == 3 and now["reloads_total", "reloaded"] == 0
    proxy.reload("a.test")
    proxy.expect(r".*: error: .*", r".*the new list is unusable; the old one stays in force")
    proxy.reload("*")
    now = scrape(proxy)
    assert now["list_entries",] == 1
    assert now["reloads_total", "reloaded"] == now["reloads_total", "list-error"] == 1


def test_no_names_and_only_known_codes(measured):
    """Its size has a bound, and who scrapes does not learn where clients go."""
    proxy = measured("a.test")
    before = len(scrape(proxy))
    for i in range(20):
        proxy.get(f"http://secret{i}.test/")
    text = scrape_text(proxy)
    assert "secret" not in text and "127.0.0.1" not in text
    assert len(scrape(proxy)) == before
    with open(os.path.join(ROOT, "egressd", "audit.schema.json"), encoding="ascii") as file:
        schema = json.load(file)["$defs"]
    known = set()
    for definition in schema.values():
        code = definition.get("properties", {}).get("code", {})
        known |= set(code.get("enum", [code.get("const")]))
    shown = set(re.findall(r'code="([^"]*)"', text))
    assert shown <= known and {"not-listed", "dns-timeout", "sni-mismatch"} <= shown


def test_unwritable_log(measured):
    proxy = measured("a.test", "--audit-max", "600")
    proxy.expect(r"egressd: audit log \S+: (cannot|can) be written.*")
    proxy.accounts = False
    assert scrape(proxy)["audit_writable",] == 1
    codes = [proxy.get("http://x.test/").code for _ in range(10)]
    assert "audit" in codes
    now = scrape(proxy)
    assert now["audit_writable",] == 0 and now["audit_failures_total",] >= codes.count("audit")
    assert now["requests_total", "deny", "audit"] == codes.count("audit")
    assert now["requests_total", "deny", "not-listed"] == codes.count("not-listed")


def test_lost_close_lines(measured, dns, origin):
    up = origin()
    dns.add("x.test", A(up.host))
    proxy = measured([f"x.test:{up.port}", up.host], "--audit-max", "900")
    proxy.expect(r"egressd: audit log \S+: (cannot|can) be written.*")
    proxy.accounts = False
    client, answer = proxy.tunnel(f"x.test:{up.port}")
    assert answer.status == 200
    while proxy.get("http://denied.test/").code != "audit":
        pass
    client.close()
    now = wait_value(proxy, ("audit_dropped_lines_total",), 1)
    assert now["closed_total", "done"] == 1 and now["tunnels",] == 0


@pytest.mark.parametrize("request_, status", [
    (b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    (b"GET /metricsx HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    (b"GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    (b"GET http://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n", 404),
    (b"GET http://allowed.test/metrics HTTP/1.1\r\nHost: allowed.test\r\n\r\n", 404),
    (b"CONNECT allowed.test:443 HTTP/1.1\r\nHost: allowed.test:443\r\n\r\n", 405),
    (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
    (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    (b"TRACE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 400),
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
    (b"GET /metrics HTTP/1.1\nHost: x\n\n", 400),
    (b"GET  /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000 + b"\r\n\r\n", 431),
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 4096, 431),
    (b"FOO /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400),
])
def test_requests(measured, request_, status):
    proxy = measured(["allowed.test"])
    client = knock(proxy, request_)
    answer = client.read_answer("HEAD" if request_.startswith(b"HEAD") else "GET") \
        if not request_.startswith(b"CONNECT") else client.read_head()
    assert answer.status == status and answer.field("Connection") == "close"
    if request_.startswith(b"TRACE"):
        return
    assert status != 405 or answer.field("Allow") == "GET"
    assert status == 200 or b"egressd_" not in answer.body
    client.half_close()
    client.read_all()  # and then it ends
    assert proxy.audit(action="deny") == [] and proxy.audit(action="allow") == []


def test_one_request_a_connection(measured):
    proxy = measured("a.test")
    client = knock(proxy, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    assert client.read_answer().status == 200
    client.half_close()
    assert client.read_all() == b""


def test_byte_by_byte_and_slow_reader(measured):
    proxy = measured("a.test")
    client = knock(proxy)
    client.send_slowly(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.read_answer().status == 200


def test_few_at_a_time_and_not_for_long(measured):
    """Silent clients hold eight places for five seconds each; who comes meanwhile waits, the proxy does
    not, and nothing is left afterwards."""
    proxy = measured("a.test")
    begin = time.monotonic()
    silent = [knock(proxy, b"GET /met") for _ in range(8)]
    late = knock(proxy, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert proxy.get("http://x.test/").code == "not-listed"
    assert time.monotonic() - begin < 4, "this machine is too slow for this test"
    assert late.read_answer().status == 200
    assert time.monotonic() - begin > 4
    for client in silent:
        assert client.ended()
        client.close()
    assert scrape(proxy)["connections_total",] == 1  # they are none of the proxy's


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_not_through_the_proxy(measured, loopback, host):
    """Whatever the list says: self, by each of this machine's addresses if it listens on all."""
    other = loopback()
    proxy = measured("a.test", host=host)
    port = proxy.metrics[1]
    proxy.reload([f"127.0.0.1:{port}", f"{other}:{port}"])
    for address in ["127.0.0.1"] + ([other] if host == "0.0.0.0" else []):
        assert proxy.get(f"http://{address}:{port}/metrics").code == "self"
        assert proxy.tunnel(f"{address}:{port}")[1].status == 403
    assert scrape(proxy)["requests_total", "deny", "self"] >= 2


def test_address_in_use(tmp_path):
    (tmp_path / "list").write_text("a.test\n")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        refused = subprocess.run(
            [EGRESSD, "--allowlist", str(tmp_path / "list"), "--listen", f"127.0.0.1:{free_port()}",
             "--dns", "127.0.0.1:9", "--audit-log", str(tmp_path / "log"), "--metrics", address],
            capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"egressd: {address}: address already in use\n"
    assert not (tmp_path / "log").exists() or (tmp_path / "log").read_text() == ""


def test_while_draining(measured, dns, origin):
    """The end of what runs can be watched, also the part of workers that have ended."""
    up = origin()
    dns.add("x.test", A(up.host))
    proxy = measured([f"x.test:{up.port}", up.host], workers=4)
    tunnels = [proxy.tunnel(f"x.test:{up.port}")[0] for _ in range(20)]
    assert wait_value(proxy, ("tunnels",), 20)
    proxy.kill(signal.SIGTERM)
    for client in tunnels[1:]:
        client.close()
    now = wait_value(proxy, ("tunnels",), 1)
    assert now["tunnels_total",] == 20 and now["requests_total", "allow", "listed"] == 20
    tunnels[0].close()
    assert proxy.process.wait(PATIENCE) == 0


def test_ipv6(egressd):
    port = free_port("::1") if socket.has_ipv6 else 0
    proxy = egressd("a.test", "--metrics", f"[::1]:{port}")
    proxy.metrics = ("::1", port)
    assert scrape(proxy)["workers",] == proxy.workers
