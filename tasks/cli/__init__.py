"""The command line: parse, call, print. Exit 0 done, 2 the user's input is at fault (one line), 1 a defect of ours."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from umsrep.errors import InputError, nearest
from umsrep.tasks.cli import (
    acquire,
    adapting,
    benchmarking,
    catalog,
    choose,
    data,
    guard,
    models,
    pretraining,
    reviewing,
    runs,
    shifting,
    study,
)
from umsrep.tasks.cli.parser import Parser, Run
from umsrep.tasks.cli.show import clean


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words after ``umsrep``; None takes the process's own.

    Returns:
        The exit code.
    """
    return _guarded(lambda: _dispatch(list(sys.argv[1:] if argv is None else argv)))


def finetune_main(argv: Sequence[str]) -> int:
    """Run ``finetune`` alone, for ``accelerate launch -m umsrep.tasks.finetune``."""
    return _guarded(lambda: _dispatch(["finetune", *argv]))


def _guarded(run: Callable[[], int]) -> int:
    try:
        return run()
    except InputError as error:
        print(f"umsrep: {clean(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"umsrep: {error if str(error) else 'interrupted; finetune goes on from its last checkpoint with --resume'}", file=sys.stderr)
        return getattr(error, "code", 130)  # an `Interrupted` run has its own
    except BrokenPipeError:  # `umsrep list | head`
        sys.stderr.close()
        return 0


def _dispatch(argv: list[str]) -> int:
    parser = _parser()
    commands = _commands(parser)
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        raise InputError(f"unknown command '{argv[0]}'{nearest(argv[0], commands)}")
    arguments, rest = parser.parse_known_args(argv)
    further: dict[str, str | tuple[str, ...]] = {"finetune": "--", "study": "--", "pretrain": "--"}
    further |= dict.fromkeys(("choose", "acquire"), "--targets.") | {"evaluate": ("--targets.", "--calibration-targets.")}
    allowed = further.get(arguments.command)
    wrong = [word for word in rest if allowed is None or (word.startswith("--") and not word.startswith(allowed))]
    if wrong:
        options = [o for a in commands[arguments.command]._actions for o in a.option_strings]
        raise InputError(f"umsrep {arguments.command}: unknown argument '{wrong[0]}'{nearest(wrong[0], options)}")
    arguments.rest = rest
    code: int = arguments.run(arguments) or 0
    return code


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def _parser() -> argparse.ArgumentParser:
    from umsrep import __version__

    parser = Parser(prog="umsrep", description="Shared encoders for medical images. For research only, never for clinical use.")
    parser.add_argument("--version", action="version", version=f"umsrep {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    for group in (runs, data, models, benchmarking, pretraining, study, choose, acquire, guard, shifting, reviewing, adapting, catalog):
        group.add_commands(add)
    return parser
