"""Build the wheel, install it into a clean environment and use it from outside the checkout.

Run by `make dist-check`. A check inside the checkout proves nothing: there the folders and the links are importable whether
or not the wheel holds them. The clean environment sees the dependencies of the running one, but neither its editable umsrep
nor the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("zoo", "heads", "tasks", "model_cards")
NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "runs", "*.egg-info", "__pycache__")

IMPORT_ALL = """
import importlib, sys
from pathlib import Path
environment = Path(sys.argv[1]).resolve()
for name in sys.argv[2:]:
    file = Path(importlib.import_module(name).__file__).resolve()
    assert environment in file.parents, f"{name} was imported from {file}, outside of {environment}"
print(f"{len(sys.argv) - 2} modules imported from {environment}")
"""


def expected_members() -> set[str]:
    """List what the wheel must hold: every module, the cards, the shipped weights and the marker of typed code."""
    members = {"umsrep/py.typed", *(f"umsrep/{path.name}" for path in (ROOT / "umsrep").glob("*.py"))}
    for folder in FOLDERS:
        members |= {f"umsrep/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*.py")}
    for suffix in ("md", "json"):
        members |= {f"umsrep/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "model_cards").glob(f"*.{suffix}")}
    members |= {f"umsrep/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "zoo" / "weights").rglob("*") if path.is_file()}
    return members


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without the caller's Python settings; on failure show its output and stop."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"dist-check: exit {done.returncode} from: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_wheel(scratch: Path) -> Path:
    """Build an sdist of a copy of the checkout, and the wheel from the sdist (so no links and no stale build folder)."""
    source, dist = scratch / "source", scratch / "dist"
    shutil.copytree(ROOT, source, symlinks=True, ignore=NOT_SOURCE)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source, cwd=scratch)
    (wheel,) = dist.glob("*.whl")
    return wheel


def check_members(wheel: Path) -> list[str]:
    """Compare the wheel with the checkout and return the names of its modules."""
    held = set(zipfile.ZipFile(wheel).namelist())
    if missing := sorted(expected_members() - held):
        sys.exit(f"dist-check: not in {wheel.name}: {', '.join(missing)}; see packages and package-data in pyproject.toml")
    if foreign := sorted(name for name in held if not name.startswith(("umsrep/", "umsrep-"))):
        sys.exit(f"dist-check: {wheel.name} would install outside of umsrep: {', '.join(foreign)}")
    modules = (name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in held if name.endswith(".py"))
    return sorted(name for name in modules if not name.endswith(".__main__"))


def main() -> None:
    """Build, install, import and run; exit with the reason when a step fails."""
    with tempfile.TemporaryDirectory(prefix="umsrep-dist-") as folder:
        scratch = Path(folder).resolve()
        wheel = build_wheel(scratch)
        modules = check_members(wheel)

        environment = scratch / "environment"
        run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=scratch)
        python = environment / "bin" / "python"
        site_packages = Path(run(python, "-I", "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=scratch).strip())
        run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=scratch)
        # A path in a .pth file is searched, but the .pth files in it, such as the editable umsrep's, are not run.
        (site_packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")

        outside = scratch / "outside"
        outside.mkdir()
        print(run(python, "-I", "-W", "ignore", "-c", IMPORT_ALL, environment, *modules, cwd=outside).strip())
        for command in (["-m", "umsrep", "--help"], [environment / "bin" / "umsrep", "list"]):
            if not run(python, "-I", *command, cwd=outside).strip():
                sys.exit(f"dist-check: no output from: umsrep {command[-1]}")
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {len(modules)} modules; `umsrep --help` and `umsrep list` work")


if __name__ == "__main__":
    main()
