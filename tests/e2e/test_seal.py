"""No way out but the proxy.

Each test asks the same things twice: from a container on an ordinary network of the same engine,
where they must be answered (else the test could not fail), and from the jail, where none may be.
"""
import ipaddress
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import uuid

import pytest

from conftest import APP_IMAGE, ROOT, docker, session_networks, wait_until

HERE = pathlib.Path(__file__).parent
ETH_P_ALL = 3
ORDINARY_GATEWAY = f"10.214.{os.getpid() % 250}.1"  # beside other runs on this machine


class HostService:
    """A careless service of this machine: TCP and UDP on all its addresses, both families."""

    def __init__(self):
        self.tcp = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.udp.bind(("::", self.port))
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._echo, daemon=True).start()

    def _accept(self):
        while True:
            try:
                conn, _ = self.tcp.accept()
            except OSError:
                return
            with conn:
                conn.sendall(b"a service of the host\n")

    def _echo(self):
        while True:
            try:
                data, address = self.udp.recvfrom(1000)
                self.udp.sendto(data, address)
            except OSError:
                return

    def close(self):
        for sock in (self.tcp, self.udp):
            sock.shutdown(socket.SHUT_RDWR) if sock is self.tcp else None
            sock.close()


@pytest.fixture(scope="module")
def service():
    service = HostService()
    yield service
    service.close()


def host_addresses(family, interface=None):
    """This machine's addresses, loopback left out, as (interface, address)."""
    command = ["ip", "-j", f"-{family}", "addr", "show"]
    shown = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return [(link["ifname"], info["local"]) for link in shown for info in link["addr_info"]
            if link["ifname"] != "lo" and interface in (None, link["ifname"])]


def bridge_of(network):
    """The interface of this machine that a docker network is."""
    shown = json.loads(docker("network", "inspect", network))[0]
    named = shown["Options"].get("com.docker.network.bridge.name")
    return named or "br-" + shown["Id"][:12]


@pytest.fixture(scope="module")
def ordinary():
    """An ordinary network, for what must be reachable from it."""
    name = f"e2e-ordinary-{os.getpid()}"
    docker("network", "create", "--subnet", f"10.214.{os.getpid() % 250}.0/24", name)
    yield name
    docker("network", "rm", name)


@pytest.fixture(scope="module")
def neighbour(images):
    """A container of somebody else, with a service, on the default network."""
    code = ("import socket\ns = socket.create_server(('', 8000))\n"
            "while True: c = s.accept()[0]; c.sendall(b'neighbour'); c.close()")
    name = f"e2e-neighbour-{os.getpid()}"
    docker("run", "-d", "--rm", "--init", "--name", name, APP_IMAGE, "python3", "-c", code)
    shown = json.loads(docker("inspect", name))[0]
    yield shown["NetworkSettings"]["IPAddress"]
    docker("rm", "-f", name)


def from_ordinary(targets, tmp_path, network, *options):
    """The answers that an ordinary container on this network gets."""
    folder = tmp_path / "ordinary"
    folder.mkdir(exist_ok=True)
    shutil.copy(HERE / "probe.py", folder)
    (folder / "targets.json").write_text(json.dumps(targets))
    return json.loads(docker("run", "--rm", "--network", network, *options, "--mount",
                             f"type=bind,src={folder},dst=/probe,readonly", APP_IMAGE,
                             "python3", "/probe/probe.py", "/probe/targets.json"))


class Running:
    """What a test needs to know of a running session."""

    def __init__(self, session=None):
        """session: as its containers' names begin; None: there is only one."""
        names = [n for n in session_networks() if session is None or n.startswith(session + "-")]
        shown = json.loads(docker("network", "inspect", *names))
        self.session = names[0].rsplit("-", 1)[0]
        self.inner, = [n for n in shown if n["Internal"]]
        self.outer, = [n for n in shown if not n["Internal"]]
        self.subnet = ipaddress.ip_network(self.inner["IPAM"]["Config"][0]["Subnet"])
        self.gateway = str(self.subnet[1])
        self.bridge = bridge_of(self.inner["Name"])

    def sidecar(self, network):
        """The sidecar's address on one of the two networks."""
        found = [c["IPv4Address"].split("/")[0] for c in network["Containers"].values()
                 if "egressd" in c["Name"]]
        return found[0]


def from_jail(home, make_targets):
    """The targets that make_targets(Running()) wants, and the answers that the jail gets."""
    shutil.copy(HERE / "probe.py", home.workspace)
    process = home.start("--bash", "-c", "touch started; while [ ! -e go ]; do sleep 0.05; done; "
                         "python3 probe.py targets.json")
    wait_until((home.workspace / "started").exists, 30, "the jail runs")
    targets = make_targets(Running())
    home.write("targets.json", json.dumps(targets))
    home.write("go", "")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return targets, json.loads(out)


def assert_sealed(targets, answers):
    assert len(targets) == len(answers)
    open_ways = [t for t, a in zip(targets, answers) if a in ("answered", "closed")]
    assert open_ways == []


def assert_open(targets, answers):
    closed = [(t, a) for t, a in zip(targets, answers) if a != "answered"]
    assert closed == [], "the probe itself does not work"


def both(addresses, port):
    return [[kind, address, port, ""] for address in addresses for kind in ("tcp", "udp")]


def test_no_ipv4_route_to_other_containers(home, neighbour, tmp_path):
    targets = [["tcp", neighbour, 8000, ""]]
    assert_open(targets, from_ordinary(targets, tmp_path, "bridge"))
    assert_sealed(*from_jail(home, lambda session: targets))


def test_no_ipv4_route_to_services_of_the_host(home, service, ordinary, tmp_path):
    """Neither at the host's own addresses nor at those of any bridge."""
    control = both([a for _, a in host_addresses(4)], service.port)
    assert_open(control, from_ordinary(control, tmp_path, ordinary))

    def targets(session):
        return both([a for _, a in host_addresses(4)], service.port)
    assert_sealed(*from_jail(home, targets))


def test_nobody_has_the_gateways_address(home, service, ordinary, tmp_path):
    control = both([ORDINARY_GATEWAY], service.port)
    assert_open(control, from_ordinary(control, tmp_path, ordinary))

    def targets(session):
        rest = [str(a) for a in session.subnet.hosts() if str(a) != session.sidecar(session.inner)]
        return both(rest, service.port)
    assert_sealed(*from_jail(home, targets))


def test_no_ipv6_to_the_host(home, service, ordinary, tmp_path):
    """Not even at the link-local address that every bridge has."""
    on_bridge = [a for _, a in host_addresses(6, bridge_of(ordinary))]
    if not on_bridge:
        # The kernel gives a bridge its link-local address with its first container.
        on_bridge = link_local_while_used(ordinary)
    control = both([f"{a}%eth0" for a in on_bridge if a.startswith("fe80")], service.port)
    assert control, "this machine's bridges have no IPv6 at all"
    opened = from_ordinary(control, tmp_path, ordinary, "--sysctl",
                           "net.ipv6.conf.all.disable_ipv6=0")
    assert_open(control, opened)

    def targets(session):
        linked = [f"{a}%eth0" for _, a in host_addresses(6, session.bridge)]
        routed = [a for _, a in host_addresses(6) if not a.startswith("fe80")]
        assert linked, "the jail's bridge has a link-local address of the host"
        return both(linked + routed, service.port)
    assert_sealed(*from_jail(home, targets))


def link_local_while_used(network):
    name = f"e2e-holder-{os.getpid()}"
    docker("run", "-d", "--rm", "--init", "--name", name, "--network", network, APP_IMAGE,
           "sleep", "60")
    bridge = bridge_of(network)
    wait_until(lambda: host_addresses(6, bridge), 10, "the bridge has an IPv6 address")
    found = [a for _, a in host_addresses(6, bridge)]
    docker("rm", "-f", name)
    return found


def test_of_the_sidecar_only_the_proxys_port_answers(home):
    """Neither another port of it, nor its address on the outer network."""
    ports = [22, 53, 80, 443, 2375, 3127, 3129, 8080, 9090]

    def targets(session):
        inner, outer = session.sidecar(session.inner), session.sidecar(session.outer)
        return [["tcp", inner, port, ""] for port in ports] + both([outer], 3128)
    assert_sealed(*from_jail(home, targets))
    done = home.run("--bash", "-c", "curl -s --noproxy '*' -o /dev/null -w '%{http_code}' $HTTP_PROXY/")
    assert done.stdout == "400", "the proxy's port itself answers"


# ---- DNS -----------------------------------------------------------------------------------------


class Sniffer:
    """Sees every packet of this machine's own network namespace; a context manager."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.sock.settimeout(0.2)
        self.data = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._read)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()
        self.sock.close()

    def _read(self):
        while not self.stop.is_set():
            try:
                packet, address = self.sock.recvfrom(65536)
            except TimeoutError:
                continue
            self.data.append((address[0], packet.lower()))

    def saw(self, name):
        """The interfaces on which a packet with this name as DNS writes it passed."""
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        return sorted({where for where, packet in list(self.data) if labels in packet})


@pytest.fixture
def sniffer():
    if not ROOT:
        pytest.skip("seeing that no packet leaves needs root")
    with Sniffer() as sniffer:
        yield sniffer


def unique_name():
    return f"e2e{uuid.uuid4().hex[:20]}.invalid"


def test_no_dns_leaves_the_jail(home, ordinary, sniffer, tmp_path):
    """Neither through Docker's own resolver nor straight to any server."""
    servers = ["127.0.0.11", ORDINARY_GATEWAY, "198.51.100.53"]
    kinds = [[kind, server, 53] for server in servers for kind in ("dns-udp", "dns-tcp")]
    control = [[*kind, unique_name()] for kind in kinds if kind[0] == "dns-udp"]
    from_ordinary(control, tmp_path, ordinary)
    for target in control:
        assert sniffer.saw(target[3]), f"{target}: the probe itself does not work"

    asked = [[*kind, unique_name()] for kind in kinds]
    targets, answers = from_jail(home, lambda session: asked)
    assert [a for a, t in zip(answers, targets) if a == "answered" and t[1] != "127.0.0.11"] == []
    for target in targets:
        assert sniffer.saw(target[3]) == [], target


def test_an_ordinary_lookup_in_the_jail_fails_at_once(home, sniffer):
    name = unique_name()
    done = home.run("--bash", "-c", f"time getent hosts {name}; getent hosts localhost")
    assert name not in done.stdout and "localhost" in done.stdout
    seconds = float(done.stderr.split("real\t0m")[1].split("s")[0])
    assert seconds < 2, "it does not wait for anybody"
    assert sniffer.saw(name) == []


def test_a_denied_name_causes_no_lookup(home, sniffer):
    """Else every denied name would be a message to whoever runs its name server."""
    denied, listed = unique_name(), unique_name()
    home.write_list(listed)
    ask = "curl -s -o /dev/null -m 20 http://{0}/ https://{0}/"
    home.run("--bash", "-c", "; ".join(ask.format(name) for name in (listed, denied)))
    assert sniffer.saw(listed), "a listed name is looked up by the sidecar"
    assert sniffer.saw(denied) == []


# ---- the proof at each start ---------------------------------------------------------------------

# A docker command that leaves out or replaces words: an engine that did not understand them.
FILTER = """#!/usr/bin/python3
import os, sys
words = sys.argv[1:]
for old, new in {changes!r}:
    for i in range(len(words) - len(old) + 1):
        if words[i:i + len(old)] == old:
            words[i:i + len(old)] = new
            break
os.execv({docker!r}, ["docker", *words])
"""


def spoil(home, changes):
    folder = home.path / "bin"
    folder.mkdir()
    path = folder / "docker"
    path.write_text(FILTER.format(changes=changes, docker=shutil.which("docker")))
    path.chmod(0o755)
    home.person.own(folder)
    home.env = {**home.env, "PATH": f"{folder}:{home.env['PATH']}"}


def test_every_session_says_that_it_is_sealed(home):
    done = home.run("--bash", "-c", "echo hello")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert re.fullmatch(r"prisoncode: sealed: (\d+)/\1\n", done.stderr), done.stderr


INHIBIT = "com.docker.network.bridge.inhibit_ipv4=true"
ISOLATED = "com.docker.network.bridge.gateway_mode_ipv4=isolated"


@pytest.mark.parametrize("changes,probe", [
    ([(["-o", INHIBIT, "-o", ISOLATED], [])], "gateway: "),
    ([(["--internal", "-o", INHIBIT, "-o", ISOLATED], [])], "gateway: "),
    ([(["--cap-drop", "ALL"], [])], "rights: "),
    ([(["--sysctl", "net.ipv6.conf.all.disable_ipv6=1"],
       ["--sysctl", "net.ipv6.conf.all.disable_ipv6=0"])], "IPv6: "),
])
def test_a_jail_that_is_not_sealed_does_not_start(home, changes, probe):
    """The probe is named, nothing was run, and nothing is left (the fixture looks)."""
    spoil(home, changes)
    done = home.run("--bash", "-c", "touch started; exit 0")
    assert done.returncode == 1 and not (home.workspace / "started").exists()
    assert "sealed: " not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("prisoncode: the jail is not sealed, so nothing was started in it: ")
    assert probe in last


def test_the_probes_are_quick(home, report_times):
    """Timed in the jail itself, against a start of the same program that only says how it is used."""
    script = r"""
        words=$(tr '\0' '\n' </proc/1/cmdline | sed -n '/jail-init/,/^--$/p')
        time_of() { s=$(date +%s%N); "$@" >/dev/null 2>&1; e=$(date +%s%N); echo $(((e - s) / 1000)); }
        for n in 1 2 3 4 5; do echo $(time_of $words true) $(time_of /usr/local/lib/prisoncode/jail-init); done
    """
    done = home.run("--bash", "-c", script)
    pairs = [[int(t) / 1e6 for t in line.split()] for line in done.stdout.splitlines()]
    assert len(pairs) == 5
    report_times("probes of a sealed jail", [probed for probed, _ in pairs])
    # on a busy machine every turn of the scheduler's costs what a bare start of the program costs
    assert min(probed for probed, _ in pairs) < 0.05 + 20 * min(bare for _, bare in pairs)
    assert min(probed for probed, _ in pairs) > 0.02, "they did run"


def test_an_open_network_is_said_and_not_probed(home):
    done = home.run("--unrestricted-network", "--bash", "-c", "echo hello")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "nothing is probed" in done.stderr and "sealed: " not in done.stderr


def test_no_zombies_are_left_in_the_jail(home):
    """The first process of the jail takes in what nobody waits for."""
    script = ("for n in 1 2 3 4 5; do (sleep 0.1 & exec sleep 0) & done; wait; sleep 0.5; "
              "cat /proc/1/comm; cat /proc/[0-9]*/stat | grep -c ') Z '")
    assert home.run("--bash", "-c", script).stdout.split()[1:] == ["0"]
