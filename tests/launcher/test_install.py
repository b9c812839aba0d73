"""make install and uninstall: what is where, and that the installed program finds what it builds images from."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow  # make looks at all sources each time
DOCKER = pathlib.Path(__file__).with_name("fake-docker")


def make(*words, home):
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "SAN", "CFLAGS", "DESTDIR", "PREFIX")}
    return subprocess.run(["make", "--no-print-directory", *words], cwd=TREE, env={**env, "HOME": str(home)},
                          capture_output=True, text=True, timeout=100)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def prebuilt():
    """The ordinary build, whatever build is under test."""
    if not (TREE / "build/prisoncode").exists() or not (TREE / "build/egressd").exists():
        pytest.skip("no ordinary build here, only one of another mode: run make first")


@pytest.mark.parametrize("words,bin,share", [
    ([], "bin", ".local/share"), (["PREFIX={home}/p"], "p/bin", "p/share")])
def test_install_and_uninstall(tmp_path, prebuilt, words, bin, share):
    home = tmp_path / "home"
    home.mkdir()
    words = [w.format(home=home) for w in words]
    r = make("install", "SKIP_TESTS=1", *words, home=home)
    assert r.returncode == 0, r.stderr
    have = files(home)
    for name in ("%s/prisoncode" % bin, "%s/egressd" % bin, "%s/man/man1/prisoncode.1" % share,
                 "%s/man/man8/egressd.8" % share, "%s/man/man5/prisoncode-domains.5" % share,
                 "%s/prisoncode/docker/app.Dockerfile" % share):
        assert name in have
    # the checkout is gone: the program runs from its place alone
    (tmp_path / "bin").mkdir()
    (tmp_path / "fake").mkdir()
    shutil.copy(DOCKER, tmp_path / "bin/docker")
    env = {"HOME": str(home), "PATH": "%s:/usr/bin:/bin" % (tmp_path / "bin"), "FAKE": str(tmp_path / "fake")}
    moved = tmp_path / "moved"
    for place in (home, moved):
        r = subprocess.run([place / bin / "prisoncode", "--dry-run", "-r"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert r.returncode == 0, r
        assert all(line.endswith(" %s/%s/prisoncode" % (place, share)) for line in r.stdout.splitlines())
        # what the image's recipes copy is there
        sources = place / share / "prisoncode"
        for recipe in sources.glob("docker/*.Dockerfile"):
            for what in re.findall(r"^COPY ((?!--)\S+)", recipe.read_text(), re.M):
                assert list(sources.glob(what)), (recipe.name, what)
        if place == home:
            home.rename(moved)
    moved.rename(home)
    r = make("uninstall", *words, home=home)
    assert r.returncode == 0, r.stderr
    assert files(home) == []


def test_install_runs_the_tests_unless_told_otherwise(tmp_path):
    def would_run(*words):
        return "tests/run-pytest" in make("-n", "install", *words, home=tmp_path).stdout
    assert would_run() and not would_run("SKIP_TESTS=1")
