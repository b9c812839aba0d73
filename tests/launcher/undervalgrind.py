"""The launcher under valgrind (make valgrind): one session; nothing is lost, no descriptor is open at its
end that it was not given."""
import re

import conftest


def test_a_session(box, tmp_path, monkeypatch):
    report, program = tmp_path / "report", tmp_path / "prisoncode"
    program.write_text("#!/bin/sh\nexec valgrind -q --error-exitcode=99 --leak-check=full --track-fds=yes "
                       f'--child-silent-after-fork=yes --log-file={report}.%p {conftest.PRISONCODE} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(conftest, "PRISONCODE", str(program))
    done = box.run("run", "x")
    assert done.returncode == 0, done
    reports = [path.read_text() for path in tmp_path.glob("report.*")]
    assert any("FILE DESCRIPTORS" in said for said in reports)
    for said in reports:
        assert not re.search(r"definitely lost|indirectly lost|Invalid|uninitialised", said), said
        for total, std in re.findall(r"FILE DESCRIPTORS: (\d+) open \((\d+) std\)", said):
            assert int(total) == int(std) + said.count("<inherited from parent>"), said
