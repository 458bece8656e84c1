"""(d) `import umsrep` against `import timm`, each in a fresh interpreter: at most 0.3 s longer.

The children run in turn, each times its own import statement (the interpreter's start is the same for all), with warm files and byte
code. `import umsrep` alone loads no torch: names load when first used. So the first use of an encoder, of a model with heads and of
the trainer is given too; each of them includes `import timm`.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from timing import Row, alternate, arguments, finish

STATEMENTS = {
    "import umsrep": "import umsrep",
    "import umsrep; umsrep.Encoder": "import umsrep; umsrep.Encoder",
    "import umsrep, umsrep.zoo; umsrep.MultiTaskModel": "import umsrep, umsrep.zoo; umsrep.MultiTaskModel",
    "import umsrep; umsrep.fit": "import umsrep; umsrep.fit",
}


def seconds_of(statement: str) -> float:
    """Run a statement in a fresh interpreter and return the seconds that it took there."""
    script = f"import time; started = time.perf_counter(); {statement}; print(time.perf_counter() - started)"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    options = arguments(__doc__)
    statements = {**STATEMENTS, "timm": "import timm"}
    seconds = alternate({name: partial(seconds_of, s) for name, s in statements.items()}, 1 if options.quick else 7)
    targets = {"import umsrep": 0.3}
    rows = [Row(f"{name} | import timm", seconds[name], seconds["timm"], "difference", targets.get(name)) for name in STATEMENTS]
    finish("import", rows, options)


if __name__ == "__main__":
    main()
