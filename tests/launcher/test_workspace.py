"""The workspace: what a session may plant in it for this machine to run, and what --protect prevents."""
import os

import pytest

from conftest import mounts, wait_for_line

HEAD = "prisoncode: changed in this session, where this machine may run things by itself; look before you go on:"


def repository(folder):
    """What git init makes, as far as it matters here."""
    (folder / "hooks").mkdir(parents=True)
    (folder / "hooks" / "pre-commit.sample").write_text("#!/bin/sh\n")
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "config").write_text("[core]\n\tbare = false\n")
    return folder


def said(box, script):
    """The lines after the headline, when the jail has done this in the workspace."""
    (box.fake / "script").write_text(script)
    box.behave("jail='sh -e \"$FAKE/script\"'")
    r = box.run("run", "x")
    assert r.returncode == 0, r
    lines = r.stderr.splitlines()
    if HEAD not in lines:
        assert "changed in this session" not in r.stderr
        return []
    return [l.removeprefix("prisoncode:   ").split(None, 1) for l in lines[lines.index(HEAD) + 1:]]


def test_quiet_when_nothing_is_planted(box):
    repository(box.workspace / ".git")
    (box.workspace / ".envrc").write_text("x\n")
    script = """echo x >new.c; mkdir src; echo y >src/config; mkdir .git/objects; echo z >.git/objects/o
        echo x >.envrc; touch .git/hooks/pre-commit.sample; echo y >.vscode; git config user.name me 2>/dev/null || :"""
    repository(box.workspace / "other")  # no place that anything runs from
    assert said(box, script.replace("git config", ": git config")) == []


PLACES = [
    ".git/hooks/post-checkout", ".git/config.worktree", ".git/commondir", ".git/modules/a/hooks/x",
    ".git/modules/lib/deep/hooks/x", ".git/modules/a/modules/b/config", ".git/worktrees/w/config.worktree",
    ".envrc", ".husky/pre-commit", ".vscode/tasks.json", ".vscode/settings.json", ".idea/workspace.xml",
    ".devcontainer/devcontainer.json", ".devcontainer/deep/er/x.sh", ".mise.toml", ".tool-versions", ".nvim.lua",
    "opencode.json", ".opencode/plugin/x.ts", ".npmrc", ".claude/settings.json"]


def test_what_is_new_changed_or_gone(box):
    """In all the places at once: a session each would take long, and one hides nothing of another."""
    repository(box.workspace / ".git")
    for module in ("a", "lib/deep", "a/modules/b"):
        repository(box.workspace / ".git" / "modules" / module)
    (box.workspace / ".git/worktrees/w").mkdir(parents=True)
    (box.workspace / ".git/worktrees/w/HEAD").write_text("ref: x\n")
    there = [path for path in PLACES if (box.workspace / path).exists()]
    assert there == [".git/modules/a/modules/b/config"]

    def each(script):
        return "\n".join(script.format(path=path, folder=os.path.dirname(path) or ".") for path in PLACES)

    def all_are(what):
        return sorted([what, path] for path in PLACES)

    made = [["changed" if path in there else "new", path] for path in PLACES]
    assert sorted(said(box, each("mkdir -p {folder}; echo x >{path}"))) == sorted(made)
    assert sorted(said(box, each("echo y >{path}"))) == all_are("changed")
    assert sorted(said(box, each("chmod +x {path}"))) == all_are("changed")
    assert said(box, ":") == []
    assert said(box, "echo z >%s" % PLACES[0]) == [["changed", PLACES[0]]]  # and not the others beside it
    assert sorted(said(box, each("rm {path}"))) == all_are("gone")


def test_a_new_repository_and_one_in_place_of_another(box):
    assert said(box, "mkdir -p .git/hooks; echo x >.git/hooks/pre-push") == [["new", ".git/hooks/pre-push"]]
    assert said(box, "mv .git old; mkdir -p .git/hooks; echo y >.git/hooks/pre-push") == [
        ["changed", ".git/hooks/pre-push"]]
    assert sorted(said(box, "rm -r .git; echo 'gitdir: old' >.git")) == [
        ["gone", ".git/hooks/pre-push"], ["new", ".git"]]


def test_symlinks_are_told_and_never_followed(box):
    secret = box.root / "secret"
    secret.mkdir()
    (secret / "tasks.json").write_text("x")
    assert said(box, "ln -s %s .vscode; ln -s %s/tasks.json .envrc" % (secret, secret)) == [
        ["new", ".envrc"], ["new", ".vscode"]]
    (secret / "tasks.json").write_text("another")
    assert said(box, ":") == []
    assert said(box, "ln -sfn /elsewhere .vscode") == [["changed", ".vscode"]]


def test_odd_files_do_not_hang_it(box):
    found = said(box, "mkdir -p .husky; mkfifo .husky/pipe .envrc; mkdir .npmrc; ln -s . .husky/loop; "
                      "dd if=/dev/zero of=.husky/big bs=1M count=5 2>/dev/null")
    assert sorted(found) == [["new", ".envrc"], ["new", ".husky/big"], ["new", ".husky/loop"], ["new", ".husky/pipe"]]
    assert said(box, "echo x >>.husky/big") == [["changed", ".husky/big"]]


def test_names_are_safe_for_a_terminal(box):
    """Control bytes, C1 controls, bytes that are no UTF-8, marks that turn the writing around."""
    script = r"""mkdir -p .husky; cd .husky
        for name in '\033[2J' 'a\nprisoncode: all is well' '\302\2332J' '\233x' 'a\342\200\256b' 'caf\303\251'; do
            : >"$(printf "$name")"
        done"""
    (box.fake / "script").write_text(script)
    box.behave("jail='sh -e \"$FAKE/script\"'")
    r = box.run("run", "x")
    names = sorted(l.split(".husky/")[1] for l in r.stderr.splitlines() if ".husky/" in l)
    assert names == sorted(["?[2J", "a?prisoncode: all is well", "??2J", "?x", "a???b", "caf\u00e9"])
    assert not any(ord(c) < 32 and c != "\n" or 0x7f <= ord(c) < 0xa0 for c in r.stderr)


def test_the_list_is_short_even_when_much_was_planted(box):
    found = said(box, "mkdir .husky; i=0; while [ $i -lt 200 ]; do : >.husky/$i; i=$((i + 1)); done")
    assert len(found) == 31 and found[-1] == ["and", "170 more"]


def test_settings_of_git_that_run_something(box):
    repository(box.workspace / ".git")
    found = said(box, "printf '[core]\\n\\tfsmonitor = touch x\\n[user]\\n\\tname = n\\n' >>.git/config")
    assert found == [["changed", ".git/config"], ["git", "runs .git/config: core.fsmonitor = touch x"]]
    assert said(box, "echo '[user]' >>.git/config") == [["changed", ".git/config"]]


def test_settings_of_git_that_run_something_are_told_at_once(box):
    repository(box.workspace / ".git")
    box.behave("jail='printf \"[core]\\n\\thooksPath = .h\\n\" >>.git/config; await; exit 0'")
    p = box.popen("run", "x")
    line = wait_for_line(p, "a setting of git now runs something")
    assert line.endswith(": .git/config: core.hookspath = .h") and p.poll() is None
    p.terminate()
    p.communicate(timeout=20)


# ---- read-only mounts ----

def read_only(box):
    return {dst.removeprefix("/workspace/"): src for dst, (src, readonly) in mounts(box.call("create jail")).items()
            if dst.startswith("/workspace/") and readonly}


def test_hooks_are_read_only_always(box):
    hooks = repository(box.workspace / ".git") / "hooks"
    box.run("run", "x")
    assert read_only(box) == {".git/hooks": str(hooks)}


def test_protect(box):
    repository(box.workspace / ".git")
    repository(box.workspace / ".git/modules/lib/deep")
    for name in (".envrc", ".vscode/tasks.json", ".husky/pre-commit", ".vscode/other.json"):
        (box.workspace / name).parent.mkdir(exist_ok=True)
        (box.workspace / name).write_text("x")
    (box.workspace / ".npmrc").symlink_to("elsewhere")
    assert box.run("--protect", "run", "x").returncode == 0
    found = read_only(box)
    assert set(found) == {".git/hooks", ".git/config", ".git/modules/lib/deep/hooks", ".git/modules/lib/deep/config",
                          ".envrc", ".vscode/tasks.json", ".husky"}
    assert all(src == str(box.workspace / name) for name, src in found.items())
    assert not (box.workspace / ".mise.toml").exists()  # what is not there is not made


def test_protect_has_a_bound(box):
    for i in range(150):
        repository(box.workspace / (".git/modules/m%d" % i))
    assert "--protect: more than" in box.refused("--protect", "run", "x")
    assert box.run("run", "x").returncode == 0


def test_worktrees_and_submodules(box):
    """.git is a file that says where git's data are: outside it is told, inside their hooks are read-only."""
    hooks = repository(box.workspace / "inner/git") / "hooks"
    (box.workspace / ".git").write_text("gitdir: inner/git\n")
    r = box.run("run", "x")
    assert "git will not work" not in r.stderr
    assert read_only(box) == {"inner/git/hooks": str(hooks)}
    assert said(box, "echo x >>inner/git/config; echo y >>.git") == [["changed", ".git"], ["changed", "inner/git/config"]]


def test_git_data_behind_a_symlink_inside(box):
    hooks = repository(box.workspace / "real") / "hooks"
    (box.workspace / ".git").symlink_to("real")
    box.run("run", "x")
    assert read_only(box) == {"real/hooks": str(hooks)}


def test_git_outside_by_symlink_is_said(box):
    repository(box.root / "far")
    (box.workspace / ".git").symlink_to(box.root / "far")
    r = box.run("run", "x")
    assert str(box.root / "far") in r.stderr and "git will not work inside" in r.stderr
    assert read_only(box) == {}
