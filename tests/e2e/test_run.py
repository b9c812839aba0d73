"""A run of the agent: what it does to the workspace, what it is told, what it may not do."""
import json
import os
import stat
import time

READ_AND_EDIT = [
    {"tool": "read", "args": {"filePath": "/workspace/notes.txt"}},
    {"tool": "edit", "args": {"filePath": "/workspace/notes.txt",
                              "oldString": "two", "newString": "three"}},
    {"tool": "bash", "args": {"command": "echo made by bash >made.txt && mkdir d && cp made.txt d"}},
    {"text": "I changed two into three."},
]


def edit_notes(home):
    home.model.scripts["edit"] = READ_AND_EDIT
    home.write("notes.txt", "one\ntwo\n")
    return home.run("run", "Please change two into three. script:edit")


def test_a_run_reads_and_edits_a_file(home):
    done = edit_notes(home)
    assert done.returncode == 0
    assert done.stdout == "I changed two into three.\n"
    assert home.read("notes.txt") == "one\nthree\n"
    assert "1: one" in home.model.tool_results("edit")[0], "the model saw the file's text"


def test_the_model_was_asked_through_egressd_with_the_users_key(home):
    edit_notes(home)
    host, port = home.model_entry.split(":")
    allowed = [line for line in home.audit() if line["action"] == "allow"]
    assert allowed and all((line["host"], line["port"]) == (host, int(port)) for line in allowed)
    assert home.model.requests[-1]["authorization"] == "Bearer sk-fake-0123456789"


def test_the_end_of_a_session_is_no_fault_of_the_list(home):
    """The list stays until egressd has ended: no line says that it cannot be read."""
    edit_notes(home)
    end = time.monotonic() + 30
    while home.staged() and time.monotonic() < end:  # the janitor's work, after the prompt is back
        time.sleep(0.1)
    assert home.staged() == []
    assert [line for line in home.audit() if line["action"] == "reload"] == []


def test_written_files_belong_to_the_user(home):
    edit_notes(home)
    for name in ("notes.txt", "made.txt", "d", "d/made.txt"):
        found = (home.workspace / name).stat()
        assert (found.st_uid, found.st_gid) == (home.person.uid, home.person.gid), name
    foreign = [p for p in home.path.rglob("*") if p.lstat().st_uid != home.person.uid]
    assert foreign == [], "the engine left files of another user in the user's home"


def test_nothing_is_written_into_the_workspace_by_the_launcher(home):
    done = home.run("--bash", "-c", "true")
    assert done.returncode == 0
    assert list(home.workspace.iterdir()) == []


def test_secrets_and_history_are_private(home):
    edit_notes(home)
    for path in [home.dot / "state", home.dot / "audit"]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_continue_finds_the_last_session_of_this_workspace(home):
    home.model.scripts["hello"] = [{"text": "Hello."}]
    assert home.run("run", "first words script:hello").returncode == 0
    assert home.run("run", "--continue", "second words script:hello").returncode == 0
    asked = [json.dumps(r["messages"]) for r in home.model.requests if r.get("tools")]
    assert "first words" in asked[-1] and "second words" in asked[-1]


def test_standard_input_is_passed_on(home):
    home.model.scripts["piped"] = [{"text": "Read it."}]
    done = home.run("run", stdin="words that came by the pipe script:piped\n")
    assert (done.returncode, done.stdout) == (0, "Read it.\n")
    home.model.wait_for(lambda r: "words that came by the pipe" in json.dumps(r["messages"]), 1)
    done = home.run("--bash", "-c", "tr a-z A-Z", stdin="abc\n" * 100000)
    assert done.stdout == "ABC\n" * 100000


def test_a_denied_host_is_told_to_the_agent_as_text(home):
    home.model.scripts["denied"] = [
        {"tool": "bash", "args": {"command": "curl -sS http://plain.denied.test/x; echo status $?"}},
        {"tool": "bash", "args": {"command": "curl -sS https://tls.denied.test/; echo status $?"}},
        {"tool": "webfetch", "args": {"url": "https://web.denied.test/", "format": "text"}},
        {"text": "All of them were denied."},
    ]
    done = home.run("run", "script:denied")
    assert done.stdout == "All of them were denied.\n"
    plain, tls, web = home.model.tool_results("denied")
    answer = json.loads(plain.splitlines()[0])
    assert (answer["code"], answer["add"]) == ("not-listed", "plain.denied.test")
    assert "prisoncode --allow plain.denied.test" in answer["message"]
    assert "403" in tls and "status 0" not in tls
    assert "403" in web
    for host in ("plain.denied.test", "tls.denied.test", "web.denied.test"):
        assert host in done.stderr, "the summary at the end names it"
        assert [a["code"] for a in home.audit() if a.get("host") == host] == ["not-listed"]


def test_a_model_that_is_not_listed_ends_the_run_with_the_reason(home):
    home.write_list("api.example.com")
    done = home.run("run", "hello")
    assert done.returncode == 1
    assert f"prisoncode --allow {home.model_entry}" in done.stderr


def test_only_the_listed_port_of_this_machine_is_open(home, make_home):
    """An entry host.docker.internal:PORT opens that port of the host and no other."""
    other = home.model_entry.replace(str(home.model.port), str(home.model.port % 60000 + 1))
    done = home.run("--bash", "-c", f"curl -sS http://{home.model_entry}/hello; "
                    f"curl -s -o /dev/null -w '%{{http_code}}' http://{other}/hello")
    assert done.stdout == "hello from the host\n403"


def test_configuration_and_key_are_read_only(home):
    before = (home.config / "opencode.json").read_text(), home.auth.read_text()
    script = """
        cd "$XDG_CONFIG_HOME/opencode" || exit 9
        cat opencode.json "$XDG_DATA_HOME/opencode/auth.json" /etc/opencode/opencode.json >/dev/null || exit 8
        for f in opencode.json new.json "$XDG_DATA_HOME/opencode/auth.json" /etc/opencode/opencode.json \
            /etc/opencode/new.json /etc/passwd /etc/resolv.conf /usr/local/bin/opencode /new; do
            if (echo x >>"$f") 2>/dev/null; then echo "wrote $f"; fi
            if [ -e "$f" ] && rm -f "$f" 2>/dev/null; then echo "removed $f"; fi
        done
        echo x >"$HOME/x" && echo x >/tmp/x && echo x >/workspace/x && echo writable as it should be
    """
    done = home.run("--bash", "-c", script)
    assert (done.returncode, done.stdout) == (0, "writable as it should be\n")
    assert ((home.config / "opencode.json").read_text(), home.auth.read_text()) == before


def test_a_projects_own_configuration_cannot_turn_sharing_on(home):
    show = "opencode debug config 2>/dev/null"
    plain = json.loads(home.run("--bash", "-c", show).stdout)
    assert (plain["share"], plain["disabled_providers"]) == ("disabled", ["opencode"])
    home.write("opencode.json", '{"share": "auto", "disabled_providers": [], "username": "seen"}')
    done = json.loads(home.run("--bash", "-c", show).stdout)
    assert done["username"] == "seen", "the project's file is read at all"
    assert (done["share"], done["disabled_providers"]) == ("disabled", ["opencode"])


def test_the_jail_has_no_rights(home):
    script = """
        id -u; id -g
        sed -n 's/^CapEff:\\t//p; s/^CapBnd:\\t//p; s/^NoNewPrivs:\\t//p; s/^Seccomp:\\t//p' /proc/self/status
        find / -xdev -type f -perm /6000 2>/dev/null
        ls /var/run/docker.sock /run/docker.sock 2>/dev/null
        command -v sudo
        true
    """
    done = home.run("--bash", "-c", script)
    zero = "0" * 16
    assert done.stdout.split() == [str(home.person.uid), str(home.person.gid), zero, zero, "1", "2"]


def test_exit_status_is_the_agents_own(home):
    for status in (7, 125, 127):  # 125 and 127 are also what docker itself ends with
        assert home.run("--bash", "-c", f"exit {status}").returncode == status
    assert home.run("--bash", "-c", "kill -TERM $$").returncode == 143
    assert home.run("--bash", "-c", "kill -KILL $$").returncode == 137
    assert home.run("run").returncode == 1, "opencode run without a message"
    version = home.run("--version")
    assert version.returncode == 0 and version.stdout.strip()[0].isdigit()


def test_root_can_run_it(root_person, make_home, images):
    home = make_home(root_person)
    done = edit_notes(home)
    assert done.returncode == 0
    assert home.read("notes.txt") == "one\nthree\n"
    assert os.stat(home.workspace / "made.txt").st_uid == 0
    assert "root" in done.stderr, "there is a warning"
