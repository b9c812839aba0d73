"""Real clients, unchanged, through the proxy: TLS clients over CONNECT, and HTTP clients of all kinds.

A client that is not installed skips with its name; tests/install-deps installs all but Chromium (large;
its ClientHello is in tests/vectors) and opencode (run by the end-to-end tests, and here where it is in
PATH)."""
import functools
import hashlib
import http.client
import http.server
import importlib.util
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
import zipfile

import pytest

from conftest import PATIENCE, ROOT
from dnsserver import A
from origins import HttpOrigin, Origin, TlsOrigin

VECTORS = os.path.join(ROOT, "tests", "vectors", "hello")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret"
NODE_MODULES = "/usr/share/nodejs"  # where Debian puts node's packages


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def vector(name):
    with open(os.path.join(VECTORS, name + ".hex")) as text:
        return bytes.fromhex(text.read())


class Tls:
    """Port 443 of allowed.test and a proxy that lists it; run() runs a client beside it."""

    def __init__(self, egressd, dns, up, certificate):
        self.up, self.certificate = up, certificate
        dns.add("allowed.test", A(up.host))
        dns.add("other.test", A(up.host))
        self.proxy = egressd(f"allowed.test\n{up.host}\n")

    def run(self, *argv, stdin=b"", env=None, timeout=PATIENCE):
        ran = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, check=False,
                             env={**os.environ, **(env or {})})
        print("----", *argv, "\n", ran.returncode, ran.stdout[-2000:], ran.stderr[-2000:])
        return ran

    def passed(self, count=1):
        """The origin was named as it should be, and so was the log."""
        assert [conn.sni for conn in self.up.connections if conn.sni] == ["allowed.test"] * count
        line = self.proxy.wait_audit(count=count, action="allow")
        assert (line["host"], line["sni"], line["port"]) == ("allowed.test", "allowed.test", 443)

    def refused(self):
        """A hello with another name: reset, and the origin has not seen a byte of it."""
        line = self.proxy.wait_audit(action="deny", code="sni-mismatch")
        assert (line["host"], line["sni"]) == ("allowed.test", "other.test")
        self.up.wait_ended()
        assert self.up.received == b""


def one_answer(conn):
    conn.read_until(b"\r\n\r\n")
    conn.send(OK)


@pytest.fixture
def tls(egressd, dns, origin, certificate):
    return Tls(egressd, dns, origin(TlsOrigin, certificate, one_answer, port=443), certificate)


@pytest.fixture
def silent(egressd, dns, origin, certificate):
    """The same, but what comes is kept as it came."""
    return Tls(egressd, dns, origin(Origin, port=443), certificate)


# ---- the ClientHellos of real clients, any split -------------------------------------------------

HELLOS = ["openssl", "openssl-tls12", "openssl-large", "gnutls", "curl", "python", "node", "chromium", "opencode"]
NAME = "real.client.test"


def records(hello, size):
    """The same message in records of size bytes."""
    body = b""
    while hello:
        end = 5 + int.from_bytes(hello[3:5], "big")
        body, hello = body + hello[5:end], hello[end:]
    return b"".join(b"\x16\x03\x01" + len(body[i:i + size]).to_bytes(2, "big") + body[i:i + size]
                    for i in range(0, len(body), size))


@pytest.mark.parametrize("name", HELLOS)
def test_captured_hello(egressd, dns, origin, name):
    """With the CONNECT, cut in two at 60 places (the unit test has every one), and in small records."""
    up = origin(port=443)
    dns.add(NAME, A(up.host))
    proxy = egressd(f"{NAME}\n{up.host}\n")
    hello = vector(name)

    def passes(first, *pieces):
        client, answer = proxy.tunnel(f"{NAME}:443", first)
        assert answer.status == 200
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.send(piece)
        sent = first + b"".join(pieces)
        assert client.read(len(sent)) == sent, (name, len(first), [len(piece) for piece in pieces])
        client.close()

    passes(hello)
    for cut in range(1, len(hello), len(hello) // 60):
        passes(b"", hello[:cut], hello[cut:])
    for size in (1, 3, 100):
        passes(records(hello, size))
    assert {line["sni"] for line in proxy.audit(action="allow")} == {NAME}


@pytest.mark.parametrize("name", HELLOS)
def test_captured_hello_with_another_name(egressd, dns, origin, name):
    """The same bytes in a tunnel to another listed name, and with the name changed in them."""
    up = origin(port=443)
    for host in (NAME, "listed.test"):
        dns.add(host, A(up.host))
    proxy = egressd(f"{NAME}\nlisted.test\n{up.host}\n")
    hello = vector(name)
    assert hello.count(NAME.encode()) == 1
    for host, data in [("listed.test", hello), (NAME, hello.replace(b"real.", b"evil.")),
                       (NAME, hello.replace(NAME.encode(), b"real.client\x00test")),
                       (NAME, hello.replace(NAME.encode(), b"real.client.tesT\x01"[:16].replace(b"t.t", b"t..")))]:
        client, _ = proxy.tunnel(f"{host}:443", data)
        assert client.is_reset(), (host, data)
    assert len(proxy.audit(action="deny", code="sni-mismatch")) == 4
    assert up.received == b""


def test_hello_without_a_name(egressd, dns, origin):
    up = origin(port=443)
    dns.add(NAME, A(up.host))
    proxy = egressd(f"{NAME}\n{up.host}\n")
    client, _ = proxy.tunnel(f"{NAME}:443", vector("openssl-noservername"))
    assert client.is_reset()
    proxy.wait_audit(action="deny", code="sni-missing")
    assert up.received == b""


# ---- TLS clients ---------------------------------------------------------------------------------

def openssl(tls, name, *more):
    need("openssl")
    return tls.run("openssl", "s_client", "-proxy", tls.proxy.address, "-connect", "allowed.test:443", "-servername",
                   name, "-quiet", *more, stdin=b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl(tls, version):
    assert b"secret" in openssl(tls, "allowed.test", version).stdout
    tls.passed()


def test_openssl_with_a_ticket(tls, tmp_path):
    """A resumed session: the second hello has a ticket in it, its name is checked like the first one's."""
    need("openssl")
    ticket = str(tmp_path / "ticket")
    assert b"secret" in openssl(tls, "allowed.test", "-tls1_2", "-sess_out", ticket).stdout
    ran = openssl(tls, "allowed.test", "-tls1_2", "-sess_in", ticket)
    assert b"secret" in ran.stdout
    tls.passed(2)
    ran = openssl(tls, "other.test", "-tls1_2", "-sess_in", ticket)
    assert b"secret" not in ran.stdout
    tls.proxy.wait_audit(action="deny", code="sni-mismatch", sni="other.test")


def test_openssl_with_another_name(silent):
    assert openssl(silent, "other.test").returncode != 0
    silent.refused()


def connect_helper(tls, listener):
    """gnutls-cli knows no proxy: a listener that opens the tunnel and then only copies."""
    sock, _ = listener.accept()
    client, answer = tls.proxy.tunnel("allowed.test:443")
    assert answer.status == 200

    def copy(source, to):
        try:
            while data := source.recv(65536):
                to.sendall(data)
        except OSError:
            pass
        try:
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    other = threading.Thread(target=copy, args=(sock, client.sock), daemon=True)
    other.start()
    copy(client.sock, sock)
    other.join(PATIENCE)


def gnutls(tls, name):
    need("gnutls-cli")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        helper = threading.Thread(target=connect_helper, args=(tls, listener), daemon=True)
        helper.start()
        ran = tls.run("gnutls-cli", "--insecure", "--sni-hostname", name, "-p", str(listener.getsockname()[1]),
                      "127.0.0.1", stdin=b"GET / HTTP/1.1\r\n\r\n")
        helper.join(PATIENCE)
    return ran


def test_gnutls(tls):
    ran = gnutls(tls, "allowed.test")
    assert b"secret" in ran.stdout
    tls.passed()


def test_gnutls_with_another_name(silent):
    assert b"secret" not in gnutls(silent, "other.test").stdout
    silent.refused()


def curl(proxy, *args):
    need("curl")
    return subprocess.run(["curl", "-sS", "--max-time", str(PATIENCE), "--noproxy", "", "--proxy",
                           f"http://{proxy.address}", *args], capture_output=True, timeout=60, check=False)


def test_curl_tls(tls):
    ran = curl(tls.proxy, "--cacert", tls.certificate[0], "https://allowed.test/")
    assert (ran.returncode, ran.stdout) == (0, b"secret"), ran.stderr
    tls.passed()
    ran = curl(tls.proxy, "https://denied.test/")
    assert ran.returncode == 56 and b"403" in ran.stderr


def test_curl_with_another_name(silent):
    """--connect-to opens the tunnel to one host and greets another in it."""
    ran = curl(silent.proxy, "-k", "--connect-to", "other.test:443:allowed.test:443", "https://other.test/")
    assert ran.returncode == 35, ran.stderr
    silent.refused()


def python_tls(tls, name):
    context = ssl.create_default_context(cafile=tls.certificate[0])
    conn = http.client.HTTPSConnection(tls.proxy.host, tls.proxy.port, context=context, timeout=PATIENCE)
    conn.set_tunnel("allowed.test", 443)
    conn._create_connection, wrap = socket.create_connection, context.wrap_socket
    context.wrap_socket = lambda sock, server_hostname: wrap(sock, server_hostname=name)
    conn.request("GET", "/")
    return conn.getresponse().read()


def test_python_tls(tls):
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": f"http://{tls.proxy.address}"}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=tls.certificate[0])))
    with opener.open("https://allowed.test/", timeout=PATIENCE) as answer:
        assert answer.read() == b"secret"
    with pytest.raises(urllib.error.URLError, match="403"):
        opener.open("https://denied.test/", timeout=PATIENCE)
    tls.passed()


def test_python_with_another_name(silent):
    with pytest.raises((ConnectionResetError, ssl.SSLError)):
        python_tls(silent, "other.test")
    silent.refused()


NODE_TLS = """
const [host, port, name] = process.argv.slice(1);
require('http').request({host, port, method: 'CONNECT', path: 'allowed.test:443'}).on('connect', (answer, socket) => {
    if (answer.statusCode !== 200) throw new Error(answer.statusCode);
    const tls = require('tls').connect({socket, servername: name, rejectUnauthorized: false}, () => {
        tls.write('GET / HTTP/1.1\\r\\n\\r\\n');
    });
    tls.on('data', (data) => process.stdout.write(data));
}).end();
"""


def node_tls(tls, name):
    need("node")
    return tls.run("node", "-e", NODE_TLS, tls.proxy.host, str(tls.proxy.port), name)


def test_node_tls(tls):
    assert node_tls(tls, "allowed.test").stdout.endswith(b"\r\n\r\nsecret")
    tls.passed()


def test_node_with_another_name(silent):
    assert node_tls(silent, "other.test").returncode != 0
    silent.refused()


NODE_FETCH = """
const {fetch, ProxyAgent} = require('undici');
const dispatcher = new ProxyAgent({uri: process.argv[1], requestTls: {ca: require('fs').readFileSync(process.argv[2])}});
(async () => {
    for (const url of process.argv.slice(3)) {
        try {
            const answer = await fetch(url, {dispatcher});
            console.log(answer.status, await answer.text());
        } catch (error) { console.log('error', error.cause ? error.cause.message : error.message); }
    }
    process.exit(); // else a timer of its own holds it for 10 s
})();
"""


def test_node_fetch(tls):
    """undici's fetch with its ProxyAgent, which asks for a tunnel for every scheme."""
    need("node")
    if not os.path.isdir(os.path.join(NODE_MODULES, "undici")):
        pytest.skip("node-undici is not installed")
    ran = tls.run("node", "-e", NODE_FETCH, f"http://{tls.proxy.address}", tls.certificate[0],
                  "https://allowed.test/", "https://denied.test/", env={"NODE_PATH": NODE_MODULES})
    lines = ran.stdout.decode().splitlines()
    assert lines[0] == "200 secret" and lines[1].startswith("error"), ran
    tls.passed()
    tls.proxy.wait_audit(action="deny", host="denied.test", code="not-listed")


def chromium(tls, url, tmp_path, *more):
    need("chromium")
    return tls.run("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors",
                   f"--user-data-dir={tmp_path}", f"--proxy-server=http://{tls.proxy.address}", *more,
                   "--dump-dom", url, timeout=60)


@pytest.mark.slow
def test_chromium(tls, tmp_path):
    ran = chromium(tls, "https://allowed.test/", tmp_path)
    assert b"secret" in ran.stdout
    assert {conn.sni for conn in tls.up.connections} - {None} == {"allowed.test"}
    tls.proxy.wait_audit(action="allow", host="allowed.test", sni="allowed.test")


def model(conn):
    """As much of a model's chat completions as opencode needs, as server-sent events."""
    head = conn.read_until(b"\r\n\r\n").lower()
    conn.read(int(head.partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0]))
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for delta, reason in [({"role": "assistant", "content": "words of the model"}, None), ({}, "stop")]:
        event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "model",
                 "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        conn.send(b"data: %s\n\n" % json.dumps(event).encode())
    conn.send(b"data: [DONE]\n\n")


@pytest.mark.slow
def test_opencode(egressd, dns, origin, certificate, tmp_path):
    """The real opencode talks to its model through the proxy, and ends at once on a denial."""
    need("opencode")
    tls = Tls(egressd, dns, origin(TlsOrigin, certificate, model, port=443), certificate)
    env = {"HOME": str(tmp_path), "NODE_EXTRA_CA_CERTS": certificate[0], "OPENCODE_DISABLE_MODELS_FETCH": "1",
           "OPENCODE_DISABLE_AUTOUPDATE": "1"}
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        env[name] = f"http://{tls.proxy.address}"

    def ask(host):
        provider = {"npm": "@ai-sdk/openai-compatible", "models": {"model": {}},
                    "options": {"baseURL": f"https://{host}/v1", "apiKey": "x"}}
        config = json.dumps({"autoupdate": False, "provider": {"real": provider}})
        return tls.run("opencode", "run", "--model", "real/model", "hello", timeout=300,
                       env={**env, "OPENCODE_CONFIG_CONTENT": config})

    ran = ask("allowed.test")
    assert ran.returncode == 0 and b"words of the model" in ran.stdout
    assert {conn.sni for conn in tls.up.connections} == {"allowed.test"}
    assert all(conn.received.startswith(b"POST /v1/chat/completions ") for conn in tls.up.connections)
    ran = ask("denied.test")
    said = b"Forbidden: egress to denied.test:443 is denied: not in the allowlist. "
    assert ran.returncode == 1 and said in ran.stderr
    assert tls.proxy.audit(action="deny", code="not-listed", host="denied.test")


# ---- HTTP clients --------------------------------------------------------------------------------

class Web:
    def __init__(self, egressd, dns, up):
        self.up, self.base = up, f"http://allowed.test:{up.port}"
        dns.add("allowed.test", A(up.host))
        self.proxy = egressd(f"allowed.test:{up.port}\n{up.host}\n")

    def env(self):
        return {**os.environ, "http_proxy": f"http://{self.proxy.address}", "no_proxy": ""}


@pytest.fixture
def web(egressd, dns, origin):
    return Web(egressd, dns, origin(HttpOrigin))


def test_urllib(web):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://{web.proxy.address}"}))
    with opener.open(web.base + "/x", timeout=PATIENCE) as answer:
        assert answer.status == 200 and b'"/x"' in answer.read()
    with opener.open(web.base + "/y", data=b"posted", timeout=PATIENCE) as answer:
        assert b'"posted"' in answer.read()
    with pytest.raises(urllib.error.HTTPError) as denied:
        opener.open("http://denied.test/", timeout=PATIENCE)
    assert denied.value.code == 403 and json.loads(denied.value.read())["code"] == "not-listed"
    denied.value.close()


def test_http_client_keeps_its_connection(web):
    """Twenty requests on one connection to the proxy, and on one of the proxy to the origin."""
    conn = http.client.HTTPConnection(web.proxy.host, web.proxy.port, timeout=PATIENCE)
    conn.connect()
    own = conn.sock
    for i in range(20):
        method = ["GET", "POST", "HEAD", "PUT"][i % 4]
        body = None if i % 4 in (0, 2) else (b"body", iter([b"bo", b"dy"]))[i // 4 % 2]
        conn.request(method, f"{web.base}/{i}", body=body, encode_chunked=False)
        answer = conn.getresponse()
        copy = answer.read()
        assert answer.status == 200
        if method != "HEAD":
            assert json.loads(copy)["target"] == f"/{i}"
            assert json.loads(copy)["body"] == ("body" if body is not None else "")
    assert conn.sock is own
    assert len(web.up.connections) == 1 and len(web.up.requests) == 20
    conn.close()
    assert len({line["client"] for line in web.proxy.audit(action="allow")}) == 1


def test_curl(web):
    ran = curl(web.proxy, web.base + "/a", web.base + "/b", "-w", "%{num_connects}\n")
    assert ran.returncode == 0 and b'"/a"' in ran.stdout and b'"/b"' in ran.stdout
    assert [line[-1:] for line in ran.stdout.splitlines()] == [b"1", b"0"]  # kept
    assert len(web.up.connections) == 1
    ran = curl(web.proxy, "--data-binary", "posted", web.base + "/")
    assert ran.returncode == 0 and b'"posted"' in ran.stdout
    ran = curl(web.proxy, "-H", "Expect: 100-continue", "--data-binary", "x" * 100000, web.base + "/")
    assert ran.returncode == 0 and b'"' + b"x" * 100000 + b'"' in ran.stdout
    ran = curl(web.proxy, "-T", "-", web.base + "/up", "--max-time", "5", "-H", "Transfer-Encoding: chunked")
    assert ran.returncode == 0 and b'"PUT"' in ran.stdout
    ran = curl(web.proxy, "-I", web.base + "/")
    assert ran.returncode == 0 and ran.stdout.startswith(b"HTTP/1.1 200 OK\r\n")
    ran = curl(web.proxy, "--http1.0", web.base + "/old")
    assert ran.returncode == 0 and b'"/old"' in ran.stdout
    ran = curl(web.proxy, "--fail-with-body", "http://denied.test/")
    assert ran.returncode == 22 and json.loads(ran.stdout)["code"] == "not-listed"


NODE_HTTP = """
const http = require('http');
const [host, port, base] = process.argv.slice(1);
const agent = new http.Agent({keepAlive: true, maxSockets: 1});
const ask = (i) => {
    const request = http.request({host, port, agent, method: i % 2 ? 'POST' : 'GET', path: base + '/' + i,
        headers: {Host: base.slice(7)}}, (answer) => {
        let text = '';
        answer.on('data', (d) => { text += d; });
        answer.on('end', () => {
            const copy = JSON.parse(text);
            console.log(answer.statusCode, copy.target, copy.body);
            if (i < 9) ask(i + 1); else agent.destroy();
        });
    });
    if (i % 2) { request.write('bo'); request.write('dy'); }
    request.end();
};
ask(0);
"""


def test_node_http(web):
    """node's own client with absolute-form targets and a kept connection; bodies in chunks."""
    need("node")
    ran = subprocess.run(["node", "-e", NODE_HTTP, web.proxy.host, str(web.proxy.port), web.base],
                         capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.splitlines() == [f"200 /{i} {'body' if i % 2 else ''}" for i in range(10)], ran.stderr
    assert len(web.up.connections) == 1
    assert len({line["client"] for line in web.proxy.audit(action="allow")}) == 1


# ---- clients that fetch what people work with ----------------------------------------------------

class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass


@pytest.fixture
def files(egressd, dns, loopback, tmp_path):
    """A server of tmp_path/www behind the proxy: -> (folder, URL, environment, proxy)."""
    folder = tmp_path / "www"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer((loopback(), 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    host, port = server.server_address
    dns.add("allowed.test", A(host))
    proxy = egressd(f"allowed.test:{port}\n{host}\n")
    env = {**os.environ, "http_proxy": f"http://{proxy.address}", "no_proxy": "", "HOME": str(tmp_path)}
    yield folder, f"http://allowed.test:{port}", env, proxy
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()


def run(*argv, env, cwd=None):
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env, cwd=cwd, check=False)
    print("----", *argv, "\n", ran.returncode, ran.stdout[-2000:], ran.stderr[-2000:])
    return ran


@pytest.mark.slow
def test_git(files, tmp_path):
    """A clone over plain HTTP: many small requests on few connections."""
    need("git")
    folder, url, env, proxy = files
    env.update(GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@x.test", GIT_COMMITTER_NAME="a",
               GIT_COMMITTER_EMAIL="a@x.test", GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0")
    work = tmp_path / "work"
    for argv in [("init", "-q", str(work)), ("-C", str(work), "commit", "-q", "--allow-empty", "-m", "one"),
                 ("-C", str(work), "commit", "-q", "--allow-empty", "-m", "two"),
                 ("clone", "-q", "--bare", str(work), str(folder / "repo.git")),
                 ("-C", str(folder / "repo.git"), "update-server-info")]:
        assert run("git", *argv, env=env).returncode == 0
    assert run("git", "clone", "-q", f"{url}/repo.git", "copy", env=env, cwd=tmp_path).returncode == 0
    ran = run("git", "-C", str(tmp_path / "copy"), "log", "--format=%s", env=env)
    assert ran.stdout.split() == ["two", "one"]
    assert proxy.audit(action="allow", path="/repo.git/info/refs")
    ran = run("git", "ls-remote", "http://denied.test/repo.git", env=env)
    assert ran.returncode != 0 and "403" in ran.stderr


@pytest.mark.slow
def test_apt(files, tmp_path):
    """apt-get update and download, which pipelines: an own archive, own folders, nothing of this machine."""
    need("apt-get")
    folder, url, env, proxy = files
    control = "Package: hello-proxy\nVersion: {0}\nArchitecture: all\nMaintainer: a <a@x.test>\n" \
              "Description: one of ten\n"
    packages = ""
    for i in range(10):
        data = os.urandom(5000)  # apt looks at size and sum, not inside
        (folder / f"p{i}.deb").write_bytes(data)
        packages += control.format(i) + f"Filename: ./p{i}.deb\nSize: {len(data)}\n" \
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n"
    (folder / "Packages").write_text(packages)
    for name in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "out"):
        (tmp_path / "apt" / name).mkdir(parents=True)
    (tmp_path / "apt" / "etc" / "sources.list").write_text(f"deb [trusted=yes] {url} ./\n")
    (tmp_path / "apt" / "status").write_text("")
    options = [f"Dir::State={tmp_path}/apt/state", f"Dir::Cache={tmp_path}/apt/cache", f"Dir::Etc={tmp_path}/apt/etc",
               f"Dir::State::status={tmp_path}/apt/status", "Debug::NoLocking=1", "APT::Sandbox::User=root",
               "Acquire::Languages=none", "APT::Get::List-Cleanup=0"]
    apt = ["apt-get", "-q", *(word for option in options for word in ("-o", option))]
    ran = run(*apt, "update", env=env)
    assert ran.returncode == 0
    ran = run(*apt, "download", *(f"hello-proxy={i}" for i in range(10)), env=env, cwd=tmp_path / "apt" / "out")
    assert ran.returncode == 0 and len(os.listdir(tmp_path / "apt" / "out")) == 10, ran.stderr
    assert len({line["client"] for line in proxy.audit(action="allow") if line["path"].endswith(".deb")}) == 1


@pytest.mark.slow
def test_pip(files, tmp_path):
    """pip with an index of our own: a simple index page and a wheel."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed")
    folder, url, env, proxy = files
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "x = 1\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    (folder / "simple" / "tiny").mkdir(parents=True)
    (folder / "simple" / "tiny" / "index.html").write_text(f'<!DOCTYPE html><a href="/{wheel.name}">tiny</a>')
    ran = run("/usr/bin/python3", "-m", "pip", "--isolated", "download", "-q", "--no-cache-dir", "--no-deps",
              "--disable-pip-version-check", "--trusted-host", "allowed.test", "--proxy", env["http_proxy"],
              "-i", f"{url}/simple", "-d", str(tmp_path / "got"), "tiny", env=env)
    assert ran.returncode == 0 and os.listdir(tmp_path / "got") == [wheel.name]
    assert proxy.wait_audit(action="allow", path=f"/{wheel.name}")
