"""What egressd owes its libraries: a build that makes llhttp strict, and ids that c-ares draws by chance."""
import os
import re
import shlex
import signal
import subprocess

import pytest

from conftest import EGRESSD, ROOT

CC = os.environ.get("CC", "cc")


# ---- llhttp

def llhttp_cflags():
    """The header's place as the Makefile finds it, without the macro that makes it strict."""
    found = subprocess.run(["pkg-config", "--cflags", "libllhttp"], capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return shlex.split(found.stdout)
    return ["-I/usr/share/include/llhttp"]


def header_version():
    text = subprocess.run([CC, "-E", "-dM", *llhttp_cflags(), "-include", "llhttp.h", "-x", "c", os.devnull],
                          capture_output=True, text=True, check=True).stdout
    return int(re.search(r"#define LLHTTP_VERSION_MAJOR (\d+)", text).group(1))


def compile_http(tmp_path, version, *flags):
    """egressd/http.c with this machine's llhttp.h, which says that its version is another one."""
    if version is not None:
        (tmp_path / "llhttp.h").write_text("#include_next <llhttp.h>\n#undef LLHTTP_VERSION_MAJOR\n"
                                           f"#define LLHTTP_VERSION_MAJOR {version}\n")
    return subprocess.run(
        [CC, "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-fsyntax-only", f"-I{tmp_path}", *llhttp_cflags(),
         f"-I{ROOT}/egressd", f"-I{ROOT}/acl", *flags, f"{ROOT}/egressd/http.c"],
        capture_output=True, text=True, check=False)


REFUSAL = r'error: .*"llhttp before 9 must be built with -DLLHTTP_STRICT_MODE=1"'


@pytest.mark.parametrize("version", [None, 6, 8])
@pytest.mark.parametrize("flags", [[], ["-DLLHTTP_STRICT_MODE=0"]], ids=["not named", "off"])
def test_loose_llhttp_is_refused(tmp_path, version, flags):
    """By the compiler: what llhttp before 9 takes when it was not built strict smuggles requests."""
    if version is None and header_version() >= 9:
        version = 8  # this machine's own needs no macro
    done = compile_http(tmp_path, version, *flags)
    assert done.returncode != 0
    assert re.search(REFUSAL, done.stderr), done.stderr


@pytest.mark.parametrize("version,flags", [(8, ["-DLLHTTP_STRICT_MODE=1"]), (9, []), (10, [])])
def test_strict_llhttp_is_not(tmp_path, version, flags):
    done = compile_http(tmp_path, version, *flags)
    assert done.returncode == 0, done.stderr


# ---- c-ares

@pytest.fixture
def watched(egressd, tmp_path):
    """egressd under ids.c, with a resolv.conf of its own; proxy.ids() is what was said so far."""
    if not {"san", "tsan"}.isdisjoint(EGRESSD.split(os.sep)):
        pytest.skip("preloading comes before the sanitizers' runtime")
    library = str(tmp_path / "ids.so")
    subprocess.run([CC, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library,
                    os.path.join(ROOT, "tests/proxy/ids.c"), "-ldl"], check=True)
    # Beside the list, where the cage lets it be read.
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "domains.txt").write_text("allowed.test\n")
    resolv = folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    proxy = egressd(None, "--dns-timeout", "1", use_dns=None, list_path=str(folder / "domains.txt"), workers=1,
                    env={"LD_PRELOAD": library, "RESOLV_CONF": str(resolv)})
    proxy.expect("ids: (open: done|arc4random|getrandom: done)")
    proxy.resolv = resolv
    proxy.ids = lambda: [line for line in proxy.stderr if line.startswith("ids: ")]
    return proxy


def test_ids_of_channels_made_in_the_cage(watched):
    """
    Each channel draws its ids from /dev/urandom (c-ares before 1.19, which else makes do with rand() and
    says nothing), or from the C library's arc4random or the kernel's getrandom (later ones, some not before
    a first question): the one made before the cage, and those that a new resolv.conf makes inside.
    """
    def ask():
        """Nobody listens there: the question is asked and fails."""
        assert watched.tunnel("allowed.test:443")[1].status in (502, 504)

    ask()
    drawn = len(watched.ids())
    assert drawn >= 1
    for i in range(3):
        watched.resolv.write_text(f"nameserver 127.0.0.{2 + i}\n")
        watched.kill(signal.SIGHUP)
        watched.wait_audit(action="reload", code="reloaded", count=1 + i)
        ask()
        drawn = len(watched.wait_stderr("ids: .*", count=drawn + 1))
    assert "ids: rand" not in watched.ids()


@pytest.mark.parametrize("text, why", [("search allowed.test\n", "names none"), (None, "cannot be read")])
def test_a_resolv_conf_without_a_resolver_is_told(watched, text, why):
    """The resolvers of before go on being asked."""
    if text is None:
        watched.resolv.unlink()
    else:
        watched.resolv.write_text(text)
    watched.kill(signal.SIGHUP)
    watched.wait_audit(action="reload", code="reloaded")
    watched.wait_stderr(rf"egressd: dns: no resolver: resolv\.conf {why}")
    assert watched.tunnel("allowed.test:443")[1].status in (502, 504)


def test_the_same_resolvers_need_no_new_channel(watched):
    drawn = watched.ids()
    watched.kill(signal.SIGHUP)
    watched.wait_audit(action="reload", code="reloaded")
    assert watched.ids() == drawn
