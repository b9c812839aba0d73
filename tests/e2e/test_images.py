"""What is in the images that sessions run: read from outside, by root."""
import subprocess
import tarfile

import pytest

from conftest import APP_IMAGE, TREE, docker

SIDECAR_IMAGE = "prisoncode-egressd:latest"
JAIL_INIT = "/usr/local/lib/prisoncode/jail-init"


@pytest.fixture
def taken_out(images, tmp_path):
    """Copies a file, or with "-" all files as an archive, out of an image."""
    made = []

    def take(image, path):
        made.append(docker("create", image, "x").strip())
        to = tmp_path / f"taken{len(made)}"
        if path == "-":
            docker("export", "-o", str(to), made[-1])
        else:
            docker("cp", f"{made[-1]}:{path}", str(to))
        return to
    yield take
    for container in made:
        docker("rm", container)


@pytest.mark.parametrize("image, path", [(SIDECAR_IMAGE, "/egressd"), (APP_IMAGE, JAIL_INIT)], ids=["egressd", "jail-init"])
def test_programs_are_hardened(taken_out, image, path):
    """make hardening looks at what the checkout built; this is what runs."""
    program = taken_out(image, path)
    done = subprocess.run([TREE / "tests/check-hardening", program], capture_output=True, text=True)
    assert done.returncode == 0 and "have all of it" in done.stdout, done.stdout + done.stderr


def test_no_file_gives_rights(images):
    """Not even one that only root finds."""
    found = docker("run", "--rm", "--user", "0", "--network", "none", "--entrypoint", "find", APP_IMAGE,
                   "/", "-xdev", "-type", "f", "-perm", "/6000")
    assert found == ""
    count = docker("run", "--rm", "--user", "0", "--network", "none", "--entrypoint", "sh", APP_IMAGE,
                   "-c", "chmod u+s /usr/bin/env && find / -xdev -type f -perm /6000")
    assert count == "/usr/bin/env\n", "the search finds none that is there"


def test_the_sidecar_has_one_program_and_its_libraries(taken_out):
    with tarfile.open(taken_out(SIDECAR_IMAGE, "-")) as archive:
        files = [member for member in archive if not member.isdir()]
    by_engine = {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"}
    names = {member.name for member in files} - by_engine
    assert "egressd" in names
    others = {name for name in names if ".so" not in name.rsplit("/", 1)[-1]}
    assert others == {"egressd"}, others
    assert all(member.mode & 0o6002 == 0 for member in files if member.isreg())
