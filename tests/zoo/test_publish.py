"""Publishing over real HTTP to the server of tests/hub_server.py: access, branches, pull requests, tags, and uploads that fail."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import perturb
from tests.hub_server import Fault, HubServer, User, serving
from tests.hub_user import HubUser, digest_of
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract, hub
from umsrep.zoo.card_lint import lint_card

TOKEN = "hf_member"
FILES = ["config.json", "model.safetensors", "heads.safetensors", "README.md"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hub with a member of org, one who may only read, and a stranger."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        server.users[TOKEN] = User("mia", namespaces=("org",))
        server.users["hf_reader"] = User("ron", write=False, namespaces=("org",))
        server.users["hf_stranger"] = User("sam")
        yield server


@pytest.fixture(scope="module")
def user(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubUser]:
    """Somebody without a token of their own."""
    user = HubUser(server.url, tmp_path_factory.mktemp("home"))
    yield user
    user.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a head; not to be changed."""
    model = MultiTaskModel(
        Encoder.create("test_efficientnet", contract=InputContract(channels=1, size=32)), {"finding": ClassificationHead(["no", "yes"])}
    )
    perturb(model)
    return model.save_pretrained(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def repo(server: HubServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name of this test's own."""
    server.faults.clear()
    yield "org/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    server.faults.clear()


def test_push_checks_the_folder_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        hub.push(tmp_path, "org/model")


def test_the_address_knows_its_commit_also_as_a_copy() -> None:
    published = pickle.loads(pickle.dumps(hub.Published("http://hub/org/m/commit/ab", "ab")))
    assert (published, published.url, published.commit) == ("http://hub/org/m/commit/ab", "http://hub/org/m/commit/ab", "ab")


def test_published_files_come_back_bit_by_bit(user: HubUser, server: HubServer, repo: str, folder: Path, tmp_path: Path) -> None:
    said = user.ask("push", folder, repo, token=TOKEN, commit_message="First words", tag="v1.0")
    assert said["url"] == f"{server.url}/{repo}/commit/{said['commit']}"
    assert server.repos[repo].tags == {"v1.0": said["commit"]}
    assert server.repos[repo].messages[-1] == "First words"
    assert set(server.repos[repo].commits[said["commit"]]) == {*FILES, ".gitattributes"}
    right = digest_of(MultiTaskModel.from_pretrained(folder))
    for revision in (None, "v1.0", said["commit"]):
        assert user.ask("MultiTaskModel", repo, revision=revision, cache_dir=tmp_path)["digest"] == right
    assert user.ask("run", hub.snippet(repo, said["commit"], heads=True))["digest"] == right
    assert user.ask("run", hub.snippet(repo, said["commit"], heads=False))["digest"] == digest_of(Encoder.from_pretrained(folder))
    assert all(ok for *_, ok in user.ask("verify", repo, revision="v1.0")["files"])


def test_what_was_published_is_listed_with_its_card(user: HubUser, server: HubServer, folder: Path) -> None:
    server.users["hf_lister"] = User("lister")
    assert user.ask("list", "lister")["entries"] == []
    assert "'nobody-here' is no organisation and no user on" in user.error("list", "nobody-here")
    user.ask("push", folder, "lister/model", token="hf_lister", license="mit")
    (entry,) = user.ask("list", "lister")["entries"]
    assert {k: entry[k] for k in ("name", "arch", "license", "heads")} == {
        "name": "lister/model",
        "arch": "test_efficientnet",
        "license": "mit",
        "heads": {"finding": "classification"},
    }


def test_publishing_again_changes_nothing(user: HubUser, server: HubServer, repo: str, folder: Path) -> None:
    first = user.ask("push", folder, repo, token=TOKEN, tag="v1")
    uploads = sum(line.startswith("PUT") for line in server.log)
    assert user.ask("push", folder, repo, token=TOKEN, tag="v1")["commit"] == first["commit"]
    assert sum(line.startswith("PUT") for line in server.log) == uploads
    assert len(server.repos[repo].commits) == 2  # the repository's own first one, and this


def test_a_tag_is_never_moved(user: HubUser, server: HubServer, repo: str, folder: Path, tmp_path: Path) -> None:
    user.ask("push", folder, repo, token=TOKEN, tag="v1")
    before = dict(server.repos[repo].tags)
    main, changed = server.repos[repo].branches["main"], more(folder, tmp_path)
    message = user.error("push", changed, repo, token=TOKEN, tag="v1")
    assert message == f"'{repo}': tag 'v1' is taken by commit {main}, which is not this; choose another; nothing was uploaded"
    assert server.repos[repo].tags == before
    assert server.repos[repo].branches == {"main": main}, "main may not move where the tag cannot"
    user.ask("push", changed, repo, token=TOKEN)
    assert "is taken" in user.error("push", folder, repo, token=TOKEN, tag="v1"), "main has moved on: this would be another commit"
    assert "'main' is a branch" in user.error("push", folder, repo, token=TOKEN, tag="main")


def more(folder: Path, parent: Path) -> Path:
    """A copy of the folder with another sentence on its card."""
    copy = Path(shutil.copytree(folder, parent / "copy"))
    with (copy / "README.md").open("a", encoding="utf-8") as card:
        card.write("\nMore.\n")
    return copy


# ---- the card ------------------------------------------------------------------------------------------------------
def card_of(server: HubServer, repo: str, commit: str) -> str:
    """The README.md of a commit."""
    return (server.root / server.repos[repo].commits[commit]["README.md"][0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("call", ["push", "push_to_hub"])
def test_the_published_card_loads_the_repository(user: HubUser, server: HubServer, repo: str, folder: Path, call: str) -> None:
    assert f'from_pretrained("{folder.name}")' in (folder / "README.md").read_text(encoding="utf-8")
    for options, pin in (({"tag": "v1"}, "v1"), ({"revision": "try"}, "try"), ({"revision": "main"}, None), ({"create_pr": True}, None)):
        said = user.ask(call, folder, repo, token=TOKEN, **options)
        card = card_of(server, repo, said["commit"])
        assert lint_card(card, location=repo) == []
        loads = f'from_pretrained("{repo}"' + (f', revision="{pin}")' if pin else ")")
        assert card.count(loads) == 2
        assert f'"hf-hub:{repo}{f"@{pin}" if pin else ""}"' in card


def test_a_card_with_problems_is_not_published(server: HubServer, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    card = (copy / "README.md").read_text(encoding="utf-8")
    (copy / "README.md").write_text(card.replace("For research only.", "For all."), encoding="utf-8")
    with pytest.raises(
        hub.BadCard, match=r"its card has 1 problem\(s\): line 1: does not say 'For research only.*nothing was uploaded$"
    ) as caught:
        hub.push(copy, "org/model")
    assert len(caught.value.problems) == 1
    encoder = Encoder.from_pretrained(folder)
    with pytest.raises(hub.BadCard, match="its card has"):
        encoder.push_to_hub("org/model", card="# Mine\n")
    with pytest.raises(InputError, match="license 'mitt' is not in the Hub's list; did you mean 'mit'"):
        hub.push(folder, "org/model", license="mitt")


def test_private_branch_and_pull_request(user: HubUser, server: HubServer, repo: str, folder: Path, tmp_path: Path) -> None:
    user.ask("push", folder, repo, token=TOKEN, private=True)
    assert server.repos[repo].private
    assert "private or gated" in user.error("Encoder", repo, cache_dir=tmp_path)
    right = user.ask("Encoder", repo, token=TOKEN, cache_dir=tmp_path)["digest"]
    copy = more(folder, tmp_path)
    main = server.repos[repo].branches["main"]
    branch = user.ask("push", copy, repo, token=TOKEN, revision="try/this")
    asked = user.ask("push", copy, repo, token=TOKEN, create_pr=True)
    assert asked["url"] == f"{server.url}/{repo}/discussions/1"
    assert server.repos[repo].branches == {"main": main, "try/this": branch["commit"]}
    assert server.repos[repo].requests == {"refs/pr/1": asked["commit"]}
    for revision in ("try/this", "refs/pr/1"):
        assert user.ask("Encoder", repo, token=TOKEN, revision=revision, cache_dir=tmp_path)["digest"] == right
    assert "a pull request is not released yet" in user.error("push", copy, repo, token=TOKEN, create_pr=True, tag="v1")
    assert "a pull request always asks for main" in user.error("push", copy, repo, token=TOKEN, create_pr=True, revision="try/this")


def test_private_is_never_public(user: HubUser, server: HubServer, repo: str, folder: Path) -> None:
    server.publish(repo, {"README.md": b"# Old\n"})
    before = dict(server.repos[repo].branches)
    message = user.error("push", folder, repo, token=TOKEN, private=True)
    assert message.startswith(f"'{repo}' exists and is public, so private cannot be had")
    assert server.repos[repo].branches == before
    assert len(server.repos[repo].commits) == 1


def test_push_to_hub_of_a_model(user: HubUser, server: HubServer, repo: str, folder: Path) -> None:
    said = user.ask("push_to_hub", folder, repo, token=TOKEN, half=True, commit_message="Half")
    stored = server.repos[repo].commits[said["commit"]]
    sizes = {name: (server.root / stored[name][0]).stat().st_size for name in FILES}
    assert sizes["model.safetensors"] < 0.7 * (folder / "model.safetensors").stat().st_size
    config = json.loads((server.root / stored["config.json"][0]).read_bytes())
    assert config["umsrep"]["sha256"] == {name: stored[name][0] for name in ("model.safetensors", "heads.safetensors")}


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, r"\(HTTP 401\): log in with `hf auth login`, or pass a token that is valid"),
        ("hf_wrong", r"\(HTTP 401\): log in with `hf auth login`, or pass a token that is valid"),
        ("hf_reader", r"\(HTTP 403\): the token has no write right there"),
        ("hf_stranger", r"\(HTTP 403\): the token has no write right there"),
        ("hf\twrong", "token: empty, or with characters that no token has"),
    ],
)
@pytest.mark.parametrize("exists", [False, True])
def test_without_the_right(
    user: HubUser, server: HubServer, repo: str, folder: Path, token: str | None, message: str, exists: bool
) -> None:
    if exists:
        server.publish(repo, {"README.md": b""})
    assert re.search(message, user.error("push", folder, repo, token=token))
    assert exists == (repo in server.repos)


def test_impossible_names(user: HubUser, folder: Path) -> None:
    for name in ("half2", "org/with spaces", "a/b/c", "org/a--b"):
        assert "no valid name" in user.error("push_to_hub", folder, name, token=TOKEN)
        assert "no valid name" in user.error("push", folder, name, token=TOKEN)


PASSING = {
    "reset in the upload": Fault("PUT", "reset"),
    "503 from the storage": Fault("PUT", "status", times=2),
    "commit answer lost": Fault("POST .*/commit/", "lost"),
    "commit refused with 502": Fault("POST .*/commit/", "status", status=502, times=2),
    "creation answer lost": Fault("POST /api/repos/create", "lost"),
    "branch answer lost": Fault("POST .*/branch/", "lost"),
    "tag answer lost": Fault("POST .*/tag/", "lost"),
    "verification refused with 503": Fault("POST .*/lfs/verify", "status"),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_fault_that_passes_ends_in_one_commit(user: HubUser, server: HubServer, repo: str, folder: Path, fault: Fault) -> None:
    # every repository gets weights of its own, else the storage has them already
    server.faults[:] = [fault]
    for name in ("model.safetensors", "heads.safetensors"):
        (server.root / hub.sha256(folder / name)).unlink(missing_ok=True)
    said = user.ask("push", folder, repo, token=TOKEN, revision="next", tag="v1")
    assert fault.times == 0
    assert server.repos[repo].branches["next"] == server.repos[repo].tags["v1"] == said["commit"]
    assert len(server.repos[repo].commits) == 2


def test_faults_that_stay(user: HubUser, server: HubServer, repo: str, folder: Path) -> None:
    server.faults[:] = [Fault("POST .*/commit/", "status", times=99)]
    assert "could not be published: HTTP 503: the server is ill" in user.error("push", folder, repo, token=TOKEN)
    server.faults[:] = [Fault("POST .*/commit/", "lost", times=99)]
    assert re.search(r"the connection to .* broke", user.error("push", folder, f"{repo}-2", token=TOKEN, create_pr=True))
    assert len(server.repos[f"{repo}-2"].requests) == 1  # a pull request is not tried twice


@pytest.mark.slow  # six seconds of waiting
def test_a_silent_server_ends(user: HubUser, server: HubServer, repo: str, folder: Path) -> None:
    server.faults[:] = [Fault("POST /api/repos/create", "mute", times=99)]
    answer = user.ask("push", folder, repo, token=TOKEN)
    assert "did not answer in time" in answer["error"]
    assert answer["seconds"] < 20


def test_a_name_with_xet_is_no_fault_of_xet(user: HubUser, server: HubServer, folder: Path) -> None:
    server.faults[:] = [Fault("POST .*/commit/", "status", status=502, times=99)]
    assert "HTTP 502: the server is ill" in user.error("push", folder, "org/xet-write-token", token=TOKEN)
    server.faults.clear()


@pytest.mark.slow  # a process starts
def test_xet_where_the_server_has_none(server: HubServer, repo: str, folder: Path, tmp_path: Path) -> None:
    user = HubUser(server.url, tmp_path, HF_HUB_DISABLE_XET="0")
    try:
        advice = "this server does not take the Xet protocol; set HF_HUB_DISABLE_XET=1 and publish again"
        assert user.error("push", folder, repo, token=TOKEN) == f"'{repo}' could not be published: {advice}"
    finally:
        user.close()


def test_offline(folder: Path) -> None:
    with pytest.raises(InputError, match=r"^'org/model' could not be published: HF_HUB_OFFLINE forbids the network; unset it$") as caught:
        hub.push(folder, "org/model")
    assert caught.value.__cause__ is not None
