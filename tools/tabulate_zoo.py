"""Write the table of docs/models.md: for each model of `tests/support/zoo.py`, what was compared and what agreed."""

from __future__ import annotations

import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support import proofs  # noqa: E402

PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- the table of tools/tabulate_zoo.py -->\n", "<!-- its end -->\n"


def main() -> int:
    warnings.simplefilter("ignore")  # those of the models' libraries
    alone = {name: proofs.digest_alone(name) for name in proofs.ZOO}
    columns = {"moments": {name: _mark(not proofs.moments_that_differ(name)) for name in alone}}
    columns["reversed"] = {
        name: _mark(not proofs.differs_backward(name)) if proofs.ZOO[name].initialize else "-" for name in alone
    }
    for layout in proofs.LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            found = proofs.digests(layout, list(alone), Path(folder))
        columns[layout] = {name: _mark(found[name] == digest) for name, digest in alone.items()}
    lines = [f"| model | library | by | {' | '.join(columns)} | digest |", f"| --- | --- | --- | {'--- | ' * len(columns)}--- |"]
    for name, digest in alone.items():
        library, _, initialize = proofs.ZOO[name]
        how = "construct" if initialize is None else "seeded"
        agreed = " | ".join(column[name] for column in columns.values())
        lines.append(f"| {name} | {library} | `{how}` | {agreed} | `{digest[:8]}` |")
    libraries = ", ".join(
        f"{library} {version(library)}" for library in ("torch", "transformers", "timm", "torchvision", "diffusers", "torchtitan")
    )
    table = "\n".join([*lines, "", f"Made with {libraries}."]) + "\n"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    print(table)
    return int(any("NO" in column.values() for column in columns.values()))


def _mark(agrees: bool) -> str:
    return "yes" if agrees else "NO"


if __name__ == "__main__":
    sys.exit(main())
