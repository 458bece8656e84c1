"""The report of a run; what stands in it is checked in test_trainer.py."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from umsrep.tasks import trainer
from umsrep.tasks.report import Report
from umsrep.tasks.runfolder import plain


def test_a_report_is_plain_values() -> None:
    report = Report(Path("run"), Path("run/model"), 3, 0.5, {"disc": {"dice": 0.9}}, {}, 12.0)
    assert json.loads(json.dumps(plain(dataclasses.asdict(report))))["model"] == "run/model"
    assert trainer.Report is Report
