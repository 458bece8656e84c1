"""From scores to rankings."""

from __future__ import annotations

import json

import numpy as np

from tests.tasks.runs import ARCH
from umsrep.tasks.choose.choice import CONSENSUS, Choice, columns_of, combine, order, rank_task
from umsrep.tasks.choose.scores import Scored
from umsrep.tasks.runfolder import plain


def scored(draws: int = 0, **values: float) -> Scored:
    generator = np.random.default_rng(len(values))
    drawn = {name: value + generator.normal(0, 0.01, draws) for name, value in values.items()}
    return Scored(values, drawn, {} if "leep" in values else {"leep": "not applicable"})


def test_a_ranking_rests_on_scores_that_all_have() -> None:
    found = rank_task(
        {"a": scored(log_me=1, gbc=-3, leep=-0.1), "b": scored(log_me=2, gbc=-2)}, {"parameters": {"a": 5.0, "b": 4.0}}, proven=None
    )
    assert found.basis == CONSENSUS
    assert set(found.used) == {"log_me", "gbc"}
    assert order(found.ranking) == ["b", "a"]
    assert found.scores["leep"].keys() == {"a"}
    assert found.failures == {"leep": {"b": "not applicable"}}
    assert found.scores["parameters"]["a"].rank == 1


def test_a_proven_score_ranks_alone() -> None:
    table = {"a": scored(log_me=1, gbc=-1), "b": scored(log_me=2, gbc=-2)}
    found = rank_task(table, {}, proven="gbc")
    assert (found.basis, found.used) == ("gbc", ["gbc"])
    assert order(found.ranking) == ["a", "b"]
    assert rank_task(table, {}, proven="cc_fv").basis == CONSENSUS  # which no encoder has here
    assert rank_task({"a": scored(cc_fv=1), "b": scored(cc_fv=2)}, {}, proven=None).basis == "cc_fv"  # the only one


def test_tasks_count_alike() -> None:
    first = rank_task({"a": scored(cc_fv=3), "b": scored(cc_fv=2), "c": scored(cc_fv=1)}, {}, None)
    second = rank_task({"a": scored(denoising_gain=1), "b": scored(denoising_gain=3), "c": scored(denoising_gain=2)}, {}, None)
    found = combine([first, second])
    assert {name: place.value for name, place in found.items()} == {"a": -2.0, "b": -1.5, "c": -2.5}
    assert order(found) == ["b", "a", "c"]


def test_it_is_plain_json(choice: Choice) -> None:
    values = json.loads(json.dumps(plain(choice.to_dict()), allow_nan=False))
    assert values["schema_version"] == 1
    assert [e["name"] for e in values["encoders"]] == [f"{ARCH}.source", f"{ARCH} (random)"]
    task = values["tasks"][0]
    assert set(task["scores"]["log_me"][f"{ARCH}.source"]) == {"value", "interval", "rank"}


def test_a_table_shows_probes_and_size_last(choice: Choice) -> None:
    shown = columns_of(choice.tasks[0])
    assert shown[-4:] == ["knn_accuracy", "linear_probe", "parameters", "source_accuracy"]
    assert {"log_me", "leep", "h_score"} <= set(shown)
