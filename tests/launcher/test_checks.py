"""The start checks: their order, the words people know, and that a refusal leaves nothing behind."""
import csv
import hashlib
import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from conftest import PRISONCODE, option, wait_for


def untouched(box):
    """No docker call that makes something, no staged file."""
    assert not [v for v in box.verbs() if v.split()[0] in ("create", "start", "build")], box.verbs()
    assert box.sessions() == []


@pytest.mark.parametrize("prepare,phrase", [
    (lambda b: (b.dot / "domains.txt").unlink(), "must contain at least one allowed endpoint"),
    (lambda b: b.set_list("# only\n\n"), "must contain at least one allowed endpoint"),
    (lambda b: b.set_list(""), "must contain at least one allowed endpoint"),
    (lambda b: b.set_list("\ufeff# only\r\n"), "must contain at least one allowed endpoint"),
    (lambda b: b.set_list("api.openai.com\n*\n"), "'*' in ~/.prisoncode/domains.txt is not supported"),
    (lambda b: b.set_list("a.test\n*.example.com\n"), "has 1 error"),
    (lambda b: b.set_list("https://a.test/\n0.0.0.0/0\n"), "has 2 errors"),
    (lambda b: (b.config / "opencode.json").unlink(), "required config file not found"),
    (lambda b: b.set_config("{ not json }"), "invalid JSON in"),
    (lambda b: b.set_config("{}"), 'must set "share": "disabled"'),
    (lambda b: b.set_config('{"share":"auto","disabled_providers":[]}'), 'must set "share": "disabled"'),
    (lambda b: b.set_config('{"share":"disabled"}'), 'must include "disabled_providers"'),
    (lambda b: b.set_config('{"share":"disabled","disabled_providers":"x"}'), "must be an array"),
    (lambda b: b.auth.unlink(), "opencode auth file not found"),
    (lambda b: (b.auth.unlink(), b.auth.mkdir()), "is no regular file"),
    (lambda b: (b.auth.unlink(), b.auth.symlink_to("nowhere")), "opencode auth file not found"),
    (lambda b: (b.dot / "packages.txt").write_text("jq; id\n"), "packages.txt:1: 'jq; id' is no package name"),
    (lambda b: (b.config / "s").symlink_to("nowhere"), "is a symlink to nothing"),
    (lambda b: (b.config / "l").symlink_to("l"), "is a loop of symlinks"),
    (lambda b: (b.config / "up").symlink_to(b.config), "leads back to"),
    (lambda b: os.mkfifo(b.config / "pipe"), "is a socket, pipe or device"),
    (lambda b: b.env.update(PRISONCODE_MEMORY="lots"), "PRISONCODE_MEMORY: 'lots' is no size"),
    (lambda b: b.env.update(PRISONCODE_PIDS="5"), "PRISONCODE_PIDS: '5' is no number of processes"),
    (lambda b: b.env.update(PRISONCODE_ENV="A;B"), "PRISONCODE_ENV: 'A;B' is no name"),
    (lambda b: b.env.update(PRISONCODE_ENV="https_proxy"), "https_proxy is set by the jail itself"),
    (lambda b: b.env.update(PRISONCODE_AUTH_FILE="/no/such"), "opencode auth file not found: /no/such"),
    (lambda b: b.env.update(PRISONCODE_CONFIG_DIR="/no/such"), "required config file not found: /no/such"),
    (lambda b: b.env.update(HOME="relative"), "HOME is not an absolute path"),
])
def test_refusals(box, prepare, phrase):
    prepare(box)
    assert phrase in box.refused("run", "x")
    untouched(box)


def test_order(box):
    """Every fault at once: they are met one after the other in the contract's order."""
    box.auth.rename(box.root / "auth")
    box.config.rename(box.root / "config")
    box.set_list("*\n")
    assert "opencode auth file not found" in box.refused("run", cwd=box.home)
    (box.root / "auth").rename(box.auth)
    assert "required config file not found" in box.refused("run", cwd=box.home)
    (box.root / "config").rename(box.config)
    box.set_config("{}")
    assert 'must set "share"' in box.refused("run", cwd=box.home)
    box.set_config('{"share":"disabled","disabled_providers":[]}')
    assert "'*' in" in box.refused("run", cwd=box.home)
    box.set_list("a.test\n")
    assert "whole home directory" in box.refused("run", cwd=box.home)
    untouched(box)


def test_template(box):
    (box.dot / "domains.txt").unlink()
    box.dot.rmdir()
    box.refused("run", "x")
    text = (box.dot / "domains.txt").read_text()
    assert all(l.startswith("#") or not l for l in text.splitlines())
    assert "# api.openai.com" in text.splitlines()
    assert box.dot.stat().st_mode & 0o777 == 0o700
    # as the template says: take the mark away, and it works
    box.set_list(text.replace("\n# api.openai.com\n", "\napi.openai.com\n"))
    assert box.run("run", "x").returncode == 0


def test_every_diagnostic_is_shown(box):
    box.set_list("*.example.com\nok.example\nhttps://a.test\n")
    err = box.refused("run", "x")
    path = str(box.dot / "domains.txt")
    assert path + ":1:1: error: " in err and path + ":3:1: error: " in err


def test_warnings_once_per_change_of_the_list(box):
    box.set_list("a.test\na.test\n")
    assert ":2:1: warning: " in box.run("run", "x").stderr
    assert "warning: " not in box.run("run", "x").stderr.replace("warning: started by root", "")
    box.set_list("a.test\na.test\n\n")
    assert ":2:1: warning: " in box.run("run", "x").stderr


def test_config_of_all_three_names(box):
    (box.config / "opencode.json").unlink()
    box.set_config('// c\n{"share":"disabled",}', "opencode.jsonc")
    box.set_config('{"disabled_providers":["z"]}', "config.json")
    assert box.run("run", "x").returncode == 0
    assert "opencode.jsonc:1:1" in (box.set_config("[]", "opencode.jsonc"), box.refused("run", "x"))[1]


def test_xdg_places(box):
    data, config = box.root / "data", box.root / "cfg"
    (data / "opencode").mkdir(parents=True)
    box.auth.rename(data / "opencode" / "auth.json")
    config.mkdir()
    box.config.rename(config / "opencode")
    r = box.run("run", "x", env={"XDG_DATA_HOME": str(data), "XDG_CONFIG_HOME": str(config)})
    assert r.returncode == 0, r
    # a relative one does not count
    assert "auth file not found" in box.refused("run", env={"XDG_DATA_HOME": "data"}, cwd=box.root)


def test_macos_places(box):
    mac = box.home / "Library" / "Application Support" / "opencode"
    mac.parent.mkdir(parents=True)
    box.config.rename(mac)
    box.auth.rename(mac / "auth.json")
    assert box.run("run", "x").returncode == 0


def test_named_places(box):
    box.auth.rename(box.root / "a.json")
    box.config.rename(box.root / "c d")
    r = box.run("run", "x", env={"PRISONCODE_AUTH_FILE": str(box.root / "a.json"),
                                 "PRISONCODE_CONFIG_DIR": str(box.root / "c d")})
    assert r.returncode == 0, r


@pytest.mark.parametrize("where,phrase", [
    ("home", "whole home directory"), (".prisoncode", "allowlist"), (".prisoncode/state", "which holds the allowlist"),
    (".local", "holds your credentials"), ("..", "holds")])
def test_workspaces_that_are_refused(box, where, phrase):
    cwd = {"home": box.home, "..": box.root}.get(where, box.home / where)
    cwd.mkdir(exist_ok=True)
    assert phrase in box.refused("run", "x", cwd=cwd)
    untouched(box)


def test_root_directory_is_refused(box):
    assert "whole disk" in box.refused("run", "x", cwd="/")


def test_home_by_another_name_is_refused(box):
    (box.root / "alias").symlink_to(box.home)
    assert "whole home directory" in box.refused("run", "x", cwd=box.root / "alias")
    box.env["HOME"] = str(box.root / "alias") + "/"
    assert "whole home directory" in box.refused("run", "x", cwd=box.home)


@pytest.mark.parametrize("name", ["a,b", "a:b", "it's", 'say "x"', "line\nend", "blank end ", "-v", "$(id)",
                                  "a,readonly", "\u00e4\u20ac", "=", "back\\slash"])
def test_odd_names_of_workspaces_work(box, name):
    cwd = box.workspace / name
    cwd.mkdir()
    assert box.run("run", "x", cwd=cwd).returncode == 0
    for m in option(box.call("create jail"), "--mount"):
        fields = next(csv.reader(io.StringIO(m, newline="")))
        if "dst=/workspace" in fields:
            assert fields == ["type=bind", "src=" + str(cwd), "dst=/workspace"]
            return
    assert False, "no mount of the workspace"


@pytest.mark.parametrize("name,phrase", [(b"\xff", "not UTF-8"), (b"a\rb", "carriage return")])
def test_names_that_docker_cannot_take(box, name, phrase):
    cwd = os.fsencode(str(box.workspace)) + b"/" + name
    os.mkdir(cwd)
    assert phrase in box.refused("run", "x", cwd=cwd)
    untouched(box)


def test_git_outside_is_said(box):
    (box.home / ".git").mkdir()  # the workspace is a folder of a repository
    r = box.run("run", "x")
    assert r.stderr.count("git will not work inside") == 1
    (box.workspace / ".git").write_text("gitdir: /elsewhere/.git/worktrees/x\n")
    r = box.run("run", "x")
    assert "/elsewhere/.git/worktrees/x" in r.stderr and "git will not work inside" in r.stderr
    (box.workspace / ".git").write_text("gitdir: inner/git\n")
    assert "git will not work" not in box.run("run", "x").stderr


def test_oauth_login_that_has_expired_is_said(box):
    box.auth.write_text('{"codex":{"type":"oauth","refresh":"r","access":"a","expires":1000},'
                        '"far":{"type":"oauth","refresh":"r","access":"a","expires":99999999999999},'
                        '"token":"test","key":{"type":"api","key":"k"}}')
    err = box.run("run", "x").stderr
    assert "login of 'codex' has expired" in err and "far" not in err


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"token":"test"}', '{"a":{"type":1}}'])
def test_any_auth_file_is_opencodes_business(box, text):
    box.auth.write_text(text)
    assert box.run("run", "x").returncode == 0


def test_no_terminal_warns_but_runs(box):
    r = box.run()
    assert r.returncode == 0 and "needs a terminal" in r.stderr
    assert "needs a terminal" not in box.run("run", "x").stderr


def test_a_server_in_the_jail_is_out_of_reach(box):
    for command in ("serve", "web"):
        assert "nothing outside the jail can reach the server of '%s'" % command in box.run(command, "--port", "1").stderr
    assert "can reach" not in box.run("run", "serve").stderr + box.run("--bash", "serve").stderr


@pytest.mark.parametrize("said,phrase", [
    ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
     "the Docker daemon does not answer"),
    ("permission denied while trying to connect to the Docker daemon socket at unix:///x", "no permission to use Docker"),
])
def test_engine_that_does_not_serve(box, said, phrase):
    box.behave("echo '%s' >&2; exit 1" % said)
    err = box.refused("run", "x")
    assert phrase in err and len([l for l in err.splitlines() if "warning" not in l]) == 1
    untouched(box)


def test_no_docker(box):
    (box.bin / "docker").unlink()
    assert "docker not found" in box.refused("run", "x", env={"PATH": str(box.bin)})
    untouched(box)


# ---- bad input ----

def test_config_as_people_write_it(box):
    """What opencode takes: comments, trailing commas, a BOM, CRLF, strings that look like comments."""
    box.set_config("""\ufeff// mine\r
{ /* all
     of it */ "share": "disabled", // "share": "auto"
  "disabled_providers": ["a//b", "/* c */", ],
  "x": "{env:HOME}", "deep": {"share": "auto", },
}
""")
    box.behave("case \"$1 $*\" in start*-jail) cp \"$HOME\"/.prisoncode/run/2*/managed.json \"$FAKE/managed\";; esac")
    assert box.run("run", "x").returncode == 0
    assert json.loads((box.fake / "managed").read_text())["disabled_providers"] == ["a//b", "/* c */"]


def nested(depth):
    return '{"share":"disabled","disabled_providers":[],"x":%s1%s}' % ("[" * depth, "]" * depth)


@pytest.mark.parametrize("text,phrase", [
    (nested(100000), "invalid JSON in"),
    ('{"share":"disabled","disabled_providers":[],"x":"' + "y" * (20 << 20) + '"}', "cannot read"),
    ('{"share":"disabled","share":"auto","disabled_providers":[]}', "invalid JSON in"),
    ('{"share":"disabled","disabled_providers":[]', "invalid JSON in"),
    ('{"share":"disabled","disabled_providers":[]} x', "invalid JSON in"),
    ('{"share":"disabled","disabled_providers":[1]}', "must be an array of strings"),
    ('{"Share":"disabled","disabled_providers":[]}', 'must set "share"'),
    ("\0", "invalid JSON in"),
    ("[]", "invalid JSON in"),
])
def test_config_that_is_no_config(box, text, phrase):
    box.set_config(text)
    err = box.refused("run", "x")
    assert phrase in err and len(err) < 1000
    untouched(box)


def test_large_but_usual_config(box):
    box.set_config(nested(50).replace('"x"', '"%s"' % ("k" * 100000)))
    assert box.run("run", "x").returncode == 0


def test_socket_in_the_config_folder(box):
    s = socket.socket(socket.AF_UNIX)
    os.chdir(box.config)  # its path may be too long for an address
    s.bind("sock")
    try:
        assert "sock is a socket, pipe or device" in box.refused("run", "x")
    finally:
        s.close()
    untouched(box)


def test_names_with_line_ends_in_the_config_folder(box):
    """They are copied like any other, and a message about one stays one line."""
    (box.config / "a\nb\033[2J.md").write_text("text")
    box.behave("case \"$1 $*\" in start*-jail) cp -r \"$HOME\"/.prisoncode/run/2*/config \"$FAKE/copy\";; esac")
    assert box.run("run", "x").returncode == 0
    assert (box.fake / "copy" / "a\nb\033[2J.md").read_text() == "text"
    (box.config / "c\nprisoncode: fine").symlink_to("nowhere")
    err = box.refused("run", "x")
    assert "c?prisoncode: fine is a symlink to nothing" in err and "\033" not in err


@pytest.mark.skipif(os.getuid() == 0 and not os.path.exists("/usr/bin/setpriv"), reason="root reads everything, no setpriv")
def test_unreadable_files(box):
    """As somebody who may not read them (root may: then as nobody, in a home of its own)."""
    (box.config / "private.md").write_text("x")
    (box.config / "private.md").chmod(0)
    run = [PRISONCODE, "run", "x"]
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", "65534:65534", str(box.home), str(box.fake)], check=True)
        for d in [box.root, *box.root.parents][:-2]:
            if not d.stat().st_mode & 1:
                d.chmod(0o711)
        run = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *run]
    for victim, phrase in ((box.config / "private.md", "private.md: Permission denied"), (box.auth, "cannot be read")):
        victim.chmod(0)
        r = subprocess.run(run, cwd=box.workspace, env=box.env, capture_output=True, text=True, timeout=30)
        assert r.returncode == 1 and phrase in r.stderr.splitlines()[-1], r
        victim.chmod(0o600)


@pytest.mark.parametrize("name", ["-y", "--option", "jq;id", "$(id)", "`id`", "a b", "../x", "Jq", "jq=1.6", "jq:i386", "j",
                                  "\u00e4\u00e4", "a\0b", "x" * 300, "'", '"', "*", "http://x/y.deb", "./x.deb"])
def test_package_names_that_are_none(box, name):
    (box.dot / "packages.txt").write_text("good\n" + name + "\n")
    err = box.refused("run", "x")
    assert "packages.txt:2: " in err and "is no package name" in err
    untouched(box)
    assert "is no package name" in box.refused("-r")


# ---- images ----

MISSING = """case "$1 $2" in 'image inspect') echo 'Error: No such image: prisoncode:latest' >&2
echo 'Error: No such image: prisoncode-egressd:latest' >&2; exit 1;; esac
"""


def sources(box):
    d = box.root / "src" / "docker"
    d.mkdir(parents=True)
    (d / "app.Dockerfile").write_text("")
    box.env["PRISONCODE_DATADIR"] = str(box.root / "src")
    return box.root / "src"


def test_missing_images_are_built(box):
    src = sources(box)
    (box.dot / "packages.txt").write_text("jq\n# c\ng++\n")
    box.behave(MISSING + "case $1 in build) echo 'Step 1/2 : FROM x'; echo noise;; esac")
    r = box.run("run", "x", env={"PRISONCODE_BASE_IMAGE": "base:1", "PRISONCODE_NPM_REGISTRY": "http://r"})
    assert r.returncode == 0, r
    assert r.stderr.count("building the image") == 2 and "  Step 1/2 : FROM x" in r.stderr
    assert "noise" not in r.stderr and r.stdout == ""
    app, sidecar = [c for c in box.calls() if c[0] == "build"]
    assert option(app, "--tag") == ["prisoncode:latest"] and app[-1] == str(src)
    assert option(app, "--file") == [str(src / "docker" / "app.Dockerfile")]
    assert option(app, "--build-arg") == ["BASE_IMAGE=base:1", "NPM_REGISTRY=http://r", "PACKAGES=jq g++"]
    digest = hashlib.sha256(b"jq\n# c\ng++\n").hexdigest()
    assert option(app, "--label")[0] == "org.prisoncode.packages_hash=" + digest
    assert option(sidecar, "--label")[0].startswith("org.prisoncode.sources_hash=")
    assert option(sidecar, "--tag") == ["prisoncode-egressd:latest"]
    assert option(sidecar, "--file") == [str(src / "docker" / "egressd.Dockerfile")]
    assert option(sidecar, "--build-arg") == ["BASE_IMAGE=base:1"]


def test_only_the_missing_one_is_built(box):
    sources(box)
    box.behave("""case "$1 $2" in 'image inspect') echo; echo 'Error: No such image: prisoncode-egressd:latest' >&2; exit 1;; esac""")
    assert box.run("run", "x").returncode == 0
    assert [option(c, "--tag") for c in box.calls() if c[0] == "build"] == [["prisoncode-egressd:latest"]]


def sources_hashes(box):
    """The labels that this launcher gives to the two images."""
    lines = box.run("--dry-run", "-r").stdout.splitlines()
    found = [re.search("org.prisoncode.sources_hash=([0-9a-f]{64})( |$)", line)[1] for line in lines]
    assert len(set(found)) == 2
    return found


@pytest.mark.parametrize("app,sidecar", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_images_of_another_version_are_built_anew(box, app, sidecar):
    sources(box)
    (box.dot / "packages.txt").write_text("jq\n")
    hashes = sources_hashes(box)
    packages = hashlib.sha256(b"jq\n").hexdigest()
    lines = [packages + "/" + (hashes[0] if not app else "0" * 64), "/" + (hashes[1] if not sidecar else "")]
    box.behave("case \"$1 $2\" in 'image inspect') echo %s; echo %s; exit 0;; esac" % tuple(lines))
    r = box.run("run", "x")
    assert r.returncode == 0 and "packages.txt has changed" not in r.stderr
    want = ["prisoncode:latest"] * app + ["prisoncode-egressd:latest"] * sidecar
    assert [option(c, "--tag")[0] for c in box.calls() if c[0] == "build"] == want
    assert r.stderr.count("building the image") == len(want)
    doctor = box.run("--doctor").stdout
    assert ("to be built" in doctor) == bool(want)
    dry = box.run("--dry-run", "run", "x").stdout
    assert dry.count("docker build") == len(want)


def test_the_hashes_are_those_of_the_sources(box):
    """Every file that goes into an image counts, and nothing else (a test or a page of the manual)."""
    tree = pathlib.Path(__file__).resolve().parents[2]
    for found, dockerfile, folders in zip(sources_hashes(box), ("app", "egressd"),
                                          (["docker"], ["acl", "egressd"])):
        names = ["Makefile", "docker/%s.Dockerfile" % dockerfile]
        names += [str(p.relative_to(tree)) for d in folders for p in (tree / d).glob("*.[ch]")]
        names += ["docker/tui.json"] if dockerfile == "app" else []
        text = b"".join((tree / name).read_bytes() for name in sorted(names))
        assert found == hashlib.sha256(text).hexdigest()


def test_failed_build_shows_its_end(box):
    sources(box)
    box.behave(MISSING + """case $1 in build) i=0; while [ $i -lt 100 ]; do echo "line $i"; i=$((i + 1)); done
printf 'E: \\033[31mno such package' >&2; exit 100;; esac""")
    err = box.refused("run", "x")
    assert "could not be built" in err and "  | E: ?[31mno such package" in err
    assert "  | line 99" in err and "  | line 50\n" not in err
    assert box.sessions() == []


def test_interrupt_ends_a_build(box):
    sources(box)
    box.behave(MISSING + """case $1 in build) echo x >"$FAKE/building"; mkfifo "$FAKE/never"; read y <"$FAKE/never";; esac""")
    p = box.popen("run", "x")
    wait_for(lambda: (box.fake / "never").exists(), "the build")
    p.terminate()
    p.communicate(timeout=20)
    assert p.returncode == 143 and box.sessions() == []


def test_packages_that_changed_are_said_once_and_the_session_starts(box):
    (box.dot / "packages.txt").write_text("jq\n")
    r = box.run("run", "x")
    assert r.returncode == 0
    assert "⚠️  ~/.prisoncode/packages.txt has changed since the Docker image was built." in r.stderr
    assert "Run 'prisoncode -r' (or '--reinstall') to rebuild the container." in r.stderr
    box.behave("case \"$1 $2\" in 'image inspect') echo %s; echo; exit 0;; esac" % hashlib.sha256(b"jq\n").hexdigest())
    assert "packages.txt" not in box.run("run", "x").stderr


def test_label_is_asked_in_the_order_of_words_that_scripts_know(box):
    box.run("run", "x")
    c = box.call("image inspect")
    assert c[2] == "--format" and "org.prisoncode.packages_hash" in c[3] and c[4] == "prisoncode:latest"


def test_reinstall(box):
    src = sources(box)
    r = box.run("-r")
    assert r.returncode == 0, r
    assert [option(c, "--tag")[0] for c in box.calls()] == ["prisoncode:latest", "prisoncode-egressd:latest"]
    r = box.run("--dry-run", "--reinstall")
    assert len(r.stdout.splitlines()) == 2 and len(box.calls()) == 2
    box.behave("exit 3")
    assert "could not be built" in box.refused("-r")
    (src / "docker" / "app.Dockerfile").unlink()
    assert "no docker/app.Dockerfile in" in box.refused("-r")


# ---- commands ----

def test_help(box):
    r = box.run("--help")
    assert r.returncode == 0 and r.stdout.startswith("usage: prisoncode") and not r.stderr
    assert box.run("-h").stdout == r.stdout and box.calls() == []


def test_allow(box):
    r = box.run("--allow", "new.example", "api.openai.com", ".wide.example:8443")
    assert r.returncode == 0, r
    assert (box.dot / "domains.txt").read_text() == "api.openai.com\nnew.example\n.wide.example:8443\n"
    assert r.stdout.splitlines() == ["added to ~/.prisoncode/domains.txt: new.example",
                                     "already in ~/.prisoncode/domains.txt: api.openai.com",
                                     "added to ~/.prisoncode/domains.txt: .wide.example:8443"]


def test_allow_makes_the_list(box):
    (box.dot / "domains.txt").unlink()
    assert box.run("--allow", "new.example").returncode == 0
    text = (box.dot / "domains.txt").read_text()
    assert text.endswith("\nnew.example\n") and text.startswith("#")


def test_allow_keeps_symlink_and_mode_and_adds_a_line_end(box):
    real = box.root / "dotfiles.txt"
    real.write_text("a.test  # no end")
    real.chmod(0o644)
    (box.dot / "domains.txt").unlink()
    (box.dot / "domains.txt").symlink_to(real)
    box.run("--allow", "b.test")
    assert (box.dot / "domains.txt").is_symlink()
    assert real.read_text() == "a.test  # no end\nb.test\n" and real.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("entries", [["*"], ["good.example", "*.x.test"], ["https://x.test/"], [""], ["# c"],
                                     ["a.test\nb.test"], ["a.test b.test"], ["0.0.0.0/0"], []])
def test_allow_refuses_and_adds_nothing(box, entries):
    assert box.refused("--allow", *entries)
    assert (box.dot / "domains.txt").read_text() == "api.openai.com\n"


def test_allow_leaves_a_broken_list_alone(box):
    box.set_list("* \n")
    assert "correct it first" in box.refused("--allow", "a.test")
    assert (box.dot / "domains.txt").read_text() == "* \n"


def test_twenty_at_once_lose_nothing(box):
    ps = [box.popen("--allow", "h%d.example" % i) for i in range(20)]
    for p in ps:
        p.communicate(timeout=60)
        assert p.returncode == 0
    lines = (box.dot / "domains.txt").read_text().split()
    assert sorted(lines) == sorted(["api.openai.com"] + ["h%d.example" % i for i in range(20)])


def test_allow_reaches_a_running_session(box):
    box.behave("jail='await; exit 0'")
    p = box.popen("run", "x")
    box.wait_for_container("jail")
    assert box.run("--allow", "new.example").returncode == 0
    box.wait_for_call("kill HUP egressd")
    p.terminate()
    p.communicate(timeout=20)


DENIED = '{"time":"2026-11-25T05:00:46.024Z","action":"deny","code":"not-listed","method":"CONNECT","host":"x.test","port":443}\n'


def test_denied(box):
    assert "no session of this directory" in box.refused("--denied")
    box.run("run", "x")
    assert box.run("--denied").stdout == "nothing was denied\n"
    box.audits()[0].write_text(DENIED * 2)
    rows = box.run("--denied").stdout.splitlines()
    assert rows[1].split() == ["2026-11-25", "05:00:46", "x.test", "443", "2", "not-listed", "x.test"]
    assert json.loads(box.run("--denied", "--json").stdout) == [
        {"time": "2026-11-25T05:00:46.024Z", "host": "x.test", "port": 443, "count": 2, "code": "not-listed", "entry": "x.test"}]
    assert "no session of this directory" in box.refused("--denied", cwd=box.root)


def test_denied_is_safe_for_a_terminal(box):
    """Whatever the log says: who has taken over egressd writes it."""
    bad = "\x1b\r\x07\x7f\x9b\u202e"
    text = "a\x1b[2J\n\r\x07\x7f\x9b31m\u202e"
    box.run("run", "x")
    lines = [json.dumps({**json.loads(DENIED), member: text}, separators=(",", ":"), ensure_ascii=escaped)
             for member in ("method", "host", "code", "time") for escaped in (True, False)]
    lines.append(lines[-1].replace("x.test", "y.test"))  # of the others' times only the last is shown
    box.audits()[0].write_text("\n".join(lines) + "\n")
    table, said = box.run("--denied").stdout, box.run("--denied", "--json").stdout
    assert "  a?[2J??????31m??? " in table and "x.test" in table
    assert not set(table + said) & set(bad), table + said
    assert len(table.splitlines()) == 1 + len(json.loads(said)) == 6, table


def test_denied_follows(box):
    box.run("run", "x")
    p = box.popen("--denied", "-f", "--json")
    with open(box.audits()[0], "a") as f:
        f.write(DENIED[:20])
        f.flush()
        f.write(DENIED[20:])
    assert json.loads(p.stdout.readline())["host"] == "x.test"
    newer = box.audits()[0].parent / "99991231-000000-000000.jsonl"  # another session starts
    newer.write_text(DENIED.replace("x.test", "y.test"))
    assert json.loads(p.stdout.readline())["host"] == "y.test"
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=20)
    assert p.returncode == 0


def test_doctor(box):
    box.behave("""case $1 in info) echo '{"ServerVersion":"26.1.5","OSType":"linux","MemTotal":8589934592}'; exit 0;; esac""")
    r = box.run("--doctor")
    assert r.returncode == 0, r
    assert "ok    docker     Docker Engine 26.1.5" in r.stdout and "FAIL" not in r.stdout
    assert set(box.verbs()) == {"info", "image inspect"} and box.sessions() == []


@pytest.mark.parametrize("prepare,phrase", [
    (lambda b: b.set_list("*\n"), "FAIL  list       '*' in"),
    (lambda b: b.auth.unlink(), "FAIL  auth       opencode auth file not found"),
    (lambda b: b.set_config("{}"), "FAIL  config     "),
    (lambda b: (b.dot / "packages.txt").write_text("-y\n"), "FAIL  packages   "),
    (lambda b: (b.bin / "docker").unlink(), "FAIL  docker     docker not found"),
    (lambda b: b.behave("""case $1 in info) echo '{"ServerVersion":"19.03.1"}'; exit 0;; esac"""), "19.03.1 is too old"),
    (lambda b: b.behave("""case $1 in info) echo '{"ServerVersion":"26.1","OSType":"windows"}'; exit 0;; esac"""), "Linux containers"),
    (lambda b: b.env.update(PRISONCODE_MEMORY="x"), "FAIL  variables  "),
])
def test_doctor_finds(box, prepare, phrase):
    prepare(box)
    if not (box.bin / "docker").exists():
        box.env["PATH"] = str(box.bin)
    r = box.run("--doctor")
    assert r.returncode == 1 and phrase in r.stdout, r


def test_closed_standard_streams(box):
    r = subprocess.run(["sh", "-c", 'exec "$0" --dry-run run x <&- >&- 2>&-',
                        PRISONCODE], cwd=box.workspace, env=box.env, timeout=20)
    assert r.returncode == 0
