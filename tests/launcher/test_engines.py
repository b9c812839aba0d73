"""Kinds of engines: served in their own words, or refused with the reason before anything is left on them."""
import json
import os

import pytest

from conftest import option, run_with_mounts

DOCKER = {"ServerVersion": "26.1.5", "OSType": "linux", "OperatingSystem": "Debian", "MemTotal": 8 << 30,
          "DockerRootDir": "/var/lib/docker", "MemoryLimit": True, "PidsLimit": True, "ClientInfo": {"Context": "default"}}
PODMAN = {"host": {"os": "linux", "memTotal": 8 << 30, "security": {"rootless": True},
                   "cgroupControllers": ["cpu", "memory", "pids"]}, "version": {"Version": "4.3.1"}}


def engine(box, info, more=""):
    (box.fake / "info").write_text(json.dumps(info))
    box.behave("case $1 in info) cat \"$FAKE/info\"; exit 0;; esac\n" + more)


def test_docker_desktop_is_served(box):
    engine(box, {**DOCKER, "OperatingSystem": "Docker Desktop", "Name": "docker-desktop"})
    assert box.run("run", "x").returncode == 0
    assert "ok    docker     Docker Desktop 26.1.5" in box.run("--doctor").stdout


@pytest.mark.parametrize("change,phrase", [
    ({"DockerRootDir": "/var/snap/docker/common/var-lib-docker"}, "Docker from the snap store does not see ~/.prisoncode"),
    ({"ServerVersion": "19.03.15"}, "Docker Engine 19.03.15 is too old"),
    ({"OSType": "windows"}, "switch it to Linux containers"),
])
def test_engines_that_cannot_run_a_jail(box, change, phrase):
    engine(box, {**DOCKER, **change})
    assert phrase in box.refused("run", "x")
    assert not [v for v in box.verbs() if v.split()[0] in ("create", "start")]
    assert {"network rm net", "network rm out"} <= set(box.verbs()) and box.sessions() == []
    r = box.run("--doctor")
    assert r.returncode == 1 and phrase in r.stdout


@pytest.mark.parametrize("host", ["ssh://me@far.example", "tcp://10.1.2.3:2375", "tcp://far.example:2376", "https://x.example"])
def test_an_engine_on_another_machine(box, host):
    assert "does not see this directory" in box.refused("run", "x", env={"DOCKER_HOST": host})
    assert box.calls() == [] and box.sessions() == []
    assert "does not see this directory" in box.run("--doctor", env={"DOCKER_HOST": host}).stdout
    assert box.calls()[0][0] == "image"  # nothing was asked of it but what is local


@pytest.mark.parametrize("host", ["unix:///run/user/1000/docker.sock", "tcp://127.0.0.1:2375", "tcp://localhost:2375", ""])
def test_an_engine_on_this_machine(box, host):
    assert box.run("run", "x", env={"DOCKER_HOST": host}).returncode == 0


@pytest.mark.parametrize("host,served", [("unix:///home/me/.docker/desktop/docker.sock", True), ("ssh://far.example", False)])
def test_contexts_of_the_client(box, host, served):
    engine(box, {**DOCKER, "ClientInfo": {"Context": "other"}},
           "case $1 in context) echo %s; exit 0;; esac" % host)
    if served:
        assert box.run("run", "x").returncode == 0
        assert box.run("--doctor").returncode == 0
    else:
        assert "on another machine (%s)" % host in box.refused("run", "x")
        assert "on another machine" in box.run("--doctor").stdout
    assert box.sessions() == []


def test_rootless_docker_calls_the_user_root(box):
    engine(box, {**DOCKER, "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]})
    box.behave((box.fake / "behave").read_text() +
               "case \"$1 $*\" in start*-jail) cp \"$HOME\"/.prisoncode/run/2*/passwd \"$FAKE/passwd\";; esac")
    assert box.run("run", "x").returncode == 0
    for kind in ("jail", "egressd"):
        c = box.call("create " + kind)
        assert option(c, "--user") == ["0:0"] and option(c, "--cap-drop") == ["ALL"]
    assert (box.fake / "passwd").read_text().startswith("root:x:0:0:")


def test_limits_that_an_engine_has_not_are_said_and_not_asked_for(box):
    engine(box, {**DOCKER, "MemoryLimit": False, "PidsLimit": False})
    r = box.run("run", "x")
    assert "cannot limit memory" in r.stderr and "cannot limit processes" in r.stderr
    c = box.call("create jail")
    assert "--memory" not in c and "--pids-limit" not in c


@pytest.mark.parametrize("rootless", [True, False])
def test_podman_is_refused(box, rootless):
    """Its internal networks have an address of its own side, rootless too."""
    engine(box, {**PODMAN, "host": {**PODMAN["host"], "security": {"rootless": rootless}}},
           """case "$*" in 'network create'*com.docker*) echo 'Error: unsupported bridge network option' >&2; exit 125;; esac""")
    assert "podman 4.3.1 gives every network's bridge an address" in box.refused("run", "x")
    assert not [v for v in box.verbs() if v.split()[0] in ("create", "start")]
    assert {"network rm net", "network rm out"} <= set(box.verbs()) and box.sessions() == []
    r = box.run("--doctor")
    assert r.returncode == 1 and "install Docker Engine" in r.stdout


def test_selinux_labels_are_left_alone(box):
    """label=disable for both; nothing is ever relabelled (no z or Z on a mount)."""
    box.run("run", "x")
    for kind in ("jail", "egressd"):
        c = box.call("create " + kind)
        assert "label=disable" in option(c, "--security-opt")
        assert not [m for m in option(c, "--mount") if m.rsplit(",", 1)[1] in ("z", "Z") or "relabel" in m]
        assert "-v" not in c and "--volume" not in c


@pytest.mark.parametrize("kernel,servers,none", [
    ("here", ["192.0.2.1"], True), ("here", ["127.0.0.1"], False), ("here", ["192.0.2.1", "::1"], False),
    ("elsewhere", ["192.0.2.1"], False)])
def test_the_sidecar_asks_the_engine_for_names_where_it_must(box, kernel, servers, none):
    """A resolver on a loopback address is out of a container's reach; another machine may have others."""
    if kernel != "here":
        box.behave("""[ "$1" != info ] || { echo '{"KernelVersion":"another machine"}'; exit; }""")
    (box.home / "resolv").write_text("".join("nameserver %s\n" % s for s in servers))
    r = run_with_mounts(box, "mount --bind $HOME/resolv /etc/resolv.conf", "run", "x")
    assert r.returncode == 0, r
    assert option(box.call("create egressd"), "--dns-option") == ["ndots:none"] * none
    assert option(box.call("create jail"), "--dns-option") == ["ndots:none"]
    box.settle()
