"""Entry point of ``accelerate launch -m umsrep.tasks.finetune``; nothing imports it."""

from __future__ import annotations

import sys

from umsrep.tasks.cli import finetune_main

if __name__ == "__main__":
    sys.exit(finetune_main(sys.argv[1:]))
