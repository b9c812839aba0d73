"""How long it takes until a command has run: for the report, nothing is asserted about it."""
import subprocess
import time

from conftest import APP_IMAGE

ROUNDS = 5


def test_report_the_cost_of_a_session(home, report_times):
    bare, ours = [], []
    for _ in range(ROUNDS):
        start = time.monotonic()
        subprocess.run(["docker", "run", "--rm", APP_IMAGE, "true"], check=True, env=home.env,
                       **home.person.become())
        bare.append(time.monotonic() - start)
        start = time.monotonic()
        assert home.run("--bash", "-c", "true").returncode == 0
        ours.append(time.monotonic() - start)
    report_times("bare docker run --rm", bare)
    report_times("prisoncode --bash -c true", ours)


def test_report_the_cost_of_an_agent(home, report_times):
    home.model.scripts["quick"] = [{"text": "Done."}]
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        assert home.run("run", "script:quick").returncode == 0
        seconds.append(time.monotonic() - start)
    report_times("prisoncode run, a model that answers at once", seconds)
