"""Trackers hold a run's numbers by step, go on in the same run, and end no run by what their servers do."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from tests.tasks.runs import TASKS, run_config, run_values
from umsrep.errors import InputError
from umsrep.tasks import pictures
from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.trackers import Trackers, hyperparameters
from umsrep.tasks.trainer import fit

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {"seed": 3, "optimiser": {"learning_rate": 0.001}, "data": [{"path": "discs"}], "none": None, "image_size": [32, 64], "empty": []}
Points = list[tuple[int, float]]


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=not torch.cuda.is_available())


class Server(GeneralTracker):  # type: ignore[misc]  # Accelerate is not typed
    """A tracker whose server can be away."""

    name = "tensorboard"
    requires_logging_directory = False
    away = False
    got: list[tuple[int, float]] = []  # noqa: RUF012  # of the server, whichever client speaks to it
    closed = 0

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()

    @property
    def tracker(self) -> None:
        return None

    def start(self) -> None:
        if self.away:
            raise ConnectionError("no route to host\nand much more")

    def log(self, values: dict[str, float], step: int | None = None, **options: Any) -> None:
        if self.away:
            raise OSError("timed out")
        assert step is not None
        type(self).got.append((step, values["a"]))

    def finish(self) -> None:
        type(self).closed += 1
        if self.away:
            raise ConnectionResetError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[Server]:
    kind = type("Fresh", (Server,), {"got": [], "closed": 0})
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", kind)
    return kind


def trackers(output: Path, accelerator: Accelerator, *names: str, resumed: bool = False) -> Trackers:
    output.mkdir(exist_ok=True)
    return Trackers(names, output, accelerator, CONFIG, resumed=resumed)


def test_hyperparameters_are_flat_plain_values() -> None:
    assert hyperparameters(CONFIG) == {"seed": 3, "optimiser.learning_rate": 0.001, "data.0.path": "discs", "image_size": "[32, 64]"}
    values = hyperparameters(dataclasses.asdict(run_config(Path("discs"), Path("out"))))
    assert values["tasks.disc.classes"] == '["background", "disc"]'
    assert values["data.0.path"] == "discs"
    assert {type(v) for v in values.values()} <= {bool, int, float, str}


def test_a_server_that_is_away_for_a_while_gets_everything_later(
    server: type[Server], tmp_path: Path, accelerator: Accelerator, capsys: pytest.CaptureFixture[str]
) -> None:
    with trackers(tmp_path, accelerator, "tensorboard", "tensorboard") as run:
        for step in range(1, 6):
            server.away = step in (2, 3)
            run.log({"a": step / 10}, step)
    assert server.got == [(n, n / 10) for n in range(1, 6)], "in order, each once"
    assert server.closed == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "tracker 'tensorboard' took no numbers at step 2: timed out; they are sent again with the next ones"


def test_a_server_that_stays_away_ends_nothing(
    server: type[Server], tmp_path: Path, accelerator: Accelerator, capsys: pytest.CaptureFixture[str]
) -> None:
    with trackers(tmp_path, accelerator, "tensorboard") as run:
        server.away = True
        run.log({"a": 1.0}, 1)
        run.log({"a": 2.0}, 2)
    first, second, third = capsys.readouterr().err.splitlines()
    assert "took no numbers at step 1" in first
    assert second == "tracker 'tensorboard' could not be closed: ConnectionResetError"
    assert third == f"tracker 'tensorboard' lacks the last 2 entries; {tmp_path / 'metrics.jsonl'} has them"


def test_a_tracker_that_does_not_start_stops_a_new_run_and_not_one_that_goes_on(
    server: type[Server], tmp_path: Path, accelerator: Accelerator, capsys: pytest.CaptureFixture[str]
) -> None:
    server.away = True
    with pytest.raises(InputError, match="'tensorboard' cannot be started: no route to host; mend that, or leave it out") as caught:
        trackers(tmp_path, accelerator, "tensorboard").__enter__()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trackers.json").exists()
    with trackers(tmp_path, accelerator, "tensorboard", resumed=True) as run:
        run.log({"a": 1.0}, 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("no route to host; the run goes on without it, metrics.jsonl has all numbers")


def tensorboard(output: Path) -> tuple[Points, dict[str, Any]]:
    events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    scalars = events.EventAccumulator(str(output / "umsrep"))
    scalars.Reload()
    (stored,) = output.glob("umsrep/*/hparams.yml")
    yaml = importlib.import_module("yaml")
    return [(e.step, e.value) for e in scalars.Scalars("cosine/a vs b")], yaml.safe_load(stored.read_text())


def trackio(output: Path) -> tuple[Points, dict[str, Any]]:
    with sqlite3.connect(output.parent / "trackio" / "umsrep.db") as data:
        rows = data.execute("select step, metrics from metrics order by id").fetchall()
        configs = data.execute("select config from configs").fetchall()
        assert len(configs) == 1
    return [(step, json.loads(text)["cosine/a vs b"]) for step, text in rows], json.loads(configs[0][0])


def mlflow(output: Path) -> tuple[Points, dict[str, Any]]:
    client = importlib.import_module("mlflow").MlflowClient()
    (experiment,) = (e for e in client.search_experiments() if e.name == "umsrep")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "cosine/a vs b")], run.data.params


def wandb(output: Path) -> tuple[Points, dict[str, Any]]:
    proto = importlib.import_module("wandb.proto.wandb_internal_pb2")
    points: Points = []
    config: dict[str, Any] = {}
    runs: set[str] = set()
    for path in sorted(output.glob("wandb/offline-run-*/*.wandb")):
        data, at = path.read_bytes(), 7
        assert len(data) < 32768, "one block of LevelDB's log format: records of checksum (4 bytes), length (2), kind (1), content"
        while at < len(data):
            length = int.from_bytes(data[at + 4 : at + 6], "little")
            record = proto.Record()
            record.ParseFromString(data[at + 7 : at + 7 + length])
            at += 7 + length
            if record.HasField("run"):
                runs.add(record.run.run_id)
            config |= {item.key: json.loads(item.value_json) for item in record.config.update if item.key}
            values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            if values:
                points.append((values["_step"], values["cosine/a vs b"]))
    assert len(runs) == 1
    return points, config


@pytest.mark.filterwarnings("default")  # what trackers and their dependencies deprecate is theirs to mend
@pytest.mark.parametrize("read", [tensorboard, trackio, mlflow, wandb])
def test_numbers_by_step_and_hyperparameters_in_one_run(
    read: Callable[[Path], tuple[Points, dict[str, Any]]], tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = read.__name__
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip(name, reason=f"needs {name}: pip install {name}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    output = tmp_path / "run"
    for resumed in (False, True):
        with trackers(output, accelerator, name, resumed=resumed) as run:
            for step in (10, 20):
                run.log({"step": 1.0, "cosine/a|b": 0.5 + resumed}, step + 20 * resumed)
    points, config = read(output)
    assert points == [(10, 0.5), (20, 0.5), (30, 1.5), (40, 1.5)]
    assert str(config["seed"]) == "3"
    assert float(config["optimiser.learning_rate"]) == 0.001


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_is_tracked_once(processes: int, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard: pip install tensorboard")
    output = tmp_path / "run"
    values = run_values(tiny_data, output, trackers=["tensorboard"], gradients_every=1)
    if processes == 1:
        for name in ("draw_samples", "draw_curves"):
            monkeypatch.setattr(pictures, name, lambda *_: None)
        fit(config_from_dict(values))
    else:
        path = tmp_path / "run.yaml"
        path.write_text(json.dumps(values))  # JSON is YAML
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "umsrep.tasks.finetune", "--config"]
        env = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(
            [sys.executable, *command, str(path)], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads((output / "environment.json").read_text())["world_size"] == 2
        assert done.stderr.count("epoch   2") == 1
    events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    scalars = events.EventAccumulator(str(output / "umsrep"))
    scalars.Reload()
    log = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    for name in TASKS:
        assert [(e.step, e.value) for e in scalars.Scalars(f"train/{name}")] == [(e["step"], pytest.approx(e["train"][name])) for e in log]
    tags = set(scalars.Tags()["scalars"])
    assert {"validation/disc/dice", "gradients/norm/disc", "test/size/auroc", "memory_gib", "learning_rate"} <= tags
    assert len(list(output.glob("umsrep/events*"))) == 1
