"""Make timm know the project's own architectures, also where timm is imported after umsrep, without importing it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import Loader  # it loads more than all of `import umsrep` does

MODULE = "umsrep.zoo.cbr"
"""The module whose import registers them."""


class _RegisterAfter:
    """Loads timm with its own loader and then imports `MODULE`."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to timm's loader."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run timm, which keeps its own loader, and register."""
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        importlib.import_module(MODULE)


class _Finder:
    """Finds timm where the other finders find it. It stays: a program may look for timm without importing it."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return timm's spec with the loader wrapped; None for every other module."""
        if name != "timm":
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target) if finder is not self else None
            if spec is not None and spec.loader is not None:
                spec.loader = cast("Loader", _RegisterAfter(spec.loader))
                return spec
        return None


def register() -> None:
    """Register now if timm is there, else as soon as it has been imported."""
    if "timm" in sys.modules:
        importlib.import_module(MODULE)
    else:
        sys.meta_path.insert(0, _Finder())
