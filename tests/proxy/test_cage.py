"""The cage: what is given up before the first request, and what a hijacked egressd still can.

hole.c is preloaded into the real program and acts from inside it; nothing of it is in the program.
"""
import ctypes
import os
import platform
import signal
import subprocess

import pytest

from conftest import EGRESSD, ROOT, free_port

SAN = "san" in EGRESSD.split(os.sep)
X86 = platform.machine() == "x86_64"
NR_SECCOMP, NR_LANDLOCK = (317 if X86 else 277), 444

pytestmark = pytest.mark.skipif(
    SAN, reason="under sanitizers there is no filter, and preloading comes before their runtime")


def has_landlock():
    return ctypes.CDLL(None).syscall(NR_LANDLOCK, 0, 0, 1) > 0


needs_landlock = pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user: needs root")


@pytest.fixture(scope="session")
def hole_so(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("hole") / "hole.so")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror",
                    "-o", out, os.path.join(ROOT, "tests/proxy/hole.c"), "-ldl"], check=True)
    return out


@pytest.fixture
def hijacked(egressd, hole_so):
    """hijacked(deeds) -> (proxy, {deed: how it ended})"""
    def start(*deeds, options=(), audit="file", ends=None):
        proxy = egressd("allowed.test\n", *options, audit=audit,
                        env={"LD_PRELOAD": hole_so, "HOLE": " ".join(deeds)})
        proxy.kill(signal.SIGUSR2)
        if ends is not None:
            proxy.exit_status = proxy.process.wait(20)
            proxy.accounts = False
            assert -proxy.exit_status in ends
            return proxy, {}
        said = proxy.wait_stderr(r"hole: .*", count=len(deeds))
        return proxy, dict(line[len("hole: "):].rsplit(": ", 1) for line in said)
    return start


def status_of_process(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


# ---- what is given up

def test_state_of_a_serving_egressd(egressd):
    status = status_of_process(egressd("allowed.test\n").process.pid)
    assert {key: int(status[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == \
        {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0}
    if os.geteuid() == 0:
        assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"  # a filter


@needs_root
def test_nobody_may_serve_and_not_be_dumped(tmp_path):
    """As another user; /proc/PID belongs to root where the process cannot be dumped or traced."""
    (tmp_path / "list").mkdir()
    (tmp_path / "list/domains.txt").write_text("allowed.test\n")
    (tmp_path / "log").mkdir()
    os.chown(tmp_path / "log", 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o005 == 0o005:
            os.chmod(folder, 0o755)
    port = free_port()
    with subprocess.Popen(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", EGRESSD, "--allowlist",
             str(tmp_path / "list/domains.txt"), "--listen", f"127.0.0.1:{port}", "--dns", "127.0.0.1",
             "--audit-log", str(tmp_path / "log/audit")], stderr=subprocess.PIPE) as process:
        line = process.stderr.readline()
        owner = os.stat(f"/proc/{process.pid}/maps").st_uid
        status = status_of_process(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert line == f"egressd: serving on 127.0.0.1:{port}\n".encode()
    assert status["Uid"].split()[1] == "65534" and owner == 0
    assert int(status["CapEff"], 16) == 0 and status["Seccomp"] == "2"


# ---- what a hijacked egressd can no longer do

@pytest.mark.parametrize("deed", ["exec", "execveat", "ptrace", "process_vm_readv",
                                  "process_vm_writev", "x32", "i386"])
def test_programs_and_tracing_end_it(hijacked, deed):
    if deed == "i386" and not X86:
        pytest.skip("i386's calls are of x86_64 alone")
    # A kernel without i386's calls has its own way to end those who try.
    hijacked(deed, ends=[signal.SIGSYS] + [signal.SIGSEGV] * (deed == "i386"))


def test_calls_that_are_refused(hijacked):
    deeds = ["fork", "newuser", "unshare", "listen", "bind", "unix", "raw", "packet", "vsock",
             "netfilter", "ulp", "ip-option", "map-code", "make-code", "kill", "tgkill", "prctl", "io_uring",
             "memfd", "bpf", "keyctl", "mount", "chroot", "setuid", "unlink", "mkdir", "prlimit",
             "pidfd"]
    proxy, ended = hijacked(*deeds)
    assert ended == dict.fromkeys(deeds, "EPERM")
    _, answer = proxy.tunnel("denied.test:443")  # and it serves on
    assert answer.status == 403


def test_calls_that_lead_nowhere(hijacked):
    """clone3 hides its flags behind a pointer; a bind as short as netlink's is none of IPv4's."""
    _, ended = hijacked("clone3", "bind-short")
    assert ended == {"clone3": "ENOSYS", "bind-short": "EINVAL"}


@needs_landlock
def test_files_out_of_reach(hijacked, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    folder = tmp_path / "egressd0"
    deeds = [f"open={secret}", f"write={secret}", f"create={tmp_path}/new", "open=/proc/self/mem",
             "open=/proc/self/environ", "write=/dev/urandom", "write=/etc/hosts", "open=/",
             f"open={EGRESSD}", f"open={folder}"]
    _, ended = hijacked(*deeds)
    assert ended == dict.fromkeys(deeds, "EACCES")


@needs_landlock
def test_list_cannot_be_written(hijacked, tmp_path):
    """With the log in a folder of its own the list's is only read."""
    (tmp_path / "log").mkdir()
    listed = tmp_path / "egressd0/domains.txt"
    deeds = [f"write={listed}", f"create={listed}.new", f"truncate={tmp_path}/log/audit"]
    _, ended = hijacked(*deeds, options=["--audit-log", str(tmp_path / "log/audit")], audit="stdout")
    assert ended == dict.fromkeys(deeds, "EACCES")


# ---- what it still can, so that nobody believes otherwise

def test_what_it_still_can(hijacked, tmp_path):
    """Read what a reload reads, beside it too; write the log's folder; connect (see SECURITY.md)."""
    folder = tmp_path / "egressd0"
    deeds = [f"open={folder}/domains.txt", "open=/etc/hosts", "open=/dev/urandom",
             f"create={folder}/new", f"write={folder}/audit.jsonl"]
    _, ended = hijacked(*deeds)
    assert ended == dict.fromkeys(deeds, "done")


# ---- what works all the same

@needs_landlock
def test_list_that_moves_out_of_the_cage_is_unusable(egressd, tmp_path):
    proxy = egressd("allowed.test\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/list").write_text("other.test\n")
    os.symlink(tmp_path / "elsewhere/list", proxy.list_path + ".new")
    os.rename(proxy.list_path + ".new", proxy.list_path)
    proxy.wait_stderr(r".*domains.txt: error: cannot read: Permission denied")
    proxy.wait_stderr(r".*the new list is unusable; the old one stays in force")
    proxy.wait_audit(action="reload", code="list-error")


def test_relative_paths(egressd, dns, tmp_path):
    """Started with names relative to its folder; reload and a new log work from inside."""
    proxy = egressd("allowed.test\n", "--audit-log=audit.jsonl", audit="stdout")
    proxy.reload("other.test\n")
    os.rename(proxy.audit_path, proxy.audit_path + ".1")
    proxy.kill(signal.SIGUSR1)
    while not os.path.exists(proxy.audit_path):
        proxy.tunnel("denied.test:443")
    proxy.accounts = False


def test_resolv_conf_is_read_again(run_egressd, egressd, hole_so):
    """Without --dns resolv.conf stays in reach: SIGHUP finds no fault with it."""
    if not os.path.exists("/etc/resolv.conf"):
        pytest.skip("no /etc/resolv.conf here")
    proxy = egressd("allowed.test\n", use_dns=None, wait=False)
    if proxy.process.poll() is None:
        try:
            proxy.wait_ready()
        except AssertionError:
            proxy.expect(".*")
            proxy.exit_status = 1
            proxy.accounts = False
            pytest.skip("this machine's resolv.conf names no resolver")
    proxy.reload("other.test\n")


# ---- what the kernel lacks

def lacking(hole_so, tmp_path, number):
    listed = tmp_path / "domains.txt"
    listed.write_text("allowed.test\n")
    return subprocess.Popen(
        [EGRESSD, "--allowlist", str(listed), "--listen", f"127.0.0.1:{free_port()}", "--dns",
         "127.0.0.1", "--audit-log", str(tmp_path / "log")], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "LD_PRELOAD": hole_so, "LACK": str(number)})


def test_without_seccomp_nothing_is_served(hole_so, tmp_path):
    with lacking(hole_so, tmp_path, NR_SECCOMP) as process:
        said = process.stderr.read()
        assert process.wait(20) == 1
    assert said == "egressd: cage: system call filter (seccomp): Function not implemented\n"
    assert not os.path.exists(tmp_path / "log")


def test_without_landlock_it_serves_and_says_so(hole_so, tmp_path):
    with lacking(hole_so, tmp_path, NR_LANDLOCK) as process:
        first, second = process.stderr.readline(), process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert first == ("egressd: no Landlock here (Function not implemented): "
                     "files are guarded by their permissions alone\n")
    assert second.startswith("egressd: serving on ")


@needs_root
def test_list_of_another_user_is_refused_at_start(tmp_path):
    """root without capabilities cannot read it again, and would say so only at the first reload."""
    listed = tmp_path / "domains.txt"
    listed.write_text("allowed.test\n")
    os.chown(listed, 65534, 65534)
    os.chmod(listed, 0o600)
    done = subprocess.run(
        [EGRESSD, "--allowlist", str(listed), "--listen", f"127.0.0.1:{free_port()}", "--dns",
         "127.0.0.1", "--audit-log", str(tmp_path / "log")], capture_output=True, text=True,
        timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == f"egressd: cage: {listed}: Permission denied\n"
