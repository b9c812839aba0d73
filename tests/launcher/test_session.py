"""One session: the steps and their order, what the containers are given, what is left behind."""
import json
import os
import pty
import re
import shlex
import signal
import stat
import subprocess
import time

import pytest

from conftest import all_but, holder, mounts, option, wait_for, wait_for_line

CLEAN_UP = ["rm jail", "stop egressd", "rm egressd", "network rm net", "network rm out"]


def args_of(call, image):
    return call[call.index(image) + 1:]


def index(verbs, verb):
    return verbs.index(verb)


def assert_nothing_left(box):
    box.settle()
    verbs = box.verbs()
    for verb in CLEAN_UP:
        assert verb in verbs, (verb, verbs)
    assert box.sessions() == []
    assert not list(box.fake.glob("runs.*"))


def test_steps_and_their_order(box):
    r = box.run("run", "hello")
    assert (r.returncode, r.stdout) == (0, ""), r
    verbs = box.verbs()
    assert sorted(verbs[:5]) == ["image inspect", "info", "network create net", "network create out",
                                 "network inspect"]
    assert sorted(verbs[5:8]) == ["create egressd", "create jail", "network connect egressd"]
    assert sorted(verbs[8:10]) == ["start egressd", "start jail"]  # at once
    assert index(verbs, "create egressd") < index(verbs, "network connect egressd")
    assert verbs[10:13] == ["rm jail", "stop egressd", "rm egressd"]
    assert index(verbs, "stop egressd") < index(verbs, "rm egressd")
    assert index(verbs, "stop egressd") < min(index(verbs, "network rm net"), index(verbs, "network rm out"))
    assert_nothing_left(box)


def command_of(call):
    """What the jail's first program becomes."""
    words = args_of(call, "prisoncode:latest")
    assert words[0].endswith("/jail-init")
    return words[words.index("--") + 1:]


@pytest.mark.parametrize("slow", ["network create *-net", "create *-egressd *"])
def test_the_sidecar_is_connected_when_both_ends_are_there(box, slow):
    os.mkfifo(box.fake / "go")
    box.behave("case \"$*\" in %s) : >\"$FAKE/here\"; read x <\"$FAKE/go\"; : >\"$FAKE/made\";; "
               "'network connect '*) [ -e \"$FAKE/made\" ] || : >\"$FAKE/early\";; esac" % slow.replace(" ", "\\ "))
    p = box.popen("run", "x")
    wait_for((box.fake / "here").exists, slow)
    box.wait_for_call("create jail")
    box.wait_for_call("network create out")
    assert "network connect egressd" not in box.verbs()
    box.let_go()
    p.communicate(timeout=20)
    assert p.returncode == 0 and not (box.fake / "early").exists()
    assert_nothing_left(box)


def test_jail_options(box):
    box.run("run", "a b", "--flag", "", "$(x)")
    c = box.call("create jail")
    assert command_of(c) == ["opencode", "run", "a b", "--flag", "", "$(x)"]
    assert option(c, "--user") == ["%d:%d" % (os.getuid(), os.getgid())]
    assert option(c, "--cap-drop") == ["ALL"]
    assert sorted(option(c, "--security-opt")) == ["label=disable", "no-new-privileges"]
    assert "--read-only" in c and "--init" in c and "--interactive" in c and "--tty" not in c
    assert option(c, "--pull") == ["never"]
    assert option(c, "--log-driver") == ["none"]
    assert option(c, "--dns") == ["0.0.0.0"] and option(c, "--dns-option") == ["ndots:none"]
    assert option(c, "--sysctl") == ["net.ipv6.conf.all.disable_ipv6=1"]
    assert option(c, "--pids-limit") == ["4096"]
    assert option(c, "--memory") == ["6144m"]  # three quarters of 8 GiB
    assert option(c, "--workdir") == ["/workspace"]
    assert [t.split(":")[0] for t in option(c, "--tmpfs")] == ["/tmp", "/home/dev"]
    for t in option(c, "--tmpfs"):
        assert {"exec", "nosuid", "nodev"} <= set(t.split(":")[1].split(","))
    for bad in ("--privileged", "--cap-add", "--device", "--volume", "-v", "--publish", "--pid", "--ipc",
                "--userns", "--add-host", "--rm"):
        assert bad not in c
    assert "docker.sock" not in " ".join(c)


def test_jail_mounts(box):
    box.run("run", "x")
    m = mounts(box.call("create jail"))
    writable = {dst for dst, (_, readonly) in m.items() if not readonly}
    assert writable == {"/workspace", "/jail/data/opencode", "/jail/state/opencode", "/jail/seal"}
    assert m["/workspace"][0] == str(box.workspace)
    assert {d for d in m if d not in writable} == {
        "/etc/passwd", "/etc/group", "/etc/resolv.conf", "/etc/opencode/opencode.json", "/jail/go",
        "/jail/config/opencode", "/jail/data/opencode/auth.json"}
    for dst, (src, _) in m.items():
        assert dst == "/workspace" or src.startswith(str(box.dot) + "/"), (dst, src)


def test_jail_environment(box):
    box.run("run", "x", env={"SECRET": "s", "COLORTERM": "truecolor", "LC_ALL": "C", "WANTED": "w",
                             "PRISONCODE_ENV": "WANTED, UNSET"})
    env = option(box.call("create jail"), "--env")
    named = [e for e in env if "=" not in e]
    assert sorted(named) == ["COLORTERM", "LANG", "LC_ALL", "WANTED"]
    values = dict(e.split("=", 1) for e in env if "=" in e)
    proxy = "http://%s:3128" % option(box.call("network connect egressd"), "--ip")[0]
    for name in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy"):
        assert values[name] == values[name.upper()] == proxy
    assert values["NO_PROXY"] == values["no_proxy"] == "localhost,127.0.0.1,::1,[::1]"
    assert values["HOME"] == "/home/dev"
    assert "SECRET" not in " ".join(env) and values["OPENCODE_DISABLE_SHARE"] == "1"


def test_clients_use_one_processor(box):
    """Which the jail does not hear of; a value of the user's stays."""
    seen = box.root / "seen"
    box.behave("echo \"$1 ${GOMAXPROCS-}\" >>%s" % seen)
    for mine, used in (({}, "1"), ({"GOMAXPROCS": "7"}, "7")):
        for f in box.fake.glob("argv.*"):
            f.unlink()
        (box.fake / "order").unlink(missing_ok=True)
        seen.unlink(missing_ok=True)
        box.run("run", "x", env={**mine, "PRISONCODE_ENV": "GOMAXPROCS"})
        said = dict(line.split(" ") for line in seen.read_text().splitlines())
        assert {"create", "start", "rm"} <= set(said) and set(said.values()) == {used}
        assert ("GOMAXPROCS" in option(box.call("create jail"), "--env")) == bool(mine)


def test_sidecar_options(box):
    box.run("run", "x")
    c = box.call("create egressd")
    assert option(c, "--user") == ["%d:%d" % (os.getuid(), os.getgid())]
    assert option(c, "--cap-drop") == ["ALL"]
    assert sorted(option(c, "--security-opt")) == ["label=disable", "no-new-privileges"]
    assert "--read-only" in c and "--tty" not in c and "--interactive" not in c
    assert option(c, "--sysctl") == ["net.ipv4.ip_forward=0", "net.ipv6.conf.all.disable_ipv6=1"]
    assert option(c, "--add-host") == ["host.docker.internal:host-gateway"]
    m = mounts(c)
    assert set(m) == {"/run/egressd/list", "/run/egressd/audit.jsonl"}
    assert m["/run/egressd/list"][1] and not m["/run/egressd/audit.jsonl"][1]
    a = args_of(c, "prisoncode-egressd:latest")
    jail_side = option(box.call("network connect egressd"), "--ip")[0]
    assert option(a, "--listen") == [jail_side + ":3128"]
    assert option(a, "--allowlist") == ["/run/egressd/list/domains.txt"]
    assert option(a, "--audit-log") == ["/run/egressd/audit.jsonl"]
    assert option(a, "--audit-max") == [str(64 << 20)]
    assert option(a, "--hint") == ["Ask the user to run: prisoncode --allow %s"]
    assert "10.213.0.0/16" in option(a, "--never") and "172.17.0.0/16" in option(a, "--never")


def test_networks(box):
    box.run("run", "x")
    net, out = box.call("network create net"), box.call("network create out")
    assert "--internal" in net and "--internal" not in out
    assert option(net, "-o") == ["com.docker.network.bridge.inhibit_ipv4=true",
                                 "com.docker.network.bridge.gateway_mode_ipv4=isolated"]
    assert option(out, "-o") == ["com.docker.network.bridge.enable_icc=false"]
    for n in (net, out):
        assert re.fullmatch(r"(\d+\.){3}\d+/29", option(n, "--subnet")[0])
        assert "--ipv6=false" in n
    base = option(net, "--subnet")[0].split("/")[0].rsplit(".", 1)
    assert option(box.call("network connect egressd"), "--ip") == ["%s.%d" % (base[0], int(base[1]) + 2)]
    assert option(box.call("create jail"), "--ip") == ["%s.%d" % (base[0], int(base[1]) + 3)]
    # the jail is on the internal network and on no other
    assert option(box.call("create jail"), "--network") == [net[-1]]
    assert option(box.call("create egressd"), "--network") == [out[-1]]
    assert [v for v in box.verbs() if v.startswith("network connect")] == ["network connect egressd"]


def test_everything_is_labelled(box):
    box.run("run", "x")
    for verb in ("network create net", "network create out", "create egressd", "create jail"):
        labels = dict(l.split("=") for l in option(box.call(verb), "--label"))
        assert set(labels) == {"org.prisoncode.session", "org.prisoncode.owner"}
        assert len(labels["org.prisoncode.owner"]) == 16


def test_start_of_the_jail(box):
    box.run("run", "x")
    c = box.call("start jail")
    assert "--attach" in c and "--interactive" in c
    assert option(c, "--detach-keys") == ["ctrl-^,ctrl-^,ctrl-^"]


def test_list_with_this_host_leaves_its_address_diallable(box):
    box.set_list("host.docker.internal:11434\n")
    box.run("run", "x")
    never = option(args_of(box.call("create egressd"), "prisoncode-egressd:latest"), "--never")
    assert "172.17.0.0/16" not in never and "172.17.128.0/17" in never and "172.17.0.0/32" in never
    assert "172.17.0.1/32" not in never


@pytest.mark.parametrize("status", [0, 1, 3, 42, 127, 137])
def test_exit_status_is_the_jails(box, status):
    box.behave("jail='exit %d'" % status)
    assert box.run("run", "x").returncode == status
    assert_nothing_left(box)


def test_exit_status_by_the_engine_when_the_client_has_its_own(box):
    box.behave("jail='exit 1'\n"
               "case \"$1 $2\" in 'container inspect') echo 'false false 5 2026-01-01T00:00:00Z'; exit 0;; esac")
    assert box.run("run", "x").returncode == 5


def test_jail_that_never_ran_is_our_failure(box):
    box.behave("jail='echo boom >&2; exit 126'\n"
               "case \"$1 $2\" in 'container inspect') echo 'false false 0 0001-01-01T00:00:00Z'; exit 0;; esac")
    assert "the jail did not start" in box.refused("run", "x")
    assert_nothing_left(box)


def test_interrupted_before_the_jails_first_program(box):
    """Docker's client fails then, with words of its own; the status is the signal's all the same."""
    box.behave("jail='kill -INT $PPID; echo cannot start a stopped process >&2; exit 1'\n"
               "case \"$1 $2\" in 'container inspect') echo 'false false 128 0001-01-01T00:00:00Z'; exit 0;; esac")
    r = box.run("run", "x")
    assert r.returncode == 130 and "did not start" not in r.stderr
    assert_nothing_left(box)


@pytest.mark.parametrize("words", ["cannot start a stopped process: unknown",
                                   "OCI runtime start failed: cannot start a container that has stopped: unknown"])
def test_ctrl_c_before_the_jails_first_program(box, words):
    """Docker's client has the terminal by then: the key goes to the container, and no signal to us."""
    inspect = "case \"$1 $2\" in 'container inspect') echo 'false false 128 0001-01-01T00:00:00Z %s'; exit 0;; esac"
    master, slave = pty.openpty()
    for error, status in ((words, 130), ("no such file", 1)):
        box.behave("jail='echo %s >&2; exit 1'\n" % error + inspect % error)
        assert box.run("run", "x", stdin=slave, stdout=slave).returncode == status
    box.behave("jail='exit 1'\n" + inspect % words)
    assert "the jail did not start" in box.refused("run", "x")  # nobody typed anything
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("state,phrase", [("false false 0", "may not have arrived whole"),
                                          ("true false 0", "the connection to the jail was lost")])
def test_a_client_that_failed_is_no_success(box, state, phrase):
    """A disk that is full: docker's client says so and fails, the jail knows nothing of it."""
    box.behave("jail='echo write /dev/stdout: no space left on device >&2; exit 1'\n"
               "case \"$1 $2\" in 'container inspect') echo '%s 2026-01-01T00:00:00Z'; exit 0;; esac" % state)
    with open("/dev/full", "w") as full:
        r = box.run("run", "x", stdout=full)
    assert r.returncode == 1 and phrase in r.stderr.splitlines()[-1]
    assert_nothing_left(box)


@pytest.mark.parametrize("running", ["true", "false"])
def test_output_that_nobody_reads_to_its_end(box, running):
    """prisoncode ... | head -1"""
    box.behave("jail='exit 1'\n"
               "case \"$1 $2\" in 'container inspect') echo '%s false 0 2026-01-01T00:00:00Z'; exit 0;; esac" % running)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w") as unread:
        r = box.run("run", "x", stdout=unread)
    assert r.returncode == 128 + signal.SIGPIPE and "lost" not in r.stderr and "failed" not in r.stderr
    assert_nothing_left(box)


def test_out_of_memory_is_named(box):
    box.behave("jail='exit 137'\n"
               "case \"$1 $2\" in 'container inspect') echo 'false true 137 2026-01-01T00:00:00Z'; exit 0;; esac")
    r = box.run("run", "x")
    assert r.returncode == 137 and "ran out of memory (limit 6144m)" in r.stderr


def test_streams(box):
    box.behave("jail='cat; echo err >&2'")
    r = box.run("run", input="hi\nthere")
    assert r.stdout == "hi\nthere"
    assert "err\n" in r.stderr


def test_bash(box):
    box.run("--bash", "-c", "exit 3")
    assert command_of(box.call("create jail")) == ["bash", "-c", "exit 3"]


def test_double_dash(box):
    box.run("--", "--bash", "-r")
    assert command_of(box.call("create jail")) == ["opencode", "--bash", "-r"]


def test_options_of_opencode_pass(box):
    box.run("--version")
    assert command_of(box.call("create jail")) == ["opencode", "--version"]


def test_unrestricted_network(box):
    box.set_list("*\n")
    r = box.run("--unrestricted-network", "run", "x")
    assert r.returncode == 0 and "unrestricted network mode enabled" in r.stderr
    verbs = box.verbs()
    assert "create egressd" not in verbs and "network create net" not in verbs
    c = box.call("create jail")
    assert "--dns" not in c and not [e for e in option(c, "--env") if "proxy" in e.lower()]
    assert option(c, "--cap-drop") == ["ALL"] and "--read-only" in c
    assert "/etc/resolv.conf" not in mounts(c)
    assert "network rm out" in verbs and box.sessions() == []


def test_terminal(box):
    """With a terminal: --tty, its size and keys are the jail's; notices wait until it is free."""
    box.behave("jail='[ -t 0 ] && [ -t 1 ] && echo is-a-terminal; await; exit 0'")
    master, slave = pty.openpty()
    p = box.popen("run", "x", stdin=slave, stdout=slave, start_new_session=True)
    os.close(slave)
    box.wait_for_container("jail")
    assert "--tty" in box.call("create jail")
    box.set_list("a\n\nb b\n")
    box.set_list("broken entry\n")
    wait_for(lambda: p.poll() is None, "running")
    os.kill(p.pid, signal.SIGTERM)
    _, err = p.communicate(timeout=20)
    assert b"is-a-terminal" in os.read(master, 1000)
    os.close(master)
    assert p.returncode == 0


def test_nothing_is_written_into_the_workspace(box):
    (box.workspace / "f").write_text("x")
    box.run("run", "x")
    assert [p.name for p in box.workspace.iterdir()] == ["f"]


def test_staged_files(box):
    (box.config / "agent").mkdir()
    (box.config / "agent" / "a.md").write_text("text")
    (box.config / "tool.sh").write_text("#!/bin/sh\n")
    (box.config / "tool.sh").chmod(0o755)
    (box.root / "elsewhere.md").write_text("linked")
    (box.config / "link.md").symlink_to(box.root / "elsewhere.md")
    box.behave("case \"$1\" in start) case \"$*\" in *-jail) cp -a \"$HOME\"/.prisoncode/run/2* \"$FAKE/copy\";; esac;; esac")
    assert box.run("run", "x").returncode == 0
    copy = box.fake / "copy"
    modes = {str(p.relative_to(copy)): stat.S_IMODE(p.lstat().st_mode) for p in copy.rglob("*")}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    for name, mode in modes.items():
        is_dir = (copy / name).is_dir()
        assert mode == (0o700 if is_dir or name == "config/tool.sh" else 0o600), (name, oct(mode))
        assert not (copy / name).is_symlink()
    assert (copy / "config/link.md").read_text() == "linked"
    assert (copy / "config/agent/a.md").read_text() == "text"
    assert (copy / "config/.gitignore").exists()
    assert (copy / "auth.json").read_text() == box.auth.read_text()
    assert (copy / "list/domains.txt").read_text() == "api.openai.com\n"
    assert (copy / "resolv.conf").read_text().startswith("nameserver 127.0.0.1\n")
    managed = json.loads((copy / "managed.json").read_text())
    assert managed == {"share": "disabled", "autoupdate": False, "disabled_providers": ["opencode"]}
    passwd = (copy / "passwd").read_text()
    assert ":%d:%d::/home/dev:/bin/bash\n" % (os.getuid(), os.getgid()) in passwd


def test_history_is_kept_by_workspace(box):
    box.run("run", "x")
    first = mounts(box.call("create jail"))["/jail/data/opencode"][0]
    assert stat.S_IMODE(os.stat(first).st_mode) == 0o700
    assert os.path.getsize(first + "/auth.json") == 0
    other = box.home / "other"
    other.mkdir()
    for cwd in (box.workspace, other):
        for f in box.fake.iterdir():
            f.unlink()
        box.run("run", "x", cwd=cwd)
        again = mounts(box.call("create jail"))["/jail/data/opencode"][0]
        assert (again == first) == (cwd == box.workspace)


def test_locks_of_a_dead_opencode_are_removed_only_when_alone(box):
    box.run("run", "x")
    state = list((box.dot / "state").glob("project-*"))[0] / "state"
    (state / "locks").mkdir()
    (state / "locks" / "x.lock").write_text("")
    box.behave("jail='await; exit 0'")
    first = box.popen("run", "x")
    box.wait_for_container("jail")
    assert not (state / "locks").exists()
    (state / "locks").mkdir()
    box.behave("")
    box.run("run", "x")
    assert (state / "locks").exists()  # the first still runs
    first.terminate()
    first.communicate(timeout=20)


def test_denials_are_summed_up(box):
    lines = [
        {"action": "deny", "code": "not-listed", "method": "CONNECT", "host": "paste.example", "port": 443},
        {"action": "deny", "code": "not-listed", "method": "CONNECT", "host": "paste.example", "port": 443},
        {"action": "deny", "code": "not-listed", "method": "GET", "host": "plain.example", "port": 80},
        {"action": "deny", "code": "not-listed", "method": "CONNECT", "host": "2001:db8::7", "port": 8443},
        {"action": "deny", "code": "special-address", "method": "CONNECT", "host": "in.example", "port": 443},
        {"action": "deny", "code": "not-listed", "method": "CONNECT", "host": "e\u001b[31m\u009b2J.x", "port": 443},
        {"action": "allow", "code": "listed", "method": "CONNECT", "host": "good.example", "port": 443},
        {"action": "close", "code": "done", "host": "\"action\":\"deny\"", "port": 443},
    ]
    (box.fake / "log").write_text("".join(json.dumps(l, separators=(",", ":")) + "\n" for l in lines) +
                                  '{"action":"deny","host":"torn.exa')
    box.behave("jail='cat \"$FAKE/log\" >>\"$(echo \"$HOME\"/.prisoncode/audit/*/*.jsonl)\"'")
    r = box.run("run", "x")
    said = r.stderr[r.stderr.index("prisoncode: denied in this session:"):].splitlines()
    assert said[1] == "prisoncode:   paste.example:443  2 times   to allow it: prisoncode --allow paste.example"
    rest = set(said[2:])
    assert "prisoncode:   plain.example:80  1 time   to allow it: prisoncode --allow plain.example" in rest
    assert "prisoncode:   [2001:db8::7]:8443  1 time   to allow it: prisoncode --allow [2001:db8::7]:8443" in rest
    assert "prisoncode:   in.example:443  1 time   (special-address)" in rest
    assert "prisoncode:   e?[31m??2J.x:443  1 time   (not-listed)" in rest
    assert len(said) == 6 and "\033" not in r.stderr and "torn" not in r.stderr


def test_quiet_without_denials(box):
    assert "denied" not in box.run("run", "x").stderr


def test_audit_log_stays_and_is_private(box):
    box.run("run", "x")
    logs = box.audits()
    assert len(logs) == 1 and stat.S_IMODE(logs[0].stat().st_mode) == 0o600
    assert logs[0].parent.name.startswith("project-")


def test_old_audit_logs_are_pruned(box):
    box.run("run", "x")
    folder = box.audits()[0].parent
    for i in range(60):
        (folder / ("20200101-0000%02d-000000.jsonl" % i)).write_text("")
    box.run("run", "x")
    assert len(box.audits()) == 50
    assert box.audits()[-1].name > "2026"


def test_sidecar_that_ends_is_told(box):
    box.behave("jail='await; exit 0'\n"
               "case \"$1 $name\" in start\\ *-egressd) await 'egressd: serving on x'; exit 9;; esac")
    p = box.popen("run", "x")
    box.wait_for_container("jail")
    box.wait_for_container("egressd")
    pipe = next(box.fake.glob("pipe.*-egressd.*"))
    pipe.write_text("end\n")
    assert "status 9" in wait_for_line(p, "proxy has ended")
    p.terminate()
    p.communicate(timeout=20)
    assert_nothing_left(box)


def test_sidecar_that_does_not_start(box):
    box.behave("case \"$1 $name\" in start\\ *-egressd) echo 'egressd: list.txt:1:1: error: no' >&2; exit 1;; esac")
    err = box.refused("run", "x")
    assert "the proxy did not start" in err and "  | egressd: list.txt:1:1: error: no" in err
    assert "kill KILL jail" in box.verbs()
    assert_nothing_left(box)


def test_sidecar_that_does_not_start_and_a_jail_that_is_slow_to(box):
    """The jail is ended when it can be."""
    box.behave("case \"$1 $name\" in start\\ *-egressd) echo 'egressd: no' >&2; exit 1;;"
               " start\\ *-jail) until [ -e \"$FAKE/refused\" ]; do sleep 0.01; done;;"
               " kill\\ *-jail) [ -e \"$FAKE/refused\" ] || { : >\"$FAKE/refused\"; echo no >&2; exit 1; };; esac")
    err = box.refused("run", "x")
    assert "the proxy did not start" in err and "  | egressd: no" in err
    assert box.verbs().count("kill KILL jail") >= 2
    assert_nothing_left(box)


def test_sidecar_that_ends_without_a_word(box):
    """Status 0 and nothing said: the jail's first program does not wait for it in vain."""
    box.behave("case \"$1 $name\" in start\\ *-egressd) exit 0;; esac")
    err = box.refused("run", "x")
    assert err.splitlines()[-1].startswith("prisoncode: the proxy ended before it served")
    assert "kill KILL jail" in box.verbs()
    assert_nothing_left(box)


def test_first_words_of_a_sidecar_that_serves(box):
    """Said to the user, but for the list's warnings, which were shown when the list was changed."""
    box.behave("case \"$1 $name\" in start\\ *-egressd) echo 'egressd: the cage has \033[31ma gap' >&2;"
               " echo '/run/egressd/list/domains.txt:1:1: warning: of the list' >&2; esac\n"
               "jail='echo ran >&2; exit 0'")
    r = box.run("run", "x")
    lines = [l for l in r.stderr.splitlines() if "started by root" not in l]
    assert r.returncode == 0 and sorted(lines) == ["prisoncode: egressd: the cage has ?[31ma gap", "ran"], r.stderr


def test_sidecar_that_never_serves(box):
    """The jail's first program has waited for it in vain: what the sidecar said is what helps."""
    box.behave("case \"$1 $name\" in start\\ *-egressd) echo 'egressd: thinks' >&2; await; exit 0;;"
               " start\\ *-jail) until ls \"$FAKE\"/runs.*-egressd >/dev/null 2>&1; do sleep 0.01; done;"
               " for f in \"$HOME\"/.prisoncode/run/*/seal; do echo 'proxy: no answer in 30 s' >\"$f\"; done;"
               " exit 97;; esac")
    err = box.refused("run", "x")
    assert "the proxy did not start" in err and "  | egressd: thinks" in err and "sealed" not in err
    assert_nothing_left(box)


def test_list_change_reaches_the_sidecar(box):
    box.behave("jail='await; exit 0'")
    p = box.popen("run", "x")
    box.wait_for_container("jail")
    staged = box.sessions()[0] / "list" / "domains.txt"
    before = staged.stat().st_ino
    (box.dot / "new").write_text("api.openai.com\nmore.example\n")
    (box.dot / "new").rename(box.dot / "domains.txt")
    box.wait_for_call("kill HUP egressd")
    assert staged.read_text() == "api.openai.com\nmore.example\n"
    assert staged.stat().st_ino != before  # renewed by rename
    p.terminate()
    p.communicate(timeout=20)


def test_list_change_while_the_session_starts(box):
    box.behave("[ \"$1\" != create ] || printf 'api.openai.com\\nmore.example\\n' >\"$HOME/.prisoncode/domains.txt\"\n"
               "jail='await; exit 0'")
    p = box.popen("run", "x")
    box.wait_for_call("kill HUP egressd")
    assert (box.sessions()[0] / "list" / "domains.txt").read_text() == "api.openai.com\nmore.example\n"
    p.terminate()
    p.communicate(timeout=20)


def test_broken_list_change_keeps_the_old_one(box):
    box.behave("jail='await; exit 0'")
    p = box.popen("run", "x")
    box.wait_for_container("jail")
    box.set_list("*.example.com\n")
    wait_for_line(p, "the old one stays in force")
    assert (box.sessions()[0] / "list" / "domains.txt").read_text() == "api.openai.com\n"
    assert "kill HUP egressd" not in box.verbs()
    p.terminate()
    p.communicate(timeout=20)


def test_unused_subnet_is_tried_after_an_overlap(box):
    box.behave("""
case "$1 $2 $*" in
"network create "*-net)
	c=$(cat "$FAKE/count" 2>/dev/null || echo 0); echo $((c + 1)) >"$FAKE/count"
	[ "$c" -ge 2 ] || { echo 'Error response from daemon: Pool overlaps with other one on this address space' >&2; exit 1; } ;;
esac""")
    assert box.run("run", "x").returncode == 0
    nets = [option(c, "--subnet")[0] for c in box.calls() if c[:2] == ["network", "create"] and c[-1].endswith("-net")]
    assert len(nets) == 3 and len(set(nets)) == 3
    assert_nothing_left(box)


@pytest.mark.slow
def test_subnets_run_out(box):
    box.behave("case \"$1 $2\" in 'network create') echo 'Error response from daemon: Pool overlaps with other one' >&2; exit 1;; esac")
    assert "no free range" in box.refused("run", "x")
    assert box.sessions() == []


def test_kernel_without_ipv6(box):
    """There the switch does not exist, and needs not: the session comes up without it."""
    box.behave("""
case "$1 $name" in
"info "*) echo '{"KernelVersion":"another machine"}'; exit ;; # else it is looked up here, and there is no second try
"create "*-egressd) case "$*" in *disable_ipv6=1*) : >"$FAKE/with";; *) rm -f "$FAKE/with";; esac ;;
"start "*-egressd) [ ! -e "$FAKE/with" ] || {
	echo 'Error response from daemon: OCI runtime: open /proc/sys/net/ipv6/conf/all/disable_ipv6: no such file or directory' >&2
	exit 1
} ;;
esac""")
    r = box.run("run", "x")
    assert r.returncode == 0 and "disable_ipv6" not in r.stderr, r
    jails = [c for c in box.calls() if c[0] == "create" and "--init" in c]
    assert [option(c, "--sysctl") for c in jails] == [["net.ipv6.conf.all.disable_ipv6=1"], []]
    assert box.verbs().count("start jail") == 1, "the first one must not take the user's input"
    assert_nothing_left(box)


@pytest.mark.parametrize("verb", ["network create out", "network create net", "create egressd", "create jail",
                                  "network connect egressd", "start egressd"])
def test_failure_of_any_step(box, verb):
    words = verb.split()
    box.behave("case \"$*\" in '%s '*-%s|'%s '*' prisoncode-'*'-%s '*) echo 'Error response from daemon: no way' >&2; exit 1;; esac"
               % (" ".join(words[:-1]), words[-1], " ".join(words[:-1]), words[-1]))
    err = box.refused("run", "x")
    assert "no way" in err
    assert "start jail" not in box.verbs() or verb == "start egressd"
    assert_nothing_left(box)


@pytest.mark.slow
def test_what_the_engine_keeps_is_tried_again(box):
    box.behave("case \"$1 $2\" in 'network rm') echo 'Error response from daemon: has active endpoints' >&2; exit 1;; esac")
    r = box.run("run", "x")
    assert r.returncode == 0
    left = box.sessions()
    assert len(left) == 1 and {p.name for p in left[0].iterdir()} <= {"lock", "list"}  # no secret stays
    assert "the next start tries again" in box.run("run", "x").stderr
    assert left[0] in box.sessions()
    box.behave("")
    session = left[0].name
    count = len(box.calls())
    assert "tries again" not in box.run("run", "x").stderr
    assert box.sessions() == []
    assert ["network", "rm", "prisoncode-%s-net" % session] in box.calls()[count:]


def test_failed_start_says_what_the_engine_keeps(box):
    box.behave("case \"$1 $2\" in 'network rm'|'network connect') echo 'Error response from daemon: no' >&2; exit 1;; esac")
    assert "the next start tries again" in box.refused("run", "x")


def test_prompt_is_back_before_the_removals(box):
    """They may take half a second: the janitor does them. The secrets are gone, and the lock is held."""
    os.mkfifo(box.fake / "go")
    box.behave("case \"$1 $name\" in rm\\ *-jail) : >\"$FAKE/removing\"; read x <\"$FAKE/go\";; esac")
    p = box.popen("run", "x")
    out, err = p.communicate(timeout=20)  # also: nobody holds our pipes open
    assert p.returncode == 0
    left, = box.session_dirs()
    assert {f.name for f in left.iterdir()} <= {"lock", "list"}
    assert holder(left / "lock") not in (0, p.pid)
    wait_for((box.fake / "removing").exists, "the removal")
    other = box.popen("run", "x")  # takes it for a live session's
    wait_for(lambda: len([v for v in box.verbs() if v == "rm jail"]) == 2, "the other's end")
    (box.fake / "removing").unlink()
    box.let_go()
    other.communicate(timeout=20)
    assert_nothing_left(box)
    assert len([v for v in box.verbs() if v == "rm jail"]) == 2


@pytest.mark.parametrize("sig,status", [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)])
def test_signal_goes_to_the_jail(box, sig, status):
    box.behave("jail='await; exit %d'" % status)
    p = box.popen("run", "x")
    box.wait_for_container("jail")
    p.send_signal(getattr(signal, "SIG" + sig))
    p.communicate(timeout=20)
    assert p.returncode == status
    assert box.verbs().count("kill %s jail" % sig) == 1
    assert_nothing_left(box)


def test_a_hangup_is_nothing_under_nohup(box):
    os.mkfifo(box.fake / "go")
    box.behave("jail=': >\"$FAKE/here\"; read x <\"$FAKE/go\"; exit 0'")
    p = box.popen("run", "x", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for((box.fake / "here").exists, "the jail")
    p.send_signal(signal.SIGHUP)
    box.let_go()
    p.communicate(timeout=20)
    assert p.returncode == 0 and "kill HUP jail" not in box.verbs()
    assert_nothing_left(box)


@pytest.mark.slow
def test_an_engine_that_does_not_kill_is_not_waited_for(box):
    """The sidecar ends without a word: the jail, which waits for it, is to be killed."""
    box.behave("jail='exec sleep 600'\nawait_go() { :; }\n"
               "case \"$1 $*\" in start*-egressd) echo boom >&2; exit 3;; kill*-jail) exit 1;; esac")
    r = box.run("run", "x")
    assert r.returncode == 1 and "the proxy did not start" in r.stderr.splitlines()[-1]
    assert box.verbs().count("kill KILL jail") > 1


def test_third_interrupt_insists(box):
    box.behave("""jail='await; await; await; exit 137'
case "$1" in kill) echo "$3" >>"$FAKE/signals";; esac""")
    p = box.popen("run", "x")
    for n in (1, 2, 3):
        box.wait_for_container("jail")
        p.send_signal(signal.SIGINT)
        wait_for(lambda: (box.fake / "signals").exists() and
                 len((box.fake / "signals").read_text().split()) == n, "signal %d" % n)
    p.communicate(timeout=20)
    sent = (box.fake / "signals").read_text().split()
    # one that came between two waits of the fake is sent again
    assert sent[:3] == ["INT", "INT", "KILL"] and set(sent[3:]) <= {"KILL"}
    assert_nothing_left(box)


@pytest.mark.parametrize("sig,status", all_but([("INT", 130), ("TERM", 143), ("HUP", 129)], ("TERM", 143)))
@pytest.mark.parametrize("verb", ["info", "network create net", "create jail", "network connect egressd", "start egressd"])
def test_signal_at_any_step_of_the_start(box, verb, sig, status):
    words = verb.split()
    pattern = verb if len(words) == 1 else "%s *-%s*" % (" ".join(words[:-1]), words[-1])
    box.behave("case \"$*\" in %s) : >\"$FAKE/here\"; [ ! -p \"$FAKE/go\" ] || read x <\"$FAKE/go\";; esac" %
               pattern.replace(" ", "\\ ") if len(words) > 1 else
               "case \"$1\" in %s) : >\"$FAKE/here\"; read x <\"$FAKE/go\";; esac" % pattern)
    os.mkfifo(box.fake / "go")
    p = box.popen("run", "x")
    wait_for(lambda: (box.fake / "here").exists(), verb)
    p.send_signal(getattr(signal, "SIG" + sig))
    if verb != "start egressd":  # the jail, started at once with it, is what the signal ends
        box.let_go()
    p.communicate(timeout=20)
    assert p.returncode == status
    assert "start jail" not in box.verbs() or verb == "start egressd"
    assert box.sessions() == []
    if len(words) > 1:
        assert_nothing_left(box)


def janitor_of(p):
    """The janitor of a launcher that runs: the first of its children."""
    return int(open("/proc/%d/task/%d/children" % (p.pid, p.pid)).read().split()[0])


STEPS = ["info", "image inspect", "network create out", "network create net", "create jail", "create egressd",
         "network connect egressd", "start egressd", "start jail"]


def stop_at(box, verb):
    """Starts a session that stands still inside this docker call."""
    words = verb.split()
    first = " ".join(words[:-1] if words[-1] in ("out", "net", "jail", "egressd") else words)
    last = words[-1] if first != verb else ""
    pattern = first.replace(" ", "\\ ") + ("\\ *-" + last + "*" if last else "*")
    os.mkfifo(box.fake / "go")
    box.behave("case \"$*\" in %s) [ -e \"$FAKE/here\" ] || { : >\"$FAKE/here\"; read x <\"$FAKE/go\"; };; esac" % pattern)
    p = box.popen("run", "x")
    wait_for((box.fake / "here").exists, verb)
    return p


@pytest.mark.parametrize("verb", all_but(STEPS, "network create out", "create jail"))
def test_killed_at_any_step_the_janitor_cleans_up(box, verb):
    """SIGKILL: the janitor begins when the last command that makes something has ended."""
    p = stop_at(box, verb)
    p.kill()
    p.wait()
    waits = verb.split()[0] not in ("start",)
    if waits:
        time.sleep(0.3)  # a janitor that does not wait has begun by then
        assert "rm jail" not in box.verbs()
    if waits:
        box.let_go()
    wait_for(lambda: box.session_dirs() == [], "the janitor")
    assert_nothing_left(box)
    if not waits:
        box.let_go()


@pytest.mark.parametrize("verb", all_but(STEPS, "create jail"))
def test_killed_with_its_janitor_the_next_start_cleans_up(box, verb):
    p = stop_at(box, verb)
    os.kill(janitor_of(p), signal.SIGKILL)
    p.kill()
    p.wait()
    if not verb.startswith("start"):  # a container's end is the removal
        box.let_go()
    left, = box.session_dirs()
    wait_for(lambda: holder(left / "lock") == 0, "the lock")
    assert "rm jail" not in box.verbs()
    assert box.run("run", "x").returncode == 0
    assert box.sessions() == []
    calls = box.calls()
    for words in (["rm", "--force", "--volumes", "prisoncode-%s-jail" % left.name],
                  ["rm", "--force", "--volumes", "prisoncode-%s-egressd" % left.name],
                  ["network", "rm", "prisoncode-%s-net" % left.name],
                  ["network", "rm", "prisoncode-%s-out" % left.name]):
        assert words in calls
    assert not list(box.fake.glob("runs.*"))


def test_session_whose_janitor_was_killed_cleans_up_itself(box):
    box.behave("jail='await; exit 0'")
    p = box.popen("run", "x")
    box.wait_for_container("jail")
    os.kill(janitor_of(p), signal.SIGKILL)
    p.terminate()
    p.communicate(timeout=20)
    assert box.session_dirs() == []
    assert_nothing_left(box)


def test_orphans_of_the_engine_go_too(box):
    """What has our label and no folder any more is removed with the first stale session."""
    stale = box.dot / "run" / "20200101-000000-000001"
    stale.mkdir(parents=True)
    box.behave("case \"$1\" in ps) echo 20200101-000000-00000f; echo '../../etc'; exit 0;; esac")
    box.run("run", "x")
    assert ["rm", "--force", "--volumes", "prisoncode-20200101-000000-00000f-jail"] in box.calls()
    assert not [c for c in box.calls() if "../" in " ".join(c)]
    assert box.sessions() == []


def test_what_the_engine_made_late_for_a_killed_session_goes_at_the_end(box):
    """Its network was still being made when the next start looked: the janitor of that session looks again."""
    stale = box.dot / "run" / "20200101-000000-000001"
    stale.mkdir(parents=True)
    box.behave("""jail=': >"$FAKE/late"'
case "$1 $2" in "network ls") [ ! -e "$FAKE/late" ] || echo 20200101-000000-000001; exit 0;; esac""")
    box.run("run", "x")
    assert box.sessions() == []
    removed = [c for c in box.calls() if c == ["network", "rm", "prisoncode-20200101-000000-000001-net"]]
    assert len(removed) == 2
    before = len(box.calls())
    box.run("run", "x")
    assert box.sessions() == []
    assert not [c for c in box.calls()[before:] if c[:2] == ["network", "ls"]], "nothing stale, no look"


def test_live_session_is_left_alone(box):
    box.behave("jail='await; exit 0'")
    first = box.popen("run", "x")
    box.wait_for_container("jail")
    live = box.sessions()[0]
    box.behave("")
    box.run("run", "x")
    assert box.sessions() == [live]
    assert ["rm", "--force", "--volumes", "prisoncode-%s-jail" % live.name] not in box.calls()
    assert first.poll() is None
    first.terminate()
    first.communicate(timeout=20)
    assert box.sessions() == []


def test_dry_run_changes_nothing(box):
    before = sorted(str(p) for p in box.home.rglob("*"))
    r = box.run("--dry-run", "run", "it's")
    assert r.returncode == 0
    assert sorted(set(box.verbs())) == ["image inspect", "info", "network inspect"]
    assert sorted(str(p) for p in box.home.rglob("*")) == before
    lines = r.stdout.splitlines()
    assert all(l.startswith("docker ") for l in lines)
    words = subprocess.run(["sh", "-c", "printf '%s\\n' " + next(l for l in lines if "docker create" in l and "--init" in l)],
                           stdout=subprocess.PIPE, text=True).stdout.splitlines()
    assert words[-3:] == ["opencode", "run", "it's"]


def test_dry_run_is_what_is_run(box):
    """The words that --dry-run prints are those of a session, but for its name and subnet."""
    def tame(words):
        text = "\0".join(words)
        text = re.sub(r"\d{8}-\d{6}-[0-9a-f]{6}", "SESSION", text)
        text = re.sub(r"(\d+\.){3}\d+(/29|:3128|:2375|(?=\0|$))", "ADDR", text)
        return re.sub(r"owner=\w+", "owner=X", text)

    r = box.run("--dry-run", "run", "x")
    printed = []
    for line in r.stdout.splitlines():
        out = subprocess.run(["sh", "-c", "printf '%s\\0' " + line], stdout=subprocess.PIPE).stdout.decode()
        printed.append(tame(out.split("\0")[1:-1]))
    for f in box.fake.iterdir():
        f.unlink()
    box.run("run", "x")
    ran = [tame(c) for c in box.calls() if c[0] != "info" and c[1] != "inspect"]
    assert sorted(set(ran)) == sorted(set(printed))


@pytest.mark.slow
def test_ten_sessions_at_once(box):
    ps = [box.popen("run", "x") for _ in range(10)]
    for p in ps:
        p.communicate(timeout=60)
        assert p.returncode == 0
    assert box.sessions() == []
    names = {c[-1] for c in box.calls() if c[:2] == ["network", "create"]}
    assert len(names) == 20


# ---- the seal ------------------------------------------------------------------------------------

NOT_SEALED = ("for f in \"$HOME\"/.prisoncode/run/*/seal; do "
              "printf 'gateway: 10.213.0.1:80 answers\\nIPv6: \\033[31man address\\n' >\"$f\"; done; ")


def test_a_jail_that_is_not_sealed_is_no_session(box):
    box.behave("jail=%s" % shlex.quote(NOT_SEALED + "exit 97"))
    err = box.refused("run", "x")
    assert err.splitlines()[-1] == ("prisoncode: the jail is not sealed, so nothing was started in it: "
                                    "gateway: 10.213.0.1:80 answers;IPv6: ?[31man address")
    assert "rm jail" in box.verbs() and box.sessions() == []


def test_only_the_first_programs_word_counts(box):
    """opencode may end with that status, and the agent may write into the file."""
    for behave, status in (("exit 97", 97), (NOT_SEALED + "exit 96", 96), (NOT_SEALED, 0)):
        box.behave("jail=%s" % shlex.quote(behave))
        r = box.run("run", "x")
        assert r.returncode == status and "not sealed" not in r.stderr


def test_an_open_network_is_not_probed(box):
    box.behave("jail=%s" % shlex.quote(NOT_SEALED + "exit 97"))
    r = box.run("--unrestricted-network", "run", "x")
    assert r.returncode == 97 and "nothing is probed" in r.stderr
    assert not [w for w in box.call("create jail") if "jail-init" in w or "/jail/seal" in w]
