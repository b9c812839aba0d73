"""How long it takes until a command has run: for the report, nothing is asserted about it."""
import os
import subprocess
import time

from conftest import APP_IMAGE, docker, wait_until

ROUNDS = 10
STAMP = "date +%s.%N"


def timed(command, home):
    """Seconds until the jailed command has run, and from then until the prompt is back."""
    start = time.time()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=home.env, cwd=home.workspace,
                          **home.person.become())
    end = time.time()
    ran = float(done.stdout)
    return ran - start, end - ran


def test_report_the_cost_of_a_session(home, report_times):
    """Taking turns, so that a busy machine is as busy for both."""
    bare, ours = [], []
    for _ in range(ROUNDS):
        bare.append(timed(["docker", "run", "--rm", APP_IMAGE, "sh", "-c", STAMP], home))
        ours.append(timed([home.env["PRISONCODE_BIN"], "--bash", "-c", STAMP], home))
        wait_until(lambda: home.staged() == [], 60, "the janitor is done")
    report_times("bare docker run --rm, until it has run", [b[0] for b in bare])
    report_times("bare docker run --rm, until the prompt is back", [sum(b) for b in bare])
    report_times("prisoncode --bash -c, until the prompt is back", [sum(o) for o in ours])
    report_times("half as much again and a second, less that", [1.5 * sum(b) + 1 - sum(o) for b, o in zip(bare, ours)])
    report_times("prisoncode --bash -c, until it has run", [o[0] for o in ours])
    report_times("the difference", [o[0] - b[0] for b, o in zip(bare, ours)])
    report_times("prisoncode, from then until the prompt is back", [o[1] for o in ours])


# When this shell's process began, as jail-init then; when it was told that the proxy serves; now.
PROBED = ("now=$(date +%s.%N); read up rest </proc/uptime; set -- $(cat /proc/$$/stat); "
          "echo $now $up ${22} $(stat -c %.9Y /jail/go)")


def test_report_the_cost_of_the_probes(home, report_times):
    """Until the first command, without the wait for the proxy."""
    seconds = []
    for _ in range(ROUNDS):
        done = home.run("--bash", "-c", PROBED)
        now, uptime, ticks, told = map(float, done.stdout.split())
        began = now - uptime + ticks / os.sysconf("SC_CLK_TCK")
        seconds.append(now - max(began, told))
        wait_until(lambda: home.staged() == [], 60, "the janitor is done")
    report_times("the probes, from both there until the command has run", seconds)


def test_report_the_cost_of_ten_at_once(home, report_times):
    start = time.time()
    processes = [home.start("--bash", "-c", STAMP) for _ in range(10)]
    outputs = [p.communicate(timeout=300) for p in processes]
    assert [p.returncode for p in processes] == [0] * 10, outputs
    report_times("ten sessions at once, until each has run", [float(out) - start for out, _ in outputs])


def test_report_the_cost_of_an_agent(home, report_times):
    home.model.scripts["quick"] = [{"text": "Done."}]
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        assert home.run("run", "script:quick").returncode == 0
        seconds.append(time.monotonic() - start)
    report_times("prisoncode run, a model that answers at once", seconds)


def hosts_address():
    """This machine's, as containers of the default bridge see it."""
    return docker("network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}} {{end}}", "bridge").split()[0]


def test_report_closed_against_open(home, report_times):
    """With the model's host alone on the list, opencode waits for nothing: it does not even ask for more."""
    home.model.scripts["quick"] = [{"text": "Done."}]
    closed, opened = [], []
    for _ in range(3):
        for host, args, seconds in (("host.docker.internal", [], closed),
                                    (hosts_address(), ["--unrestricted-network"], opened)):
            home.write_config(host=host)
            start = time.monotonic()
            done = home.run(*args, "run", "script:quick")
            seconds.append(time.monotonic() - start)
            assert (done.returncode, done.stdout) == (0, "Done.\n"), done.stderr
            wait_until(lambda: home.staged() == [], 60, "the janitor is done")
    asked = {(line["action"], line["host"], line["port"]) for line in home.audit() if "host" in line}
    assert asked == {(action, "host.docker.internal", home.model.port) for action in ("allow", "close")}
    report_times("prisoncode run, the model's host alone on the list", closed)
    report_times("prisoncode --unrestricted-network run", opened)
    report_times("the difference", [c - o for c, o in zip(closed, opened)])
