"""What an agent in the jail tries to get out, or at what is not its own.

One jail serves all attempts that change nothing. An attempt is a piece of Python that prints "ESCAPED"
when it worked. Each is made first where the protection is taken away: from an ordinary container of the
same engine, from one with the single option dropped, or with all rights; there it must work, else the
test could not fail.
"""
import ipaddress
import json
import os
import pathlib
import shutil
import subprocess
import uuid

import pytest

from conftest import APP_IMAGE, ROOT, docker, left_behind, session_containers, wait_until
from test_seal import HostService, Running, host_addresses

# What most attempts need.
PRELUDE = """
import ctypes, errno, fcntl, glob, json, os, socket, struct, subprocess, sys, time
socket.setdefaulttimeout(2)
libc = ctypes.CDLL(None, use_errno=True)
def syscall(number, *args):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    return r, errno.errorcode.get(ctypes.get_errno(), "")
def escaped(*what): print("ESCAPED", *what); sys.exit()
"""


class Jail:
    """A session whose shell takes one script after the other."""

    def __init__(self, home):
        self.home = home
        self.count = 0
        self.process = home.start("--bash", stdin=subprocess.PIPE)
        assert self.sh("echo ready") == "ready\n"
        self.running = Running(self.container()["Name"].strip("/").rsplit("-", 1)[0])

    def container(self):
        name, = [n for n in session_containers() if n.endswith("-jail")
                 and str(self.home.workspace) in docker("inspect", n)]
        return json.loads(docker("inspect", name))[0]

    def sh(self, script, interpreter="bash"):
        """What it prints on both streams; the script is over then."""
        self.count += 1
        self.home.write(f".script{self.count}", script)
        mark = f"over-{self.count}"
        self.process.stdin.write(f"{interpreter} /workspace/.script{self.count} </dev/null "
                                 f">/workspace/.out 2>&1; rm -f /workspace/.script*; echo {mark} $?\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line.startswith(mark), line or self.process.stderr.read()
        return self.home.read(".out")

    def python(self, code):
        return self.sh(PRELUDE + code, "python3")

    def end(self):
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return err


@pytest.fixture(scope="module")
def jail(make_home, person, ordinary):
    home = make_home(person)
    (home.workspace / ".git/hooks").mkdir(parents=True)
    home._write(home.workspace / ".git/hooks/pre-commit", "#!/bin/sh\n")
    person.own(home.workspace)
    jail = Jail(home)
    yield jail
    jail.end()
    wait_until(lambda: not [n for n in left_behind() if jail.running.session in n], 30, "it is gone")


class Container:
    """A container of the same image that is no jail; every attempt is a docker exec."""

    def __init__(self, *options):
        self.name = f"e2e-loose-{uuid.uuid4().hex[:8]}"
        docker("run", "-d", "--rm", "--init", "--name", self.name, *options, APP_IMAGE, "sleep", "3600")

    def python(self, code, *options):
        done = subprocess.run(["docker", "exec", "-i", *options, self.name, "python3", "-"], text=True,
                              input=PRELUDE + code, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60)
        return done.stdout

    def end(self):
        docker("rm", "-f", self.name)


@pytest.fixture(scope="module")
def ordinary(images):
    """What docker run gives to anybody, with IPv6 as a container of an engine with IPv6 has it."""
    subnet = f"10.215.{os.getpid() % 250}.0/24"
    network = f"e2e-escape-{os.getpid()}"
    docker("network", "create", "--subnet", subnet, network)
    container = Container("--network", network, "--sysctl", "net.ipv6.conf.all.disable_ipv6=0")
    container.network = network
    container.gateway = subnet.replace(".0/24", ".1")
    yield container
    container.end()
    docker("network", "rm", network)


@pytest.fixture(scope="module")
def privileged(images):
    """Without what Docker itself puts between a container and the kernel."""
    container = Container("--cap-add", "SYS_ADMIN", "--cap-add", "DAC_READ_SEARCH", "--security-opt",
                          "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--security-opt",
                          "systempaths=unconfined", "--device", "/dev/urandom:/dev/sdx")
    yield container
    container.end()


@pytest.fixture(scope="module")
def service():
    service = HostService()
    yield service
    service.close()


def assert_only_outside(jail, control, code, where=None):
    """The attempt works at the control, and not in the jail."""
    assert "ESCAPED" in (control.python(code) if where is None else control.python(where)), \
        "the attempt itself does not work"
    got = jail.python(code)
    assert "ESCAPED" not in got
    return got


# ---- the network ---------------------------------------------------------------------------------

def test_raw_sockets(jail, ordinary):
    for kind in ("socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP", "socket.AF_PACKET, socket.SOCK_RAW"):
        got = assert_only_outside(jail, ordinary, f"s = socket.socket({kind})\nescaped()")
        assert "PermissionError" in got or "not supported" in got


PING = """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
s.sendto(struct.pack(">BBHHH", 8, 0, 0, 1, 1) + b"payload", ("{0}", 0))
if s.recv(100): escaped()
"""


def test_echo_requests(jail, ordinary):
    """They need no right where the kernel gives them to every group."""
    docker0 = [a for i, a in host_addresses(4) if i != "lo"][0]
    assert_only_outside(jail, ordinary, PING.format(docker0))
    for address in (jail.running.gateway, ordinary.gateway):
        assert "ESCAPED" not in jail.python(PING.format(address))


MULTICAST = """
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
end = time.time() + 3
while time.time() < end:
    try:
        s.sendto(b"anybody?", ("ff02::1", {0}))
        if s.recvfrom(100): escaped()
    except OSError as error:
        print(error)
        if error.errno == errno.ENETUNREACH: break
        time.sleep(0.2)
"""


def test_ipv6_multicast_to_every_machine_on_the_link(jail, ordinary, service):
    assert_only_outside(jail, ordinary, MULTICAST.format(service.port))


def test_ipv6_neighbours(jail, ordinary):
    """Nobody on the jail's network has an IPv6 address, not even a link-local one."""
    code = "print(open('/proc/net/if_inet6').read())\nif 'eth0' in open('/proc/net/if_inet6').read(): escaped()"
    assert_only_outside(jail, ordinary, code)


def test_sockets_that_no_network_namespace_holds(jail, privileged):
    """AF_VSOCK talks to the machine around a virtual one, AF_ALG to the kernel."""
    tried = 0
    for family in ("40, socket.SOCK_STREAM", "38, 5", "socket.AF_PACKET, socket.SOCK_DGRAM"):
        code = f"s = socket.socket({family})\nescaped()"
        if "ESCAPED" in privileged.python(code):  # else this kernel has no such thing at all
            tried += 1
            assert "ESCAPED" not in jail.python(code), family
    assert tried > 0


ADDRESS = """
s = socket.socket()
request = struct.pack("16sHH4s8x", b"eth0", socket.AF_INET, 0, socket.inet_aton("{0}"))
fcntl.ioctl(s, 0x8916, request)
escaped()
"""
ROUTE = """
def a(text): return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))
s = socket.socket()
request = struct.pack("Q", 0) + a("198.51.100.0") + a("{0}") + a("255.255.255.0") + struct.pack("HhQQhPQQH6x", 3, 0, 0, 0, 0, 0, 0, 0, 0)
fcntl.ioctl(s, 0x890b, request)
escaped()
"""


def test_its_own_addresses_and_routes(jail, images):
    """Neither another address (the gateway's, for instance) nor a route through the sidecar."""
    admin = Container("--cap-add", "NET_ADMIN")
    try:
        gateway = json.loads(docker("inspect", admin.name))[0]["NetworkSettings"]["Gateway"]
        assert "ESCAPED" in admin.python(ROUTE.format(gateway))
        assert "ESCAPED" in admin.python(ADDRESS.format("198.51.100.9"))
        for code in (ROUTE.format(jail.running.sidecar(jail.running.inner)), ADDRESS.format("198.51.100.9")):
            got = jail.python(code)
            assert "ESCAPED" not in got and "not permitted" in got, got
    finally:
        admin.end()


def test_the_docker_api(jail, images):
    """No socket of it is there, and none on any network."""
    code = """
for path in ("/var/run/docker.sock", "/run/docker.sock", "/host.sock"):
    try:
        s = socket.socket(socket.AF_UNIX); s.connect(path)
        s.sendall(b"GET /version HTTP/1.0\\r\\n\\r\\n")
        if b"ApiVersion" in s.recv(4000): escaped(path)
    except OSError as error: print(error)
"""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        pytest.skip("the engine has no socket on this machine")
    open_ = Container("--mount", f"type=bind,src={host[7:]},dst=/host.sock")
    try:
        assert_only_outside(jail, open_, code)
    finally:
        open_.end()
    assert jail.sh("find / -xdev -type s 2>/dev/null; find /run /var /tmp /jail -type s 2>/dev/null") == ""
    found = jail.sh("cat /proc/net/unix").splitlines()[1:]
    assert [line for line in found if "/" in line or "@" in line] == []


def test_the_sidecar_listens_at_one_port_only(jail):
    """As the kernel sees it from inside the sidecar, not as a scan of some ports would."""
    if not ROOT:
        pytest.skip("looking into the sidecar's network needs root")
    sidecar = jail.running.session + "-egressd"
    pid = json.loads(docker("inspect", sidecar))[0]["State"]["Pid"]
    listening = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        table = pathlib.Path(f"/proc/{pid}/net/{name}")
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            local, state = line.split()[1], line.split()[3]
            address, port = local.split(":")
            if state == "0A" or name.startswith("udp"):
                listening.add((name, ".".join(str(b) for b in bytes.fromhex(address)[::-1]), int(port, 16)))
    others = {one for one in listening if one[1] != "127.0.0.11"}  # Docker's resolver, for itself
    assert {one for one in others if one[0].startswith("tcp")} == \
        {("tcp", jail.running.sidecar(jail.running.inner), 3128)}
    # a socket that asks a resolver is bound while it waits; none was asked anything here
    assert {one for one in others if one[0].startswith("udp") and one[1] != "0.0.0.0"} == set()
    forward = subprocess.run(["nsenter", "-t", str(pid), "-n", "cat", "/proc/sys/net/ipv4/ip_forward"],
                             capture_output=True, text=True, check=True).stdout
    assert forward == "0\n", "it is no router"


REQUEST = """
proxy = os.environ["http_proxy"].split("//")[1].split(":")
def ask(text):
    s = socket.create_connection((proxy[0], int(proxy[1])), 5)
    s.sendall(text.encode() + b"\\r\\n\\r\\n")
    got = b""
    while b"\\r\\n\\r\\n" not in got or (b"content-length" in got.lower() and not got.endswith(b"}")):
        more = s.recv(4000)
        if not more: break
        got += more
    return got.decode()
"""


def codes(jail, targets):
    """status and code of a CONNECT and of a plain request to each target."""
    code = REQUEST + f"""
answers = []
for target in {targets!r}:
    for text in ("CONNECT %s HTTP/1.1\\r\\nHost: %s", "GET http://%s/ HTTP/1.1\\r\\nHost: %s"):
        answer = ask(text % (target, target))
        body = answer.partition("\\r\\n\\r\\n")[2]
        answers.append([answer.split()[1], json.loads(body)["code"] if body.startswith("{{") else ""])
print(json.dumps(answers))
"""
    got = jail.python(code)
    return [tuple(a) for a in json.loads(got.splitlines()[-1])]


@pytest.fixture
def relisted(jail):
    """Changes the list of the running session, and waits until it is in force."""
    def relist(*entries):
        mark = f"{uuid.uuid4().hex[:12]}.invalid"
        jail.home.write_list(jail.home.model_entry, mark, *entries)
        code = REQUEST + f"""
end = time.time() + 20
while "not-listed" in ask("GET http://{mark}/ HTTP/1.1\\r\\nHost: {mark}"):
    if time.time() > end: sys.exit("the list did not change")
    time.sleep(0.05)
"""
        assert jail.python(code) == ""
    yield relist
    jail.home.write_list(jail.home.model_entry)


def test_the_proxy_does_not_reach_its_own_ports_nor_docker(jail, ordinary, relisted):
    """Whatever the list says: not itself on either network, no bridge, no other container."""
    inner, outer = jail.running.sidecar(jail.running.inner), jail.running.sidecar(jail.running.outer)
    gateway = str(ipaddress.ip_network(jail.running.outer["IPAM"]["Config"][0]["Subnet"])[1])
    targets = [f"{a}:3128" for a in (inner, outer, gateway, ordinary.gateway)]
    relisted(*targets, "10.213.0.0/16:3128", "10.215.0.0/16:3128", "172.16.0.0/12:3128")
    assert codes(jail, targets) == [("403", "self")] * 8
    # the same request to what is listed and nobody's own: it is the address that decides
    tunnel = f"CONNECT {jail.home.model_entry} HTTP/1.1\\r\\nHost: {jail.home.model_entry}"
    assert jail.python(REQUEST + f'print(ask("{tunnel}").split()[1])') == "200\n"


def test_a_listed_name_that_leads_to_the_sidecar_itself(jail, relisted):
    """Loopback by the hosts file, and the name that Docker gives every container."""
    sidecar = json.loads(docker("inspect", jail.running.session + "-egressd"))[0]
    own = sidecar["Config"]["Hostname"]
    relisted("localhost:3128", "localhost:80", f"{own}:3128", f"{own}:80")
    got = codes(jail, ["localhost:80", "localhost:3128", f"{own}:80", f"{own}:3128"])
    assert {status for status, _ in got} == {"403"}
    assert {code for _, code in got[:4]} <= {"special-address", "self"}
    assert {code for _, code in got[4:]} == {"self"}


# ---- another session -----------------------------------------------------------------------------

def test_another_session(jail, make_home, person):
    """Neither its containers nor its files; its jail answers to itself, so the attempt works."""
    other_home = make_home(person)
    secret = uuid.uuid4().hex
    other_home.write(f"secret-{secret}", secret)
    other = Jail(other_home)
    try:
        other.home.write("serve.py", "import socket\ns = socket.create_server(('', 7000))\n"
                         "while True: c, _ = s.accept(); c.sendall(b'other'); c.close()\n")
        other.sh("setsid python3 /workspace/serve.py >/dev/null 2>&1 & sleep 0.2")
        networks = other.container()["NetworkSettings"]["Networks"]
        address, = [n["IPAddress"] for n in networks.values()]
        reach = "s = socket.create_connection(('{}', {}))\nif s.recv(10): escaped()"
        wait_until(lambda: "ESCAPED" in other.python(reach.format(address, 7000)), 10, "it serves")
        assert "ESCAPED" not in jail.python(reach.format(address, 7000))
        open_ = "s = socket.create_connection(('{}', 3128))\nescaped()"
        inner = other.running.sidecar(other.running.inner)
        outer = other.running.sidecar(other.running.outer)
        assert "ESCAPED" in other.python(open_.format(inner))
        for sidecar in (inner, outer):
            assert "ESCAPED" not in jail.python(open_.format(sidecar))
        find = f"find / -name 'secret-{secret}' 2>/dev/null"
        assert secret in other.sh(find)
        assert jail.sh(find) == ""
        assert "serve.py" in other.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "serve.py" not in jail.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    finally:
        other.end()
    wait_until(lambda: not [n for n in left_behind() if other.running.session in n], 30, "it is gone")
    running = [p.read_bytes() for p in pathlib.Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not [line for line in running if b"/workspace/serve.py" in line], "it ends with its session"


# ---- files ---------------------------------------------------------------------------------------

def test_the_list_is_nowhere_in_the_jail(jail):
    assert jail.sh("find / -name 'domains.txt*' -o -name 'audit.jsonl' 2>/dev/null") == ""


WRITE = """
wrote = []
for path in {paths!r}:
    for how in (lambda: os.close(os.open(path, os.O_WRONLY)), lambda: os.rename(path, path + ".x"),
                lambda: os.unlink(path), lambda: os.chmod(path, 0o777), lambda: os.utime(path),
                lambda: {beside} and os.close(os.open(path + ".new", os.O_WRONLY | os.O_CREAT))):
        try:
            if how() is None: wrote.append(path)
        except OSError: pass
print(sorted(set(wrote)))
"""


def test_staged_files_image_and_hooks_cannot_be_written(jail):
    """Neither changed, replaced, removed nor joined by another; /workspace shows that the attempt works."""
    sealed = ["/etc/passwd", "/etc/group", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname",
              "/etc/opencode/opencode.json", "/jail/config/opencode/opencode.json",
              "/usr/local/bin/opencode",
              "/usr/local/lib/prisoncode/jail-init", "/usr/bin/git", "/bin/bash", "/",
              "/workspace/.git/hooks/pre-commit"]
    missing = jail.sh("ls -d " + " ".join(sealed) + " >/dev/null")
    assert missing == ""
    # The agent may set the times and rights of what is its own, a staged copy included; on a read-only
    # mount even that fails.
    assert jail.python(WRITE.format(paths=sealed, beside=True)) == "[]\n"
    # opencode's own files are beside this one
    auth = ["/jail/data/opencode/auth.json"]
    assert jail.python(WRITE.format(paths=auth, beside=False)) == "[]\n"
    jail.home.write("mine", "")
    assert jail.python(WRITE.format(paths=["/workspace/mine"], beside=False)) == "['/workspace/mine']\n"


def test_mounts_are_what_the_plan_says(jail):
    """Those that the agent can write, all of them; and no device or setuid program works on those."""
    code = """
import os
for line in open("/proc/self/mountinfo"):
    left, right = line.split(" - ")
    place, options = left.split()[4:6]
    if os.access(place, os.W_OK) and not place.startswith(("/proc", "/dev")):
        print(place, ",".join(sorted({"nosuid", "nodev"} & set(options.split(",")))))
"""
    places = dict((line.split() + [""])[:2] for line in jail.python(code).splitlines())
    assert set(places) == {"/tmp", "/home/dev", "/workspace", "/jail/data/opencode",
                           "/jail/state/opencode", "/jail/seal"}
    assert places["/tmp"] == places["/home/dev"] == "nodev,nosuid"


def test_links_in_the_workspace_lead_nowhere(jail, make_home, person):
    """What a link names is looked up in the jail; and what is planted for the next session is not
    followed on the host when that one starts."""
    secret = jail.home.path / "outside"
    jail.home._write(secret, "a secret of the host\n")
    folder = jail.home.path / "private"
    folder.mkdir()
    jail.home._write(folder / "pre-commit", "a secret of the host\n")
    person.own(folder)
    got = jail.sh(f"cd /workspace; ln -s {secret} link; cat link; cat /proc/1/root{secret}; ln {secret} hard")
    assert "a secret" not in got
    assert (jail.home.workspace / "link").read_text() == "a secret of the host\n", "it leads there"
    # planted by one session, for the next
    home = make_home(person)
    (home.workspace / ".git").mkdir()
    state = jail.home.dot
    person.own(home.workspace)
    plant = Jail(home)
    plant.sh(f"cd /workspace; ln -s {folder} .git/hooks; ln -s {folder} .vscode; ln -s {secret} .envrc; "
             f"ln -s {folder}/pre-commit .git/config; rm -f $XDG_STATE_HOME/opencode/locks; "
             f"ln -s {folder} $XDG_STATE_HOME/opencode/locks; echo planted")
    plant.end()
    for options in ([], ["--protect"]):
        done = home.run(*options, "--bash", "-c",
                        "cat /workspace/.git/hooks/* /workspace/.vscode/* /workspace/.envrc "
                        "/workspace/.git/config; ls -la /workspace/.git")
        assert "a secret" not in done.stdout, done.stderr
    assert (folder / "pre-commit").exists() and state.exists(), "nothing behind a link was removed"
    wait_until(lambda: not [n for n in left_behind() if plant.running.session in n], 30, "it is gone")


SUID = """
r = subprocess.run(["{0}", "-u"], stdout=subprocess.PIPE, text=True)
print(r)
if r.stdout == "0\\n": escaped()
"""


def test_a_setuid_program_gives_nothing(jail, scratch):
    if not ROOT:
        pytest.skip("a program with the set-user-ID bit of root can only be made by root")
    folder = scratch / "suid"
    folder.mkdir(mode=0o755)
    with_tools = Container("--mount", f"type=bind,src={folder},dst=/made", "--mount",
                           f"type=bind,src={jail.home.workspace},dst=/workspace")
    try:
        with_tools.python("import shutil; shutil.copy('/usr/bin/id', '/workspace/id'); "
                          "os.chmod('/workspace/id', 0o4755)")
        asked = SUID.format("/workspace/id")
        done = subprocess.run(["docker", "exec", "-i", "-u", "1234", with_tools.name, "python3", "-"],
                              input=PRELUDE + asked, text=True, stdout=subprocess.PIPE, timeout=60)
        assert "ESCAPED" in done.stdout, "the program itself does not work"
        got = jail.python(asked)
        assert "ESCAPED" not in got and f"stdout='{jail.home.person.uid}" in got
    finally:
        with_tools.end()
        (jail.home.workspace / "id").unlink(missing_ok=True)


def test_a_compiled_program_with_its_own_bits(jail):
    """The tools are there; the rights are not."""
    source = ("#define _GNU_SOURCE\n#include <unistd.h>\n#include <stdio.h>\n"
              "int main(void) { int r = setuid(0); printf(\"%d %d\", r, (int)geteuid()); }\n")
    jail.home.write("su.c", source)
    got = jail.sh("cd /workspace && gcc -o su su.c && chmod 6755 su && ./su")
    assert got == f"-1 {jail.home.person.uid}"


# ---- the kernel ----------------------------------------------------------------------------------

CALLS = {  # by name: x86_64's number, aarch64's, arguments; none of them changes anything when it works
    "mount a tmpfs": (165, 40, ["b'x'", "b'/mnt'", "b'tmpfs'", "0", "0"]),
    "remount the root writable": (165, 40, ["0", "b'/'", "0", "32 | 4096", "0"]),
    "unshare into a new user": (272, 97, ["0x10000000"]),
    "unshare into a new network": (272, 97, ["0x40000000"]),
    "unshare into new mounts": (272, 97, ["0x00020000"]),
    "change the root": (161, 51, ["b'/tmp'"]),
    "make a block device": (133, 33, ["b'/tmp/device'", "0o60600", "0x0800"]),
    "load a program into the kernel": (321, 280, ["0", "ctypes.create_string_buffer(b'\\x02\\0\\0\\0\\x04\\0\\0\\0\\x04\\0\\0\\0\\x01' + b'\\0' * 60)", "72"]),
    "open a file by its handle": (304, 265, ["-1", "ctypes.create_string_buffer(64)", "0"]),
    "set the time": (227, 112, ["99", "ctypes.create_string_buffer(16)"]),
    "name the machine": (170, 161, ["b'other'", "5"]),
}
# What says that the call was looked at at all, where nothing stands in the way.
REACHED = ("", "EBADF", "EINVAL", "EOPNOTSUPP")


def test_system_calls(jail, privileged):
    machine = os.uname().machine
    if machine not in ("x86_64", "aarch64"):
        pytest.skip(f"no numbers of system calls for {machine}")
    code = ""
    for name, (x86, arm, arguments) in CALLS.items():
        if machine == "aarch64" and "device" in name:
            arguments = ["-100", *arguments]  # mknodat
        number = x86 if machine == "x86_64" else arm
        # each in a process of its own: some change it
        code += f"""
if os.fork() == 0:
    r, e = syscall({number}, {', '.join(arguments)})
    print({name!r}, "ESC" + "APED" if e in {REACHED!r} else "denied", e, flush=True)
    os._exit(0)
os.wait()
"""
    control = privileged.python(code).splitlines()
    assert [line for line in control if "ESCAPED" in line] == control and len(control) == len(CALLS), control
    got = jail.python(code).splitlines()
    assert [line for line in got if "denied" in line] == got and len(got) == len(CALLS), got


def test_a_clone_into_a_new_user(jail, privileged):
    code = "r = subprocess.run(['unshare', '-Ur', 'true'])\nif r.returncode == 0: escaped()"
    assert_only_outside(jail, privileged, code)


KNOBS = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger",
         "/proc/sys/net/ipv6/conf/all/disable_ipv6", "/proc/sys/net/ipv4/ip_forward",
         "/proc/sys/vm/overcommit_memory", "/proc/irq/default_smp_affinity"]


def test_knobs_of_the_kernel(jail, privileged):
    """Opened for writing; nothing is written. Not every kernel has all of them."""
    code = f"""
for path in {KNOBS!r}:
    try: os.close(os.open(path, os.O_WRONLY)); print("ESC" + "APED", path)
    except OSError as error: print(error)
"""
    control = privileged.python(code)
    assert control.count("ESCAPED") >= 5, control
    assert "ESCAPED" not in jail.python(code)


def test_devices(jail, privileged):
    code = "b = [n for n in os.listdir('/dev') if n.startswith(('sd', 'vd', 'nvme', 'loop', 'mem', 'kvm', 'fuse'))]\nif b: escaped(b)"
    assert_only_outside(jail, privileged, code)


# ---- the sidecar's life --------------------------------------------------------------------------

def test_no_process_but_the_jails_own(jail, images):
    """None to send a signal to, or to look into."""
    code = """
n = []
for p in glob.glob('/proc/[0-9]*/comm'):
    try: n.append(open(p).read().strip())
    except OSError: pass  # it ended meanwhile
print(n)
if 'egressd' in n: escaped()
"""
    beside = Container("--pid", "host")
    try:
        assert_only_outside(jail, beside, code)
    finally:
        beside.end()


def test_a_thousand_connections_do_not_end_the_proxy(jail):
    code = REQUEST + """
many = []
try:
    for i in range(1000):
        s = socket.create_connection((proxy[0], int(proxy[1])), 5); s.sendall(b"GET "); many.append(s)
except OSError as error: print(error)
for s in many: s.close()
print(ask("GET http://x.invalid/ HTTP/1.1\\r\\nHost: x.invalid").split()[1])
"""
    assert jail.python(code).splitlines()[-1] == "403"


# ---- memory, processes, disk ---------------------------------------------------------------------

@pytest.fixture(scope="module")
def small(make_home, person, images):
    """A session with little of everything."""
    home = make_home(person)
    home.env.update(PRISONCODE_MEMORY="300m", PRISONCODE_PIDS="64")
    jail = Jail(home)
    yield jail
    jail.end()
    wait_until(lambda: not [n for n in left_behind() if jail.running.session in n], 30, "it is gone")


def still_serves(jail):
    return codes(jail, ["x.invalid:80"]) == [("403", "not-listed")] * 2


def test_memory(small, ordinary):
    code = "\nx = b'a' * (600 << 20)\nescaped()"
    control = ordinary.python(code)
    assert "ESCAPED" in control, "an ordinary container gets it"
    assert "ESCAPED" not in small.sh(f"python3 -c 'import sys{code}' || echo killed".replace("escaped()", 'print("ESC" + "APED")'))
    assert still_serves(small), "the session lives on, and so does its proxy"


def test_processes(small, ordinary):
    code = """
children = []
try:
    for i in range(200):
        pid = os.fork()
        if pid == 0:
            time.sleep(60); os._exit(0)
        children.append(pid)
except OSError as error: print(error)
for pid in children: os.kill(pid, 9); os.waitpid(pid, 0)
if len(children) == 200: escaped()
"""
    assert_only_outside(small, ordinary, code)
    assert still_serves(small)


def test_disk(small, ordinary):
    """What is not the workspace is memory, and bounded; the image cannot be written."""
    code = """
def fill(path, size):
    chunk = bytes(1 << 20)
    with open(path, "wb", 0) as f:
        for i in range(size): f.write(chunk)
try: fill("{0}/big", 500); escaped()
except OSError as error: print(error)
finally: os.path.exists("{0}/big") and os.unlink("{0}/big")
"""
    assert "ESCAPED" in ordinary.python(code.format("/tmp")), "an ordinary container writes to the host's disk"
    small.home.write("fill.py", PRELUDE + code.format("/tmp"))
    assert "ESCAPED" not in small.sh("python3 /workspace/fill.py; rm -f /tmp/big")
    for place in ("/dev/shm", "/", "/usr", "/var/tmp", "/jail"):
        assert "ESCAPED" not in small.python(code.format(place)), place
    assert still_serves(small)


# ---- opencode's own configuration ----------------------------------------------------------------

def test_no_configuration_of_a_project_turns_sharing_on(jail, images):
    """Not in any file of the project nor in a variable, all at once; without ours they do."""
    wanted = '{"share": "auto", "disabled_providers": [], "autoupdate": true, "username": "seen"}'
    for name in ("opencode.json", "opencode.jsonc", ".opencode/opencode.json", "more.json"):
        path = jail.home.workspace / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted)
        jail.home.person.own(path.parent if path.parent != jail.home.workspace else path)
    show = (f"cd /workspace; OPENCODE_CONFIG=/workspace/more.json OPENCODE_CONFIG_CONTENT='{wanted}' "
            "opencode debug config 2>/dev/null")
    try:
        got = json.loads(jail.sh(show))
        bare = json.loads(docker("run", "--rm", "--network", "none", "--tmpfs", "/tmp:exec", "-e", "HOME=/tmp",
                                 "-e", "OPENCODE_DISABLE_MODELS_FETCH=1", "--mount",
                                 f"type=bind,src={jail.home.workspace},dst=/workspace", APP_IMAGE,
                                 "bash", "-c", show))
        assert (bare["share"], bare["disabled_providers"]) == ("auto", []), "the files have their effect"
        assert got["username"] == "seen"
        assert (got["share"], got["disabled_providers"], got["autoupdate"]) == ("disabled", ["opencode"], False)
    finally:
        for name in ("opencode.json", "opencode.jsonc", "more.json"):
            (jail.home.workspace / name).unlink()
        shutil.rmtree(jail.home.workspace / ".opencode")
