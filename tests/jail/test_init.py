"""The jail's first program, in network namespaces that look like a jail: no engine is needed.

"Outside" stands for the engine's machine and its bridge, "inside" for the jail; a pair of interfaces
joins them. The proxy is the real egressd, outside. Each test opens one way out and must see that the
program names it and does not start the command.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
INIT = os.environ.get("JAIL_INIT", str(TREE / "build/jail-init"))
EGRESSD = os.environ.get("EGRESSD", str(TREE / "build/egressd"))
NOT_SEALED = 97
PROXY = "10.213.9.2:3128"
# Enough of a resolver: every question has an answer without records, or the error code given.
RESOLVER = """
import socket, sys, threading
addr, rcode = sys.argv[1], int(sys.argv[2])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind((addr, 53))
t = socket.create_server((addr, 53))
def reply(q): return q[:2] + bytes([0x81, 0x80 | rcode]) + q[4:]
def tcp():
    while True:
        c, _ = t.accept(); q = c.recv(999); r = reply(q[2:]); c.sendall(len(r).to_bytes(2, 'big') + r)
if sys.argv[3] == 'udp': t.close()
else: threading.Thread(target=tcp, daemon=True).start()
if sys.argv[3] == 'tcp': u.close()
print(flush=True)
while True:
    if sys.argv[3] == 'tcp': threading.Event().wait()
    q, a = u.recvfrom(999); u.sendto(reply(q), a)
"""
SERVER = """
import socket, sys
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
print(flush=True)
while True:
    c, _ = s.accept(); c.recv(999); c.sendall(sys.argv[3].encode()); c.close()
"""


class Namespace:
    """A process that holds namespaces until its standard input ends."""

    def __init__(self, command):
        self.process = subprocess.Popen([*command, "sh", "-c", "echo; exec cat"], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        if self.process.stdout.readline() != "\n":
            _, err = self.process.communicate()
            raise OSError(err.strip())
        self.enter = ["nsenter", "-t", str(self.process.pid), "-U", "-n", "--preserve-credentials"]

    def sh(self, script, check=True):
        done = subprocess.run([*self.enter, "sh", "-ec", script], capture_output=True, text=True,
                              timeout=30)
        assert not check or done.returncode == 0, script + ": " + done.stderr
        return done

    def close(self):
        self.process.communicate("")


class Jail:
    def __init__(self):
        self.started = []
        self.outside = Namespace(["unshare", "--user", "--map-root-user", "--net"])
        self.inside = Namespace([*self.outside.enter, "unshare", "--net"])
        self.outside.sh("ip link set lo up; echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; "
                        "ip link add veth0 type veth peer name eth0 netns "
                        f"{self.inside.process.pid}; ip addr add 10.213.9.2/29 dev veth0; "
                        "ip link set veth0 up")
        self.inside.sh("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up; "
                       "ip addr add 10.213.9.3/29 dev eth0; ip link set eth0 up")

    def start(self, where, *command, **more):
        """A program that says a line once it serves."""
        process = subprocess.Popen([*where.enter, *command], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, **more)
        self.started.append(process)
        return process

    def serve(self, where, code, *args):
        process = self.start(where, sys.executable, "-c", code, *map(str, args))
        assert process.stdout.readline() == "\n", process.stdout.read()

    def start_proxy(self, folder):
        (folder / "list").write_text("example.com\n")
        process = self.start(self.outside, EGRESSD, "--allowlist", folder / "list", "--listen", PROXY,
                             "--dns", "127.0.0.1", "--audit-log", folder / "audit")
        assert "serving" in process.stdout.readline()
        return process

    def command(self, *more, command=("echo", "started")):
        # As docker starts it: without any capability, and nothing that could give one.
        return [*self.inside.enter, "setpriv", "--bounding-set=-all", "--inh-caps=-all",
                "--no-new-privs", INIT, "--proxy", PROXY, *more, "--", *command]

    def run(self, *more, **command):
        return subprocess.run(self.command(*more, **command), capture_output=True, text=True,
                              timeout=30)

    def close(self):
        for process in self.started:
            process.terminate()
            process.communicate()
        self.inside.close()
        self.outside.close()


def make_jail():
    for tool in ("unshare", "nsenter", "setpriv", "ip"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is missing")
    try:
        return Jail()
    except OSError as error:
        pytest.skip(f"no namespaces may be made here: {error}")


@pytest.fixture
def bare_jail():
    jail = make_jail()
    yield jail
    jail.close()


@pytest.fixture
def jail(bare_jail, tmp_path):
    bare_jail.start_proxy(tmp_path)
    bare_jail.audit = tmp_path / "audit"
    return bare_jail


def assert_names(done, probe, text=""):
    """It did not start the command, and exactly this probe failed."""
    assert (done.returncode, done.stdout) == (NOT_SEALED, ""), done
    found = done.stderr.splitlines()[1:]
    assert [line.split(":")[0] for line in found] == [probe], done.stderr
    assert text in found[0], done.stderr


def test_a_sealed_jail_becomes_its_command(jail):
    done = jail.run("--closed", "host=172.17.0.1:22")
    assert (done.returncode, done.stdout) == (0, "started\n"), done
    assert done.stderr == "prisoncode: sealed: 11/11\n"
    assert [line for line in jail.audit.read_text().splitlines() if '"start"' not in line] == [], \
        "the question whether the proxy serves is no event"


def test_status_and_streams_are_the_commands(jail):
    done = jail.run(command=("sh", "-c", "cat; echo to standard error >&2; exit 7"))
    assert done.returncode == 7 and done.stderr.endswith("\nto standard error\n")
    done = subprocess.run(jail.command(command=("cat",)), input="passed on", text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30)
    assert done.stdout == "passed on"


def test_no_descriptor_is_left_open(jail):
    done = jail.run(command=("ls", "/proc/self/fd"))
    assert done.stdout.split() == ["0", "1", "2", "3"], "3 is that of ls itself"


def test_a_command_that_cannot_run(jail, tmp_path):
    assert jail.run(command=("no-such-command",)).returncode == 127
    (tmp_path / "text").write_text("")
    done = jail.run(command=(str(tmp_path / "text"),))
    assert done.returncode == 126 and "cannot run" in done.stderr


def test_a_default_route_to_nobody_is_harmless(jail):
    jail.inside.sh("ip route add default via 10.213.9.1")
    start = time.monotonic()
    done = jail.run("--closed", "host=172.17.0.1:22")
    assert done.returncode == 0, done
    assert time.monotonic() - start < 2, "it does not wait until the kernel gives up"


def test_the_gateway_answers(jail):
    jail.outside.sh("ip addr add 10.213.9.1/29 dev veth0")
    assert_names(jail.run(), "gateway", "10.213.9.1:80 answers")


def test_a_router_that_has_the_gateways_address_and_says_nothing(jail):
    """It answers the question who has the address, and drops everything else."""
    jail.inside.sh("ip route add default via 10.213.9.1")
    jail.outside.sh("ip link add sink type veth; ip link set sink up; ip link set veth1 up; "
                    "echo 1 >/proc/sys/net/ipv4/ip_forward; "  # a new namespace has this machine's
                    "echo 1 >/proc/sys/net/ipv4/conf/veth0/proxy_arp; "
                    "echo 0 >/proc/sys/net/ipv4/neigh/veth0/proxy_delay; "
                    "ip route add 10.213.9.1/32 dev sink")
    assert_names(jail.run(), "gateway", "somebody has 10.213.9.1")


def test_a_neighbour(jail):
    jail.outside.sh("ip addr add 10.213.9.5/29 dev veth0")
    assert_names(jail.run(), "neighbours", "10.213.9.5:80 answers")


def test_a_default_route_through_the_proxy(jail):
    jail.inside.sh("ip route add default via 10.213.9.2")
    done = jail.run()
    assert done.returncode == NOT_SEALED
    assert "IPv4 routes: a default route through 10.213.9.2\n" in done.stderr


def test_one_route_more(jail):
    jail.inside.sh("ip route add 192.0.2.0/24 dev eth0")
    done = jail.run()
    assert done.returncode == NOT_SEALED
    assert "IPv4 routes: a route to the network 192.0.2.0 on eth0\n" in done.stderr


def test_an_address_that_must_be_closed(jail):
    """Told from a route that the kernel does not list: it asks, whatever the table says."""
    jail.inside.sh("ip addr add 198.51.100.7/32 dev lo")
    assert_names(jail.run("--closed", "host=192.0.2.1:22", "--closed", "sidecar=198.51.100.7:9"),
                 "host and sidecar", "sidecar 198.51.100.7:9 answers")


def test_the_metadata_address(jail):
    jail.inside.sh("ip addr add 169.254.169.254/32 dev lo")
    assert_names(jail.run(), "metadata", "169.254.169.254:80 answers")


def test_an_ipv6_address(jail):
    jail.inside.sh("echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip addr add 2001:db8::3/64 dev eth0")
    assert_names(jail.run(), "IPv6", "on eth0")


@pytest.mark.parametrize("transport,probe", [("udp", "DNS by UDP"), ("tcp", "DNS by TCP")])
@pytest.mark.parametrize("rcode", [0, 3])
def test_a_resolver_that_knows_the_world(jail, transport, probe, rcode):
    jail.serve(jail.inside, RESOLVER, "127.0.0.11", rcode, transport)
    for _ in range(20):  # on a busy machine this resolver may be slower than the program waits
        done = jail.run()
        if done.returncode != 0:
            break
    assert_names(done, probe, "127.0.0.11:53 answers")


@pytest.mark.parametrize("rcode", [2, 5])
def test_a_resolver_that_asks_nobody(jail, rcode):
    jail.serve(jail.inside, RESOLVER, "127.0.0.11", rcode, "both")
    assert jail.run().returncode == 0


def test_rights(jail):
    command = jail.command()
    command = [word for word in command if word != "--no-new-privs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == NOT_SEALED and "rights: a file may give new privileges\n" in done.stderr
    assert "kinds of sockets: cannot be limited: " in done.stderr, "it takes that, too"
    command = [word for word in jail.command() if word != "--bounding-set=-all"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert_names(done, "rights", "Cap")


FAMILIES = """
import ctypes, errno, socket
for family, kind, name in ((1, 1, "unix"), (2, 1, "inet"), (2, 2, "udp"), (10, 1, "inet6"), (16, 3, "netlink"),
                           (40, 1, "vsock"), (38, 5, "alg"), (17, 2, "packet"), (29, 3, "can"), (2 | 1 << 32, 1, "high")):
    r = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(NUMBER), ctypes.c_long(family), kind, 0)
    print(name, "made" if r >= 0 else errno.errorcode[ctypes.get_errno()])
r = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(PAIR), ctypes.c_long(17), 3, 0, ctypes.create_string_buffer(8))
print("pair", "made" if r >= 0 else errno.errorcode[ctypes.get_errno()])
r = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(425), 1, ctypes.create_string_buffer(200))
print("io_uring", errno.errorcode[ctypes.get_errno()] if r < 0 else "made")
"""


def test_kinds_of_sockets(jail):
    """The sets of system calls of this machine; x32 has its own numbers, where a kernel has it."""
    machine = os.uname().machine
    numbers = {"x86_64": [41, 41 | 0x40000000], "aarch64": [198]}.get(machine)
    pair = {"x86_64": 53, "aarch64": 199}.get(machine)
    if not numbers:
        pytest.skip(f"no numbers of system calls for {machine}")
    for number in numbers:
        code = FAMILIES.replace("NUMBER", str(number)).replace("PAIR", str(pair))
        done = jail.run(command=(sys.executable, "-c", code))
        got = dict(line.split() for line in done.stdout.splitlines())
        for name in ("unix", "inet", "udp", "inet6", "netlink", "high"):
            assert got[name] == "made" if number == numbers[0] else got[name] in ("made", "ENOSYS"), got
        for name in ("vsock", "alg", "packet", "can", "pair"):
            assert got[name] == "EAFNOSUPPORT", got
        assert got["io_uring"] == "ENOSYS"


def test_a_proxy_that_does_not_serve(bare_jail):
    bare_jail.serve(bare_jail.outside, SERVER, *PROXY.split(":"), "HTTP/1.1 503 Unavailable\r\n\r\n")
    assert_names(bare_jail.run(), "proxy", "HTTP/1.1 503 Unavailable")


def test_a_proxy_that_comes_up_late_is_waited_for(bare_jail, tmp_path):
    process = subprocess.Popen(bare_jail.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    bare_jail.start_proxy(tmp_path)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "started\n"), err


def test_the_proxy_is_asked_when_it_is_said_to_serve(jail, tmp_path):
    """Not before: the kernel asks for an address that nobody has yet only once a second."""
    go = tmp_path / "go"
    go.write_text("")
    assert_names(jail.run("--go", str(go), "--wait", "1"), "proxy", "no answer in 1 s")
    assert_names(jail.run("--go", str(tmp_path / "missing"), "--wait", "1"), "proxy", "no answer in 1 s")
    process = subprocess.Popen(jail.command("--go", str(go)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    go.write_text("go\n")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "started\n"), err


def test_an_address_that_must_be_closed_and_is_there_with_the_proxy(jail, tmp_path):
    """The sidecar comes up beside the jail: nobody has its addresses when the jail's program starts."""
    go = tmp_path / "go"
    go.write_text("")
    process = subprocess.Popen(jail.command("--go", str(go), "--closed", "sidecar=198.51.100.7:9"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    jail.inside.sh("ip addr add 198.51.100.7/32 dev lo")
    go.write_text("go\n")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (NOT_SEALED, ""), err
    assert "host and sidecar: sidecar 198.51.100.7:9 answers" in err


def test_what_failed_goes_to_the_report(jail, tmp_path):
    report = tmp_path / "report"
    report.write_text("")
    jail.outside.sh("ip addr add 10.213.9.5/29 dev veth0; ip addr add 10.213.9.1/29 dev veth0")
    done = jail.run("--report", str(report))
    assert (done.returncode, done.stdout, done.stderr) == (NOT_SEALED, "", "")
    assert report.read_text() == ("gateway: 10.213.9.1:80 answers\n"
                                  "neighbours: 10.213.9.5:80 answers\n")
    link = tmp_path / "link"
    link.symlink_to(report)
    done = jail.run("--report", str(link))
    assert done.returncode == NOT_SEALED and "gateway" in done.stderr, "no link is followed"


def test_a_sealed_jail_leaves_the_report_empty(jail, tmp_path):
    report = tmp_path / "report"
    report.write_text("")
    assert jail.run("--report", str(report)).returncode == 0
    assert report.read_text() == ""


def test_signals_end_it_while_it_waits(bare_jail):
    process = subprocess.Popen(bare_jail.command(), stderr=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    process.terminate()
    assert process.wait(timeout=5) == -15


@pytest.mark.parametrize("arguments", [
    [], ["--proxy"], ["--proxy", PROXY], ["--proxy", PROXY, "--"], ["--", "true"], ["true"],
    ["--proxy", "10.213.9.2", "true"], ["--proxy", "10.213.9.2:0", "true"],
    ["--proxy", "10.213.9.2:65536", "true"], ["--proxy", "10.213.9.2:+1", "true"],
    ["--proxy", "10.213.9.2:1x", "true"], ["--proxy", "010.213.9.2.5:1", "true"],
    ["--proxy", PROXY, "--closed", "10.0.0.1:2", "true"],
    ["--proxy", PROXY, "--closed", "=10.0.0.1:2", "true"],
    ["--proxy", PROXY, *["--closed", "a=10.0.0.1:2"] * 17, "true"],
    ["--proxy", PROXY, "--report", "relative", "true"],
    ["--proxy", PROXY, "--go", "relative", "true"], ["--proxy", PROXY, "--wait", "1x", "true"],
    ["--proxy", PROXY, "--wait", "", "true"], ["--proxy", PROXY, "--wait", "-1", "true"],
    ["--proxy", PROXY, "--help", "true"], ["--proxy", PROXY, "--unknown", "x", "true"],
])
def test_arguments_of_no_sense(arguments):
    done = subprocess.run([INIT, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")


def test_no_proxy_at_all(bare_jail):
    assert_names(bare_jail.run("--wait", "1"), "proxy", "no answer in 1 s")
