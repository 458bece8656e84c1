"""Loading from the Hub over real HTTP, from a server on 127.0.0.1 that can fail in every way; and names that never reach it."""

from __future__ import annotations

import dataclasses
import pickle
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance import perturb
from tests.hub_server import Fault, HubServer, User, serving
from tests.hub_user import HubUser, digest_of
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import PRESETS, Encoder, InputContract, Preset, hub

ROOT = Path(__file__).resolve().parents[2]


def one_line(caught: pytest.ExceptionInfo[InputError]) -> bool:
    """Whether the message is one line."""
    return "\n" not in str(caught.value)


class _Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.path,))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A model folder."""
    return Encoder.create("test_resnet", contract=InputContract()).save_pretrained(tmp_path / "saved")


# ---- names -------------------------------------------------------------------------------------------------------------
def test_unknown_name_offers_the_nearest_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "ums-cxr-lite0", Preset("cxr", "tf_efficientnet_lite0", "", "", ""))
    message = "^'ums-cxr-lite' is neither a preset, nor a folder, nor org/repo on the Hub; did you mean 'ums-cxr-lite0'"
    with pytest.raises(InputError, match=message):
        Encoder.from_pretrained("ums-cxr-lite")


def test_a_preset_is_a_folder_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "ums-cxr-lite0", Preset("cxr", "tf_efficientnet_lite0", "", "", ""))
    assert hub.resolve("ums-cxr-lite0").resolve() == ROOT / "zoo" / "weights" / "ums-cxr-lite0"


@pytest.mark.parametrize("name", ["./absent/model", "/absent", "a/b/c", "absent", "~/absent/model", "~nobody-of-this-name/model"])
def test_an_absent_folder_never_asks_the_hub(name: str) -> None:
    with pytest.raises(InputError, match="neither a preset, nor a folder") as caught:
        Encoder.from_pretrained(name)
    assert one_line(caught)


def test_a_pickle_is_not_opened_through_timm_either(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "test_resnet", "num_classes": 0}', encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(_Trap(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"holds no safetensors: 'pytorch_model.bin' is a pickle") as caught:
        Encoder.create(f"local-dir:{tmp_path}", contract=InputContract())
    assert one_line(caught)
    assert not (tmp_path / "ran").exists()


def test_home_is_expanded(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(saved.parent))
    assert hub.resolve(f"~/{saved.name}") == saved


def test_a_folder_goes_before_the_hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent.parent)
    assert hub.resolve(f"{saved.parent.name}/{saved.name}") == Path(saved.parent.name, saved.name)


@pytest.mark.parametrize("name", ["some--org/model", "org/model with spaces"])
def test_an_impossible_repository_name(name: str) -> None:
    with pytest.raises(InputError, match="no valid name of a repository") as caught:
        Encoder.from_pretrained(name)
    assert one_line(caught)


# ---- over HTTP ---------------------------------------------------------------------------------------------------------
STORE = r"GET /storage/.*"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hub with one member of org and one stranger."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        server.users = {"hf_member": User("mia", namespaces=("org",)), "hf_stranger": User("sam")}
        yield server


@pytest.fixture(scope="module")
def user(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubUser]:
    """Somebody without a token of their own."""
    user = HubUser(server.url, tmp_path_factory.mktemp("home"))
    yield user
    user.close()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a head, about 1.6 MB."""
    encoder = Encoder.create("test_resnet", contract=InputContract(channels=1, size=32))
    model = MultiTaskModel(encoder, {"finding": ClassificationHead(["normal", "abnormal"])})
    perturb(model)
    return model.save_pretrained(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def right(model_folder: Path) -> str:
    """The digest of its encoder."""
    return digest_of(Encoder.from_pretrained(model_folder))


@pytest.fixture
def repo(server: HubServer, model_folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A repository of this test's own that holds the model."""
    repo_id = "org/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    server.publish(repo_id, model_folder)
    server.faults.clear()
    yield repo_id
    server.faults.clear()


def test_branch_tag_and_commit_load_their_own_files(
    user: HubUser, server: HubServer, repo: str, model_folder: Path, right: str, tmp_path: Path
) -> None:
    first = server.repos[repo].branches["main"]
    server.repos[repo].tags["v1"] = first
    other = Encoder.create("test_resnet", contract=InputContract(channels=1, size=32))
    perturb(other)
    second = server.publish(repo, other.save_pretrained(tmp_path / "other"))
    server.publish(repo, model_folder, branch="with/slash")
    found = {r: user.ask("Encoder", repo, revision=r, cache_dir=tmp_path)["digest"] for r in (None, "v1", first, second, "with/slash")}
    assert found == {None: digest_of(other), "v1": right, first: right, second: digest_of(other), "with/slash": right}
    for revision, digest in found.items():  # and offline the same
        assert user.ask("Encoder", repo, revision=revision, cache_dir=tmp_path, local_files_only=True)["digest"] == digest


def test_a_model_with_heads_and_its_folder(user: HubUser, repo: str, model_folder: Path, tmp_path: Path) -> None:
    assert user.ask("MultiTaskModel", repo, cache_dir=tmp_path)["digest"] == digest_of(MultiTaskModel.from_pretrained(model_folder))
    folder = Path(user.ask("resolve", repo, cache_dir=tmp_path)["folder"])
    for file in ("config.json", "model.safetensors", "heads.safetensors"):
        assert (folder / file).read_bytes() == (model_folder / file).read_bytes()


def test_warm_loading_asks_once_and_a_commit_never(user: HubUser, server: HubServer, repo: str, right: str, tmp_path: Path) -> None:
    user.ask("Encoder", repo, cache_dir=tmp_path)
    before = len(server.log)
    assert user.ask("Encoder", repo, cache_dir=tmp_path)["digest"] == right
    assert server.log[before:] == [f"HEAD /{repo}/resolve/main/config.json"]
    user.ask("Encoder", repo, cache_dir=tmp_path, revision=server.repos[repo].branches["main"])
    user.ask("Encoder", repo, cache_dir=tmp_path, local_files_only=True)
    assert len(server.log) == before + 1


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "is not on the Hub, or is private or gated: pass token="),
        ("hf_stranger", "is not on the Hub, or your token may not read it"),
        ("hf_wrong", "HTTP 401: the token is wrong or expired"),
        ("hf wrong\n", "token: empty, or with characters that no token has"),
        ("", "token: empty, or with characters that no token has"),
    ],
)
def test_private(user: HubUser, server: HubServer, repo: str, tmp_path: Path, token: str | None, message: str) -> None:
    server.repos[repo].private = True
    assert message in user.error("Encoder", repo, token=token, cache_dir=tmp_path)
    server.repos[repo].private = False
    user.ask("Encoder", repo, cache_dir=tmp_path)
    server.repos[repo].private = True  # cached or not, who may not read it is told
    assert message in user.error("Encoder", repo, token=token, cache_dir=tmp_path)


def test_private_and_gated_with_the_right_token(user: HubUser, server: HubServer, repo: str, right: str, tmp_path: Path) -> None:
    server.repos[repo].private = True
    assert user.ask("Encoder", repo, token="hf_member", cache_dir=tmp_path)["digest"] == right
    server.repos[repo].private, server.repos[repo].gated = False, True
    assert f"'{repo}' is gated: ask for access on {server.url}/{repo}; pass token=" in user.error("Encoder", repo, cache_dir=tmp_path)
    assert "your token has no access yet" in user.error("Encoder", repo, token="hf_stranger", cache_dir=tmp_path)
    assert user.ask("Encoder", repo, token="hf_member", cache_dir=tmp_path)["digest"] == right


def test_names_and_revisions_that_are_not_there(user: HubUser, server: HubServer, repo: str, tmp_path: Path) -> None:
    message = user.error("Encoder", "org/ums-cxr-efficientnet-lite1", token="hf_member", cache_dir=tmp_path)
    assert "your token may not read it; did you mean 'ums-cxr-efficientnet-lite0'" in message
    server.repos[repo].tags["v1.0"] = server.repos[repo].branches["main"]
    message = f"'{repo}' has no revision 'v1.1'; did you mean 'v1.0'?"
    assert user.error("Encoder", repo, revision="v1.1", cache_dir=tmp_path) == message
    assert "has no revision '" in user.error("Encoder", repo, revision="0" * 40, cache_dir=tmp_path)
    assert "which has no revision 'v1'" in user.error("Encoder", "ums-cxr-efficientnet-lite0", revision="v1")
    assert "is no valid name" in user.error("Encoder", "org/a--b..c")


def test_repositories_that_hold_no_model(user: HubUser, server: HubServer, model_folder: Path, tmp_path: Path) -> None:
    config = (model_folder / "config.json").read_bytes()
    server.publish("org/pickled", {"config.json": config, "pytorch_model.bin": pickle.dumps(_Trap(tmp_path / "ran"))})
    server.publish("org/old-pickle", {"pytorch_model.bin": b"x"})
    for name in ("org/pickled", "org/old-pickle"):
        message = user.error("Encoder", name, cache_dir=tmp_path)
        assert "'pytorch_model.bin' is a pickle, which can run code when read: if you trust it, convert it: python -c" in message
    assert not (tmp_path / "ran").exists()
    server.publish("org/no-weights", {"config.json": config})
    assert "'org/no-weights' has no file model.safetensors" in user.error("Encoder", "org/no-weights", cache_dir=tmp_path)
    server.publish("org/of-timm", {"config.json": b'{"architecture": "resnet18"}', "model.safetensors": b""})
    assert "no 'umsrep' block" in user.error("Encoder", "org/of-timm", cache_dir=tmp_path)
    server.publish("org/empty", {"README.md": b""})
    assert "it is no umsrep model (load timm's with Encoder.create(" in user.error("Encoder", "org/empty", cache_dir=tmp_path)


def test_not_cached_and_not_allowed_to_ask(user: HubUser, repo: str, tmp_path: Path) -> None:
    start = f"config.json of '{repo}' at revision"
    end = "and local_files_only=True forbids the network; load it once without"
    said = user.error("Encoder", repo, cache_dir=tmp_path, local_files_only=True)
    assert said == f"{start} 'main' is not in the cache {tmp_path} {end}"
    user.ask("Encoder", repo, cache_dir=tmp_path)
    said = user.error("Encoder", repo, cache_dir=tmp_path, revision="v2", local_files_only=True)
    assert said == f"{start} 'v2' is not in the cache {tmp_path} (cached: main) {end}"


@pytest.mark.parametrize("revision", [1, "", " ", True])
def test_a_revision_that_is_no_name(saved: Path, revision: object) -> None:
    for name in (str(saved), "ums-cxr-efficientnet-lite0", "org/model"):
        for call in (Encoder.from_pretrained, hub.resolve, hub.verify):
            with pytest.raises(InputError, match=rf"^revision {re.escape(repr(revision))}: must be the name of a branch or tag"):
                call(name, revision=revision)  # type: ignore[arg-type]


def test_false_as_a_token_is_nobody(server: HubServer, repo: str, right: str, tmp_path: Path) -> None:
    user = HubUser(server.url, tmp_path, HF_TOKEN="hf_wrong")
    try:
        assert "HTTP 401: the token is wrong or expired" in user.error("Encoder", repo)
        assert user.ask("Encoder", repo, token=False)["digest"] == right
        server.repos[repo].gated = True
        assert "pass token=" in user.error("Encoder", repo, token=False, cache_dir=tmp_path / "other")
    finally:
        user.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    encoder = Encoder.create("test_resnet", contract=InputContract())
    name, tensor = next((n, t) for n, t in encoder.model.state_dict().items() if n.endswith("bn1.weight"))
    tensor[1] = value
    encoder.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=rf"model\.safetensors: {re.escape(name)} holds NaN or an infinity: the training diverged"):
        Encoder.from_pretrained(tmp_path)
    assert [check.ok for check in hub.verify(str(tmp_path))] == [False]


PASSING = {
    "reset at the first byte": [Fault(STORE, "reset", 0)],
    "reset in the middle": [Fault(STORE, "reset", 200_000)],
    "reset again and again": [Fault(STORE, "reset", n) for n in (1, 65_536, 1_000_000)],
    "reset while asking": [Fault("HEAD .*model.safetensors", "reset"), Fault("HEAD .*config.json", "reset")],
    "reset in config.json": [Fault("GET .*config.json", "reset", 20)],
    "dropped in the middle": [Fault(STORE, "drop", 300_000)],
    "dropped at the last byte": [Fault(STORE, "drop", -1)],
    "503 twice for every request": [Fault(f"{m} .*{f}", "status", times=2) for m in ("HEAD", "GET") for f in ("config", "model")],
    "503 from the storage": [Fault(STORE, "status", times=3)],
    "stalled once": [Fault(STORE, "stall", 400_000)],
    "wrong length once": [Fault(STORE, "short", 1000)],
    "one bit of the weights once": [Fault(STORE, "corrupt", 500_000)],
    "one bit of the header once": [Fault(STORE, "corrupt", 12)],
    "one digit of config.json once": [Fault("GET .*config.json", "corrupt", 200)],
}


@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING.keys())
def test_a_fault_that_passes_gives_the_right_tensors(
    user: HubUser, server: HubServer, repo: str, right: str, tmp_path: Path, faults: list[Fault]
) -> None:
    server.faults[:] = [dataclasses.replace(fault) for fault in faults]
    answer = user.ask("Encoder", repo, cache_dir=tmp_path)
    assert answer.get("digest") == right, answer
    assert any(fault.times == 0 for fault in server.faults)  # it struck
    server.faults.clear()
    assert user.ask("Encoder", repo, cache_dir=tmp_path, local_files_only=True)["digest"] == right


LASTING = {
    "reset": ([Fault(STORE, "reset", 1000, times=99)], r"the connection to .* broke \(.*\); try again"),
    "503": ([Fault(STORE, "status", times=99)], "HTTP 503: the server is ill: try again later"),
    "503 at once": ([Fault("HEAD", "status", times=99)], "HTTP 503: the server is ill: try again later"),
    "wrong length": ([Fault(STORE, "short", 1000, times=99)], "a file came with the wrong length, again and again"),
    "silence": (
        [Fault("HEAD", "mute", times=99)],
        "did not answer in time; try again, or raise HF_HUB_ETAG_TIMEOUT \\(now 1 s\\) and HF_HUB_DOWNLOAD_TIMEOUT \\(now 1 s\\)",
    ),
    "weights": ([Fault(STORE, "corrupt", -9, times=99)], r"model\.safetensors: damaged: .* a second download was damaged too"),
    "config.json": ([Fault("GET .*config.json", "corrupt", 300, times=99)], r"config\.json: damaged, and so was a second download"),
}


@pytest.mark.parametrize(("faults", "message"), LASTING.values(), ids=LASTING.keys())
def test_a_fault_that_stays_is_one_line_and_leaves_nothing_wrong_behind(
    user: HubUser, server: HubServer, repo: str, right: str, tmp_path: Path, faults: list[Fault], message: str
) -> None:
    server.faults[:] = [dataclasses.replace(fault) for fault in faults]
    assert re.search(message, user.error("Encoder", repo, cache_dir=tmp_path))
    if "corrupt" in {fault.kind for fault in faults}:  # what is damaged in the cache never loads
        assert "damaged in the cache" in user.error("Encoder", repo, cache_dir=tmp_path, local_files_only=True)
    server.faults.clear()
    assert user.ask("Encoder", repo, cache_dir=tmp_path)["digest"] == right


@pytest.mark.slow  # the client tries seven times
def test_a_body_that_stalls_for_ever_ends(user: HubUser, server: HubServer, repo: str, right: str, tmp_path: Path) -> None:
    server.faults[:] = [Fault(STORE, "stall", 0, times=99)]
    answer = user.ask("Encoder", repo, cache_dir=tmp_path)
    assert "did not answer in time" in answer["error"]
    assert answer["seconds"] < 20  # the limit is one second


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_what_rots_in_the_cache_is_repaired(user: HubUser, server: HubServer, repo: str, right: str, tmp_path: Path, file: str) -> None:
    folder = Path(user.ask("resolve", repo, cache_dir=tmp_path)["folder"])
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).resolve().write_bytes(content)
    message = user.error("Encoder", repo, cache_dir=tmp_path, local_files_only=True)
    assert message == f"'{repo}': {file} is damaged in the cache; load it once with the network, which repairs it"
    if file == "model.safetensors":
        checks = user.ask("verify", repo, cache_dir=tmp_path)["files"]
        assert [(check[0], check[3]) for check in checks] == [("model.safetensors", False), ("heads.safetensors", True)]
    assert user.ask("Encoder", repo, cache_dir=tmp_path)["digest"] == right
    assert all(ok for *_, ok in user.ask("verify", repo, cache_dir=tmp_path, local_files_only=True)["files"])


def test_a_dead_server_is_told_and_the_cache_serves(user: HubUser, server: HubServer, repo: str, right: str, tmp_path: Path) -> None:
    user.ask("Encoder", repo, cache_dir=tmp_path)
    server.faults[:] = [Fault("", "status", times=99)]
    answer = user.ask("Encoder", repo, cache_dir=tmp_path)
    assert answer["digest"] == right
    assert re.search(r"could not be downloaded: HTTP 503.*; using commit [0-9a-f]{40} from the cache", answer["warnings"][0])


def test_a_full_disk(user: HubUser, repo: str, right: str, tmp_path: Path) -> None:
    message = user.error("Encoder", repo, cache_dir=tmp_path, limit=500_000)
    assert message == (
        f"'{repo}' could not be downloaded: no space left in {tmp_path}; make room, or choose another place with cache_dir=... or HF_HOME"
    )
    assert user.ask("Encoder", repo, cache_dir=tmp_path)["digest"] == right


def test_killed_while_downloading_then_loaded(user: HubUser, server: HubServer, repo: str, right: str, tmp_path: Path) -> None:
    server.faults[:] = [Fault(STORE, "stall", 700_000)]
    victim = HubUser(server.url, tmp_path / "home", HF_HUB_DOWNLOAD_TIMEOUT="60")
    victim.send("Encoder", repo, cache_dir=tmp_path)
    deadline = time.monotonic() + 240
    while not (parts := list(tmp_path.rglob("*.incomplete"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.close()
    assert parts[0].is_file()
    assert user.ask("Encoder", repo, cache_dir=tmp_path)["digest"] == right


@pytest.mark.slow  # two processes start
def test_two_processes_and_one_cold_cache(server: HubServer, repo: str, right: str, tmp_path: Path) -> None:
    both = [HubUser(server.url, tmp_path / "home") for _ in range(2)]
    for one in both:
        one.send("Encoder", repo, cache_dir=tmp_path)
    assert [one.answer()["digest"] for one in both] == [right, right]
    for one in both:
        one.close()


@pytest.mark.slow  # 40 downloads
def test_reset_or_dropped_at_any_byte(user: HubUser, server: HubServer, repo: str, right: str, model_folder: Path, tmp_path: Path) -> None:
    size = (model_folder / "model.safetensors").stat().st_size
    generator = random.Random(4)
    for number in range(40):
        count = generator.randint(1, 3)
        cuts = sorted(generator.randrange(size) for _ in range(count))
        server.faults[:] = [Fault(STORE, generator.choice(("reset", "drop")), cut) for cut in cuts]
        assert user.ask("Encoder", repo, cache_dir=tmp_path / str(number))["digest"] == right, cuts


@pytest.mark.slow  # three processes start
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "and HF_HUB_OFFLINE forbids the network"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached"),
        ({"HTTP_PROXY": "http://me:secret@127.0.0.1:9"}, "through the proxy that HTTP_PROXY names [^@]*$"),
        ({"HF_ENDPOINT": "nonsense"}, "HF_ENDPOINT"),
    ],
    ids=["offline", "dead", "proxy", "nonsense"],
)
def test_settings_of_the_environment(server: HubServer, repo: str, tmp_path: Path, settings: dict[str, str], message: str) -> None:
    user = HubUser(server.url, tmp_path, **settings)
    try:
        assert re.search(message, user.error("Encoder", repo))
    finally:
        user.close()


@pytest.mark.slow  # a process starts
def test_token_and_cache_from_the_environment(server: HubServer, repo: str, right: str, tmp_path: Path) -> None:
    server.repos[repo].private = True
    user = HubUser(server.url, tmp_path, HF_TOKEN="hf_member")
    assert user.ask("Encoder", repo)["digest"] == right
    user.close()
    user = HubUser("http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1")
    assert user.ask("Encoder", repo)["digest"] == right
    user.close()
