"""--check as a compiler of lists, and --explain against what a running egressd does."""
import concurrent.futures
import ipaddress
import json
import os
import random
import re
import signal
import subprocess
import time

import pytest

from conftest import EGRESSD, ROOT

SANITIZED = "/san/" in EGRESSD


@pytest.fixture
def check(run_egressd, tmp_path):
    """check(text, ...) -> the ran process; text may be bytes."""
    path = tmp_path / "domains.txt"

    def run(text, *options):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return run_egressd("--check", str(path), *options)
    run.path = str(path)
    return run


def diagnostics(ran, path):
    """Standard error's lines as (line, column, severity, text); all of them must have that form."""
    found = []
    for line in ran.stderr.splitlines():
        match = re.fullmatch(re.escape(path) + r":(\d+):(\d+): (error|warning): (.*)", line)
        if match is None:
            assert re.fullmatch(re.escape(path) + r": usable: .*", line), line
            continue
        found.append((int(match.group(1)), int(match.group(2)), match.group(3), match.group(4)))
    return found


# ---- diagnostics ---------------------------------------------------------------------------------

# The line, with ^ before the byte at fault; severity; what the text must say (the entry is in it).
MISTAKES = [
    ("^*", "error", "is not supported"), ("^*.example.com", "error", r"write '\.example\.com'"),
    ("api.^*.com", "error", ""), ("0.0.0.0/^0", "error", "every IPv4 address"), ("::/^0", "error", "every IPv6 address"),
    ("^0.0.0.0", "error", ""), ("^::", "error", ""),
    ("^https://api.example.com/v1", "error", "write 'api.example.com'"), ("^http://a.b", "error", "write 'a.b'"),
    ("a.b^/path", "error", "path"), ("one.test ^two.test", "error", "two entries"),
    ("one.test,^two.test|one.test^,two.test", "error", ""),
    ("a.b:^0", "error", "port"), ("a.b:^65536", "error", "port"), ("a.b:^0443", "error", "port"), ("a.b:^", "error", "port"),
    ("a.b:^x", "error", "port"), ("a.b:^-1", "error", "port"), ("^a.b:443:443|a.b:443^:443|a.b:^443:443", "error", ""),
    ("a.^.b", "error", "empty label"), ("^-a.test", "error", "'-'"), ("b.^-a.test", "error", "'-'"),
    ("a^!b.test", "error", ""), ("a.^" + "x" * 64 + ".test", "error", "63"), ("^\u00e4.test", "error", "xn--"),
    ("b\u00fccher".replace("\u00fc", "^\u00fc") + ".example", "error", "xn--"),
    ("10.0.0.^256|^10.0.0.256|10.0.0.2^56", "error", ""), ("10.0.0.^01|^10.0.0.01", "error", "leading zeros"),
    ("127.^1|^127.1", "error", ""), ("^2130706433", "error", ""), ("a.b.^1|^a.b.1", "error", ""),
    ("a.^0x7f|^a.0x7f", "error", ""), ("10.0.0.0/^33|10.0.0.0^/33", "error", ""), ("10.0.0.0/^x|10.0.0.0^/x", "error", ""),
    ("10.0.0.0/^08|10.0.0.0^/08", "error", ""),
    ("^::ffff:10.0.0.1", "error", "write '10.0.0.1'"), ("^[2001:db8::7]", "error", "brackets without a port"),
    ("^fe80::1%eth0|fe80::1^%eth0", "error", ""), ("2001:db8::^g|^2001:db8::g", "error", ""),
    ("a.test # a\u2028b ^\udcff", "error", "UTF-8"), ("a.test^\x00", "error", "NUL"),
    ("a" * 1024 + "^" + "a" * 76, "error", "1,?024"),
    ("^.com", "warning", "top-level"), ("^.github.io", "warning", "anyone"), ("^10.1.2.3/8", "warning", r"'10\.0\.0\.0/8'"),
    ("^2001:DB8::7", "warning", "'2001:db8::7'"), ("^0:0:0:0:0:0:0:9", "warning", "'::9'"), ("10.0.0.0/^7|^10.0.0.0/7", "warning", "wide"),
    ("^2000::/15|2000::/^15", "warning", "wide"), ("^127.0.0.1", "warning", "loopback"), ("^169.254.169.254", "warning", "metadata"),
    ("^host.docker.internal", "warning", "port"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_columns_point_at_the_mistake(check, number):
    """On line 3, behind two good ones; behind blanks the column moves with them."""
    marked, severity, says = MISTAKES[number]
    choices = marked.split("|")
    text = choices[0].replace("^", "")
    for indent in ("", "  \t") if len(text) < 1000 else ("",):  # a line's length counts its blanks
        data = f"good.test\n# comment\n{indent}{text}\nlast.test\n".encode("utf-8", "surrogateescape")
        ran = check(data)
        columns = {len((indent + one.partition("^")[0]).encode("utf-8", "surrogateescape")) + 1 for one in choices}
        found = diagnostics(ran, check.path)
        assert len(found) == 1, found
        line, column, kind, words = found[0]
        assert (line, kind) == (3, severity) and column in columns, (found, columns)
        assert re.search(says, words), words
        if "\x00" not in text and "\udcff" not in text and len(text) < 100 and text.isascii():
            assert text.split(" ")[0].split(",")[0] in words  # the entry is named
        assert ran.stdout == "" and ran.returncode == (1 if severity == "error" else 0)


def test_all_diagnostics_in_order(check):
    """Not only the first; errors and warnings by line; --json says the same."""
    lines = [marked.split("|")[0].replace("^", "") for marked, _, _ in MISTAKES]
    data = "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"
    ran = check(data)
    found = diagnostics(ran, check.path)
    assert [line for line, _, _, _ in found] == sorted(line for line, _, _, _ in found)
    assert {line for line, _, _, _ in found} == set(range(1, len(lines) + 1))
    assert ran.returncode == 1 and "usable" not in ran.stderr
    ran = check(data, "--json")
    array = json.loads(ran.stdout)
    assert ran.returncode == 1 and ran.stderr == ""
    assert [list(one) for one in array] == [["line", "column", "severity", "entry", "text"]] * len(array)
    assert [(one["line"], one["column"], one["severity"], one["text"]) for one in array] == found


def test_duplicates_and_shadows_name_the_other_line(check):
    ran = check("a.test\n.b.test\nA.Test.\nx.b.test\n10.0.0.0/8\n10.1.0.0/16\n.b.test:443\n")
    found = {line: (severity, words) for line, _, severity, words in diagnostics(ran, check.path)}
    assert ran.returncode == 0
    assert found[3][0] == "warning" and "line 1" in found[3][1] and "duplicate" in found[3][1]
    assert "line 2" in found[4][1] and "line 5" in found[6][1]
    assert 7 not in found  # it opens plain HTTP on 443, which line 2 does not


@pytest.mark.parametrize("text, summary", [
    ("a.test\n", "usable: 1 entry, 0 warnings"), ("a.test\nb.test\n", "usable: 2 entries, 0 warnings"),
    ("a.test\n.com\n", "usable: 2 entries, 1 warning"), ("a.test\n.com\n.org\n", "usable: 3 entries, 2 warnings")])
def test_a_usable_list_has_one_summary_line(check, run_egressd, text, summary):
    ran = check(text)
    assert ran.returncode == 0 and ran.stdout == ""
    assert ran.stderr.splitlines()[-1] == f"{check.path}: {summary}"
    assert len(ran.stderr.splitlines()) == 1 + int(summary.split()[-2])
    ran = check(text, "--json")
    assert (ran.returncode, ran.stderr, len(json.loads(ran.stdout))) == (0, "", int(summary.split()[-2]))
    ran = run_egressd("--check", "-", stdin=text)
    assert ran.returncode == 0 and ran.stderr.splitlines()[-1] == f"<stdin>: {summary}"


def test_json_of_a_good_list_is_an_empty_array(check):
    ran = check("a.test\n", "--json")
    assert (ran.stdout, ran.returncode) == ("[]\n", 0)


def test_exit_status(check, run_egressd, tmp_path):
    for text in ["", "\n\n", "# only\n", "*\n"]:
        assert check(text).returncode == 1
    for path in [str(tmp_path / "nothing"), str(tmp_path)]:
        ran = run_egressd("--check", path)
        assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 1 and path in ran.stderr
        ran = run_egressd("--check", path, "--json")
        assert ran.returncode == 1 and json.loads(ran.stdout)[0]["severity"] == "error"
    for argv in [("--check",), ("--check", check.path, "--listen", "127.0.0.1:1"), ("--json",),
                 ("--check", check.path, "--explain", "a.test")]:
        ran = run_egressd(*argv)
        assert ran.returncode == 2 and ran.stdout == "" and len(ran.stderr.splitlines()) == 1, argv


def test_odd_bytes_cannot_break_the_json(check):
    """Every control byte and every byte above 0x7f, in entries and in comments."""
    data = b"".join(b"a%sb.test # %s\n" % (bytes([c]), bytes([c])) for c in range(1, 256) if c not in (10, 13))
    ran = check(data, "--json")
    assert ran.returncode == 1
    for one in json.loads(ran.stdout):
        assert one["text"].isprintable() and one["entry"].isprintable(), one
    ran = check(data)
    assert not re.search(r"[^\x20-\x7e\n]", ran.stderr)


# ---- lists as people have them -------------------------------------------------------------------

SQUID_STYLE = """\
# prisoncode allowlist
# One endpoint per line. Blank lines and comments are ignored.
# Use a leading dot to include subdomains. IPs and CIDR ranges work too.

# --- providers
api.openai.com
api.anthropic.com
.googleapis.com

# --- packages
registry.example.org
pypi.org
files.pythonhosted.org
.debian.org

# --- LAN
192.168.1.42        # the model server
192.168.10.0/24
"""


def test_a_list_for_squid(check):
    """The form of lists that were written for a Squid in front of an agent: no change needed."""
    ran = check(SQUID_STYLE)
    assert ran.returncode == 0
    assert ran.stderr.splitlines()[-1].endswith(": usable: 9 entries, 0 warnings"), ran.stderr


def test_a_windows_editor(check, egressd):
    """BOM and CRLF, no newline at the end; columns and line numbers are those that the editor shows."""
    text = "\ufeff" + SQUID_STYLE.replace("\n", "\r\n")
    assert check(text).stderr == f"{check.path}: usable: 9 entries, 0 warnings\n"
    assert check(text.rstrip()).returncode == 0
    ran = check("\ufeff*.a.test\r\nb.test\r\nc..test\r\n")
    assert [found[:2] for found in diagnostics(ran, check.path)] == [(1, 1), (3, 3)]
    proxy = egressd("a.test\n")
    with open(proxy.list_path, "wb") as out:
        out.write(b"\xef\xbb\xbfx.test\r\ny.test:8443\r\n")
    proxy.kill(signal.SIGHUP)
    proxy.wait_audit(action="reload", code="reloaded")
    assert proxy.tunnel("x.test:443")[1].code == "dns-nxdomain"
    assert proxy.audit()[-1]["rule"] == {"line": 1, "entry": "x.test"}
    assert proxy.tunnel("a.test:443")[1].code == "not-listed"


def test_a_template_with_its_hosts_uncommented(check):
    """What a new user gets, and what it is after they have removed every '# ' before a host."""
    with open(os.path.join(ROOT, "launcher", "list.c"), encoding="utf-8") as source:
        body = re.search(r"template_text\[\] =\n(.*?);\n", source.read(), re.S).group(1)
    template = "".join(json.loads(piece) for piece in re.findall(r'"(?:[^"\\]|\\.)*"', body))
    ran = check(template)
    assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 1  # nothing in it yet
    filled = re.sub(r"^# ([a-z0-9.-]+)$", r"\1", template, flags=re.M)
    ran = check(filled)
    hosts = len(re.findall(r"^[a-z0-9.-]+$", filled, re.M))
    assert hosts > 5 and ran.returncode == 0
    assert ran.stderr == f"{check.path}: usable: {hosts} entries, 0 warnings\n"


OPENCODE_USER = """\
# my providers
openrouter.ai
.anthropic.com
api.openai.com:443
host.docker.internal:11434   # ollama
[fd12:3456::7]:8000          # vllm on the LAN
10.20.0.0/16:8080

github.com
.githubusercontent.com
codeload.github.com
registry.example.org
.opencode.ai
"""


def test_an_opencode_users_list(check):
    ran = check(OPENCODE_USER)
    assert ran.returncode == 0
    assert ran.stderr.splitlines()[-1].startswith(f"{check.path}: usable: 11 entries")
    assert all(severity == "warning" for _, _, severity, _ in diagnostics(ran, check.path))


def test_a_hundred_thousand_names(check, run_egressd):
    """A list of that size is checked and explained in no time, and its one mistake is found."""
    names = [f"host-{i}.zone-{i % 977}.example.test" for i in range(100_000)]
    since = time.monotonic()
    ran = check("\n".join(names) + "\n")
    assert ran.returncode == 0 and ran.stderr == f"{check.path}: usable: 100000 entries, 0 warnings\n"
    if not SANITIZED:
        assert time.monotonic() - since < 5  # 0.1 s on a quiet machine
    ran = run_egressd("--explain", names[77_777], "--allowlist", check.path)
    assert ran.stdout.splitlines()[0] == f"CONNECT: allow {check.path}:77778: {names[77_777]}"
    names[66_665] = "host-66665..example.test"
    ran = check("\n".join(names) + "\n")
    assert [found[:3] for found in diagnostics(ran, check.path)] == [(66_666, 12, "error")]


# ---- --explain and enforcement -------------------------------------------------------------------

# entry, kind, value, port: what the manual says of each, for the oracle below.
LIST = [
    ("exact.test", "name", "exact.test", None), (".suffix.test", "suffix", "suffix.test", None),
    ("deep.suffix.test:8443", "name", "deep.suffix.test", 8443), (".inner.suffix.test:9000", "suffix", "inner.suffix.test", 9000),
    ("port.test:8443", "name", "port.test", 8443), (".portsuffix.test:9000", "suffix", "portsuffix.test", 9000),
    ("both.test", "name", "both.test", None), ("both.test:8080", "name", "both.test", 8080),
    ("wide.test:443", "name", "wide.test", 443), ("plain.test:80", "name", "plain.test", 80),
    ("Mixed.Case.Test.", "name", "mixed.case.test", None), ("xn--bcher-kva.test", "name", "xn--bcher-kva.test", None),
    ("_srv.under_score.test", "name", "_srv.under_score.test", None), ("single", "name", "single", None),
    ("127.77.0.1", "net", "127.77.0.1/32", None), ("127.77.0.2:7000", "net", "127.77.0.2/32", 7000),
    ("127.77.1.0/24", "range", "127.77.1.0/24", None), ("10.1.0.0/16", "range", "10.1.0.0/16", None),
    ("10.1.2.0/24:11434", "range", "10.1.2.0/24", 11434), ("10.1.2.3", "net", "10.1.2.3/32", None),
    ("93.184.216.34", "net", "93.184.216.34/32", None), ("169.254.0.0/16", "range", "169.254.0.0/16", None),
    ("169.254.169.254:80", "net", "169.254.169.254/32", 80), ("100.64.0.0/10", "range", "100.64.0.0/10", None),
    ("2001:db8::/32", "range", "2001:db8::/32", None), ("[2001:db8::7]:8443", "net", "2001:db8::7/128", 8443),
    ("2606:4700::1111", "net", "2606:4700::1111/128", None), ("[2606:4700::/32]:853", "range", "2606:4700::/32", 853),
    ("fe80::/10", "range", "fe80::/10", None), ("::1", "net", "::1/128", None), ("fd00::/8", "range", "fd00::/8", None),
]
NAMES = ["exact.test", "EXACT.test.", "www.exact.test", "xexact.test", "test", "suffix.test", "a.suffix.test",
         "a.b.c.suffix.test", "xsuffix.test", "suffix.test.evil.test", "deep.suffix.test", "x.deep.suffix.test",
         "inner.suffix.test", "x.inner.suffix.test", "port.test", "a.port.test", "portsuffix.test",
         "a.portsuffix.test", "both.test", "wide.test", "plain.test", "mixed.case.test", "MIXED.CASE.TEST",
         "xn--bcher-kva.test", "_srv.under_score.test", "srv.under_score.test", "single", "a.single", "nothing.test"]
ADDRESSES = ["127.77.0.1", "127.77.0.2", "127.77.0.3", "127.77.1.5", "10.1.0.0", "10.1.255.255", "10.2.0.0", "10.1.2.3",
             "10.1.2.4", "93.184.216.34", "93.184.216.35", "169.254.169.254", "169.254.1.1", "100.64.0.1",
             "100.100.100.200", "100.128.0.0", "2001:db8::7", "2001:db8::8", "2001:DB8:0:0::0007", "2001:db9::",
             "2606:4700::1111", "2606:4700::2", "fe80::1", "::1", "::2", "fd00:ec2::254", "fd00:ec2::253",
             "::ffff:10.1.2.3", "::ffff:127.77.0.1", "::ffff:a01:203", "224.0.0.1", "0.0.0.0"]
PORTS = [1, 80, 443, 853, 1024, 1025, 8080, 8443, 9000, 11434]
ONLY_THEMSELVES = [ipaddress.ip_network(net) for net in (
    "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "0.0.0.0/32", "100.100.100.200/32", "::1/128", "::/128", "fe80::/10",
    "ff00::/8", "fd00:ec2::254/128")]


def table():
    """Over a thousand targets: the hand-made hosts with all ports, and made-up neighbours of the list's."""
    rng = random.Random(20261125)
    targets = [(host, port) for host in NAMES + ADDRESSES for port in PORTS]
    for _ in range(420):
        _, kind, value, port = rng.choice(LIST)
        if kind in ("name", "suffix"):
            host = rng.choice(["", "a.", "www.a.", "x", "-".join("ab") + "."]) + value + rng.choice(["", ".", ".test", "x"])
            host = "".join(rng.choice([c, c.upper()]) for c in host)
        else:
            net = ipaddress.ip_network(value)
            offset = rng.choice([-1, 0, 1, net.num_addresses - 1, net.num_addresses, rng.randrange(net.num_addresses)])
            host = str(ipaddress.ip_address(int(net.network_address) + offset)) if int(net.network_address) + offset >= 0 else "::"
        targets.append((host, rng.choice([*PORTS, 7000, 65535, port or 443])))
    return targets


def verdict(host, port, method):
    """The manual's words: -> (allowed?, number of the line that decided or None)."""
    try:
        address = ipaddress.ip_address(host)
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
    except ValueError:
        address = None
    name = host.lower().removesuffix(".")
    found = []
    for number, (_, kind, value, own) in enumerate(LIST, 1):
        if address is None:
            if kind not in ("name", "suffix") or not (
                    name == value or kind == "suffix" and name.endswith("." + value)):
                continue
            breadth = -1000 if kind == "name" else -len(value)
            opens = [443 if method == "CONNECT" else 80] if own is None else [own]
        else:
            if kind not in ("net", "range") or address not in ipaddress.ip_network(value):
                continue
            if kind == "range" and any(address in net for net in ONLY_THEMSELVES if net.version == address.version):
                continue
            breadth = -ipaddress.ip_network(value).prefixlen - (kind == "net")
            opens = [own] if own is not None else [443] if method == "CONNECT" else [80, 443, *range(1025, 65536)]
        found.append((port not in opens, breadth, own is None, number))
    if not found:
        return False, None
    best = min(found)
    return not best[0], best[3]


def bracketed(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def explain(targets, path):
    """What --explain says of each: {target: (stdout lines, exit status)}; two processes at a time."""
    def one(target):
        ran = subprocess.run([EGRESSD, "--explain", bracketed(*target), "--allowlist", path], capture_output=True,
                             text=True, timeout=60, check=False, close_fds=False)
        return target, (ran.stdout.splitlines(), ran.returncode)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(pool.map(one, targets))


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.load)])
def test_explain_agrees_with_enforcement(egressd, step):
    """
    Every target three ways: by the manual's words above, by a running egressd, and by --explain; in the
    ordinary run every seventh, since each costs a process. Nothing is dialled: --never covers every
    address, so what is listed ends as self, or has no address in DNS.
    """
    proxy = egressd("".join(entry + "\n" for entry, _, _, _ in LIST), "--never", "0.0.0.0/0", "--never", "::/0")
    proxy.expect(r"\S+:\d+:\d+: warning: .*")
    targets = table()
    assert len(targets) > 1000
    targets = targets[::step]
    explained = explain(targets, proxy.list_path)
    codes = []
    for host, port in targets:
        client, answer = proxy.tunnel(bracketed(host, port))
        client.close()
        codes += [answer.code, proxy.get(f"http://{bracketed(host, port)}/").code]
    lines = [line for line in proxy.audit() if "id" in line]
    assert len(lines) == 2 * len(targets)
    for i, (host, port) in enumerate(targets):
        target, said = bracketed(host, port), explained[host, port]
        allowed = []
        for method, code, line in zip(["CONNECT", "HTTP"], codes[2 * i:], lines[2 * i:]):
            want, number = verdict(host, port, method)
            rule = line["rule"]
            assert line["code"] == code
            assert code in (("self", "dns-nxdomain") if want else ("not-listed", "port")), (method, target, code)
            assert (rule and rule["line"]) == number, (method, target, rule)
            assert rule is None or rule["entry"] == LIST[number - 1][0]
            allowed.append(want)
            text = "no entry" if rule is None else f"{proxy.list_path}:{rule['line']}: {rule['entry']}"
            assert said[0][len(allowed) - 1] == f"{method}: {'allow' if want else 'deny'} {text}", target
        assert len(said[0]) == 2 and said[1] == (0 if any(allowed) else 1), target


def test_explain_defaults_and_usage(run_egressd, tmp_path):
    """Without a port: 443 and 80. What has no canonical form is a usage error."""
    path = tmp_path / "domains.txt"
    path.write_text("a.test\nb.test:443\n")

    def ask(*argv):
        return run_egressd("--explain", *argv, "--allowlist", str(path))

    ran = ask("a.test")
    assert ran.stdout == f"CONNECT: allow {path}:1: a.test\nHTTP: allow {path}:1: a.test\n" and ran.returncode == 0
    ran = ask("b.test")
    assert ran.stdout == f"CONNECT: allow {path}:2: b.test:443\nHTTP: deny {path}:2: b.test:443\n" and ran.returncode == 0
    ran = ask("c.test")
    assert ran.stdout == "CONNECT: deny no entry\nHTTP: deny no entry\n" and ran.returncode == 1
    for odd in ["127.1", "a..test", "a.test:0", "a.test:65536", "http://a.test", "[::1", "a.test/", "u@a.test", "", "*", "\u00e4.test"]:
        ran = ask(odd)
        assert ran.returncode == 2 and ran.stdout == "" and len(ran.stderr.splitlines()) == 1, odd
    path.write_text("*\n")
    ran = ask("a.test")
    assert ran.returncode == 1 and ran.stdout == "" and f"{path}:1:1: error:" in ran.stderr
