"""The limits of egressd by name, as egressd/limits.h and egressd/config.h have them: limits.LIMIT_HEAD."""
import os
import re

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _read(header):
    with open(os.path.join(_ROOT, "egressd", header), encoding="utf-8") as text:
        code = re.sub(r"/\*.*?\*/", "", text.read().replace("\\\n", ""), flags=re.S)
    for name, value in re.findall(r"^#define\s+((?:LIMIT|DEFAULT)_\w+)\s+(.+)$", code, flags=re.M):
        value = re.sub(r"\(\s*uint64_t\s*\)|(?<=\d)u?l{0,2}\b", "", value.strip().lower())
        if re.fullmatch(r"[\d\s()<*+-]+", value):
            globals()[name] = eval(value)  # digits and operators only


_read("limits.h")
_read("config.h")
