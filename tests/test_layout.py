"""The package list, its mapping, the links, the folders and the tests agree with each other."""

from __future__ import annotations

import ast
import os
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("zoo", "heads", "tasks", "model_cards")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
PACKAGE_FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]

TESTED_ELSEWHERE = {
    "umsrep/__main__.py": "three lines around tasks/cli; run by tests/test_public_api.py and make dist-check",
    "tasks/cli/parser.py": "one class; its one-line errors are tested through every command in tests/tasks/cli",
    "tasks/cli/show.py": "what the commands print; tested through them in tests/tasks/cli",
    "tasks/data/doppler_flows.py": "the physiology of the simulator; its waveforms are tested through simulate() in test_doppler.py",
    "tasks/data/doppler_scanner.py": "the physics of the simulator; its equations are tested in test_doppler.py",
    "tasks/shift/acquisition.py": "a table; every entry is tested in tests/tasks/shift/test_registry.py and test_apply.py",
    "tasks/finetune.py": "an entry point that nothing may import; run as a program by tests/tasks/test_trainer.py",
}
"""Modules without a test file of their own, each with the reason."""


def source_files() -> list[Path]:
    """All modules of the package, each once, relative to the checkout."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    files += (ROOT / "umsrep").glob("*.py")
    return sorted(path.relative_to(ROOT) for path in files)


def test_package_list_equals_mapping() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(PACKAGE_FOLDERS)
    for package, folder in PACKAGE_FOLDERS.items():
        assert folder.replace("/", ".") == ("umsrep" if package == "umsrep" else package.removeprefix("umsrep."))


def test_mapped_folders_are_the_folders_with_modules() -> None:
    assert {path.parent.as_posix() for path in source_files()} == set(PACKAGE_FOLDERS.values())
    for folder in PACKAGE_FOLDERS.values():
        assert (ROOT / folder / "__init__.py").is_file(), f"{folder} needs an __init__.py"


def test_links_are_relative_and_reach_the_folders() -> None:
    links = {path.name: os.readlink(path) for path in (ROOT / "umsrep").iterdir() if path.is_symlink()}
    assert links == {name: f"../{name}" for name in FOLDERS}
    for name in FOLDERS:
        assert (ROOT / "umsrep" / name).resolve() == ROOT / name


def test_every_module_has_its_test_file() -> None:
    missing = []
    for path in source_files():
        folder = Path() if path.parts[0] == "umsrep" else path.parent
        test = Path("tests") / folder / f"test_{path.name}"
        if path.name != "__init__.py" and path.as_posix() not in TESTED_ELSEWHERE and not (ROOT / test).is_file():
            missing.append(test.as_posix())
    assert not missing, f"missing: {', '.join(missing)}; or give the reason in TESTED_ELSEWHERE"


def test_every_test_file_has_its_module() -> None:
    modules = {path.as_posix() for path in source_files()}
    orphans = []
    for folder in FOLDERS:
        for test in (ROOT / "tests" / folder).rglob("test_*.py"):
            module = test.relative_to(ROOT / "tests").with_name(test.name.removeprefix("test_"))
            if module.as_posix() not in modules:
                orphans.append(test.relative_to(ROOT).as_posix())
    assert not orphans, f"no module for: {', '.join(orphans)}"


def test_exceptions_exist_and_have_no_test_file() -> None:
    for name in TESTED_ELSEWHERE:
        assert (ROOT / name).is_file(), f"{name} is gone: take it out of TESTED_ELSEWHERE"
        assert not (ROOT / "tests" / name).with_name(f"test_{Path(name).name}").exists()


@pytest.mark.parametrize("folder", ["umsrep", *FOLDERS, "tests", "scripts", "benchmarks", "examples"])
def test_no_bare_imports(folder: str) -> None:
    paths = (ROOT / folder).glob("*.py") if folder == "umsrep" else (ROOT / folder).rglob("*.py")
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), path)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno} imports relatively"
                names = [node.module or ""]
            else:
                continue
            bare = [name for name in names if name.split(".")[0] in FOLDERS]
            assert not bare, f"{path.relative_to(ROOT)}:{node.lineno} imports {bare[0]}; write umsrep.{bare[0]}"


def test_ci_run_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_floor_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    start, end = lines.index("dependencies = ["), lines.index("[project.scripts]")
    requirements = [line.strip() for line in lines[start:end] if line.strip().startswith('"')]
    assert len(requirements) > 20
    for requirement in requirements:
        reason = requirement.partition("#")[2].strip()
        assert len(reason) > 10, f"no reason beside {requirement}"
