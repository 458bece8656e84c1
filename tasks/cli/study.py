"""Commands of studies: Transfusion, and the similarity of two encoders."""

from __future__ import annotations

import argparse
from pathlib import Path

from umsrep.errors import InputError
from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add, Parser


def add_commands(add: Add) -> None:
    """Add the command to the parser."""
    study = add("study", _transfusion, "small experiments on one's own data: transfusion, similarity")
    more = study.add_subparsers(dest="study", required=True, metavar="STUDY", parser_class=Parser)
    text = "what pretrained weights give: convergence, size, reuse by depth (Raghu et al. 2019); run it again to go on"
    transfusion = more.add_parser("transfusion", help=text, description=text)
    transfusion.set_defaults(run=_transfusion)
    transfusion.add_argument("--config", required=True, help="YAML file (docs/transfusion.md); every key also as --key.key VALUE")
    transfusion.add_argument("--json", action="store_true", help="print the results as JSON")
    text = "how alike the levels of two encoders are on images, by linear CKA and SVCCA"
    similarity = more.add_parser("similarity", help=text, description=text)
    similarity.set_defaults(run=_similarity)
    similarity.add_argument("first", help="preset, org/repo or folder")
    similarity.add_argument("second", help="the same, such as the model after fine-tuning")
    similarity.add_argument("data", help="folder with metadata.csv, or a MedMNIST npz")
    similarity.add_argument("--split", default="validation")
    similarity.add_argument("--split-column", default="split")
    similarity.add_argument("--images", type=int, default=256, metavar="N", help="how many at most, evenly spaced (default 256)")
    similarity.add_argument("--out", type=Path, metavar="F", help="draw heat maps into this PNG")
    similarity.add_argument("--json", action="store_true", help="print JSON")


def _transfusion(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.interruption import Interrupted
    from umsrep.tasks.runfolder import plain
    from umsrep.tasks.study import load_study, run_study

    study = load_study(arguments.config, arguments.rest)
    try:
        results = run_study(study)
    except Interrupted as error:
        raise Interrupted(error.signal, "stopped; a checkpoint is saved, and the same command goes on from there") from error
    if arguments.json:
        show.print_json(plain(results))
        return
    print((Path(study.output) / "results.md").read_text(encoding="utf-8"))
    print(f"Results, figures and cells: {study.output}")


def _similarity(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.data.manifest import load_manifest
    from umsrep.tasks.study.transfusion import compare_on

    if arguments.rest:
        raise InputError(f"umsrep study similarity: unknown argument '{arguments.rest[0]}'")
    from umsrep.zoo import Encoder

    first, second = Encoder.from_pretrained(arguments.first), Encoder.from_pretrained(arguments.second)
    manifest = load_manifest(arguments.data)
    rows = manifest.rows(arguments.split, arguments.split_column)
    if arguments.images < 4 or len(rows) < 4:
        raise InputError(f"umsrep study similarity: needs 4 images or more; {manifest.table} has {len(rows)} of {arguments.split}")
    matrices = compare_on(first, second, [(manifest, row) for row in rows], arguments.images)
    labels = [[f"/{stride} {width}" for stride, width in zip(e.strides, e.channels, strict=True)] for e in (first, second)]
    if arguments.out is not None:
        from umsrep.tasks.study.figures import draw_comparison

        titles = {"cka": "linear CKA", "svcca": "SVCCA"}
        named = [(arguments.first, labels[0]), (arguments.second, labels[1])]
        draw_comparison({titles[k]: v for k, v in matrices.items()}, named[0], named[1], arguments.out)
    if arguments.json:
        show.print_json({"first": labels[0], "second": labels[1]} | {k: v.tolist() for k, v in matrices.items()})
        return
    for name, matrix in matrices.items():
        print(f"{name}: rows {arguments.first}, columns {arguments.second} (stride, channels)")
        print(" " * 12 + "".join(f"{label:>10}" for label in labels[1]))
        for label, row in zip(labels[0], matrix, strict=True):
            print(f"{label:>12}" + "".join(f"{value:10.3f}" for value in row))
