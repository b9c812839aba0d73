"""How sessions end: signals, kills, several at once; nothing stays behind."""
import json
import os
import signal
import subprocess

import pytest

from conftest import docker, left_behind, session_containers, wait_until


def start_hanging_run(home, name):
    """A run of opencode that waits for its model; returns the launcher's process."""
    home.model.scripts[name] = [{"hang": True}]
    process = home.start("run", f"script:{name}")
    home.model.wait_for(lambda r: r.get("tools") and f"script:{name}" in json.dumps(r["messages"]))
    return process


def start_sleeping_shell(home):
    process = home.start("--bash", "-c", "touch started; exec sleep 600")
    wait_until((home.workspace / "started").exists, 30, "the shell runs")
    return process


@pytest.mark.parametrize("sent,status", [(signal.SIGINT, 130), (signal.SIGTERM, 143),
                                         (signal.SIGHUP, 129)])
def test_a_signal_ends_the_agent_and_its_status_says_so(home, sent, status):
    process = start_hanging_run(home, f"hang-{sent.name.lower()}")
    process.send_signal(sent)
    process.communicate(timeout=30)
    assert process.returncode == status
    staged = [f.name for d in home.staged() for f in d.iterdir()]
    assert set(staged) <= {"lock", "list"}, "the secrets are gone when the prompt is back"


def test_ctrl_c_reaches_the_whole_process_group_and_ends_it(home):
    """A terminal's Ctrl-C goes to the docker client too."""
    process = start_hanging_run(home, "hang-group")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_killed_launcher_is_cleaned_up_at_once(home):
    process = start_sleeping_shell(home)
    process.kill()
    process.communicate(timeout=30)  # ends when nobody holds the pipes: no docker client is left
    wait_until(lambda: not left_behind() and not home.staged(), 30, "its janitor removed it")


def test_a_launcher_killed_with_its_janitor_is_cleaned_up_at_the_next_start(home):
    process = start_sleeping_shell(home)
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    os.kill(int(open(children).read().split()[0]), signal.SIGKILL)  # the first one is the janitor
    process.kill()
    process.wait(timeout=30)
    assert left_behind(), "nobody is left to clean up"
    assert home.staged(), "its staged files are there too"
    done = home.run("--bash", "-c", "echo fresh")
    assert (done.returncode, done.stdout) == (0, "fresh\n")
    wait_until(lambda: not left_behind(), 30, "the next start removed it")
    process.communicate(timeout=30)


def test_a_start_beside_a_running_session_leaves_it_alone(home):
    process = start_sleeping_shell(home)
    before = set(session_containers())
    assert home.run("--bash", "-c", "true").returncode == 0
    after = set(session_containers())
    assert before and before <= after
    process.terminate()
    process.communicate(timeout=30)


def test_two_sessions_at_once_do_not_see_each_other(home, make_home, person):
    """Each has its workspace, its list, its log; neither reaches the other's containers."""
    other = make_home(person)
    for one, name in ((home, "first"), (other, "second")):
        one.model.scripts[name] = [
            {"tool": "bash", "args": {"command": f"touch {name}; while [ ! -e go ]; do sleep 0.1; "
                                                 "done; ls; timeout 3 bash -c "
                                                 "'echo </dev/tcp/'$(cat go)'/3128' && echo reached"}},
            {"text": f"This was {name}."},
        ]
    processes = [one.start("run", f"script:{name}")
                 for one, name in ((home, "first"), (other, "second"))]
    wait_until((home.workspace / "first").exists, 60, "the first agent runs its command")
    wait_until((other.workspace / "second").exists, 60, "the second agent runs its command")
    sidecars = sidecar_addresses()
    assert len(sidecars) == 2
    mine = sidecar_of(home)
    theirs, = set(sidecars) - {mine}
    home.write("go", theirs)
    other.write("go", mine)
    for process, name in zip(processes, ("first", "second")):
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, f"This was {name}.\n"), err
        result, = home.model.tool_results(name)
        assert "reached" not in result
        assert set(result.split()) & {"first", "second"} == {name}


def sidecar_addresses():
    """The addresses at which jails reach their sidecars, by the proxy variable of each jail."""
    found = {}
    for container in json.loads(docker("inspect", *session_containers())):
        env = dict(e.split("=", 1) for e in container["Config"]["Env"] or [])
        if "HTTP_PROXY" in env:
            mounts = [m["Source"] for m in container["Mounts"]]
            found[env["HTTP_PROXY"].split("//")[1].split(":")[0]] = mounts
    return found


def sidecar_of(home):
    return next(a for a, mounts in sidecar_addresses().items() if str(home.workspace) in mounts)


def test_the_list_can_be_changed_while_a_session_runs(home):
    """The sidecar gets a changed list at once; a broken one changes nothing."""
    host, port = home.model_entry.split(":")
    script = (f"ask() {{ curl -s -o /dev/null -w '%{{http_code}}' http://{home.model_entry}/hello; }}\n"
              "ask; touch asked; while [ ! -e go ]; do sleep 0.05; done\n"
              "for n in $(seq 100); do [ $(ask) = 200 ] && echo opened && exit; sleep 0.1; done")
    home.write_list(f"{host}:{int(port) % 60000 + 1}")
    process = home.start("--bash", "-c", script)
    wait_until((home.workspace / "asked").exists, 30, "the first question")
    home.write_list(home.model_entry)
    home.write("go", "")
    out, err = process.communicate(timeout=60)
    assert out == "403opened\n", err


def test_a_dead_sidecar_closes_the_way_out(home):
    script = ("touch started; while [ ! -e go ]; do sleep 0.05; done; "
              f"curl -s -m 5 http://{home.model_entry}/hello || echo closed")
    process = home.start("--bash", "-c", script)
    wait_until((home.workspace / "started").exists, 30, "the shell runs")
    sidecar, = [name for name in session_containers() if name.endswith("-egressd")]
    docker("kill", sidecar)
    home.write("go", "")
    out, err = process.communicate(timeout=60)
    assert out == "closed\n", err


def everything():
    """What sessions may leave: in the engine, as interfaces, as processes."""
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {"engine": left_behind(), "networks": len(docker("network", "ls", "-q").split()),
            "links": len([l for l in links.splitlines() if ": br-" in l or ": veth" in l]),
            "processes": len([l for l in processes.splitlines() if "prisoncode" in l and "-egressd" in l])}


def test_sessions_one_after_another_leave_nothing(home):
    """PRISONCODE_TEST_SESSIONS of them (5): subnets are used again, nothing piles up."""
    before = everything()
    for n in range(int(os.environ.get("PRISONCODE_TEST_SESSIONS", "5"))):
        done = home.run("--bash", "-c", f"echo {n}")
        assert (done.returncode, done.stdout) == (0, f"{n}\n")
    wait_until(lambda: not left_behind() and not home.staged(), 60, "the last janitor")
    wait_until(lambda: everything() == before, 30, "interfaces and processes are gone")
    assert sorted(p.name for p in (home.dot / "run").iterdir() if p.name != ".warned") == [".lock", ".owner"]
