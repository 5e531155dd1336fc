"""A model's name becomes a folder that is safe to load, or an error that says what is wrong within seconds."""

from __future__ import annotations

import importlib
import json
import shutil
import struct
from pathlib import Path

import pytest

from harness.core.errors import HarnessError
from harness.core.specs import ModelSpec
from harness.models import location
from harness.models.location import locate, model_identity
from harness.models.safety import check_safetensors, check_weights


@pytest.fixture
def folder(zoo: dict[str, Path], tmp_path: Path) -> Path:
    """A model of its own to spoil."""
    return Path(shutil.copytree(zoo["llama3"], tmp_path / "model"))


def http_client():
    """The HTTP client that this version of huggingface_hub uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return importlib.import_module(HfHubHTTPError.__mro__[1].__module__.partition(".")[0])


def refused(folder: Path) -> str:
    with pytest.raises(HarnessError) as caught:
        locate(ModelSpec(name=str(folder)))
    return caught.value.code


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_folder_is_found_and_identified_by_its_bytes(folder: Path, tmp_path: Path):
    assert locate(ModelSpec(name=str(folder))) == folder.resolve()
    before = model_identity(folder)
    copied = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (copied / "README.md").write_text("about")
    assert model_identity(copied) == before
    edit(copied / "config.json", rope_theta=1.0)
    assert model_identity(copied) != before


def test_folder_in_the_hub_cache_is_identified_by_its_commit(folder: Path, tmp_path: Path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot, blobs = tmp_path / "hub" / "snapshots" / commit, tmp_path / "hub" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in folder.iterdir():
        shutil.copyfile(file, blobs / f"blob-{file.name}")
        (snapshot / file.name).symlink_to(blobs / f"blob-{file.name}")
    assert locate(ModelSpec(name=str(snapshot))) == snapshot
    assert model_identity(snapshot) == {"commit": commit}


@pytest.mark.parametrize(
    "changes",
    [
        {"auto_map": {"AutoModelForCausalLM": "evil.Model"}},
        {"_attn_implementation_internal": "evil/kernel"},
        {"attn_implementation": "evil/kernel"},
        {"experts_implementation": "evil/kernel"},
        {"rope_parameters": {"deep": [{"trust_remote_code": True}]}},
        {"custom_generate": "evil/loop"},
        {"transformers_weights": "/etc/passwd"},
    ],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_configuration_that_asks_for_code_is_refused(folder: Path, file: str, changes: dict[str, object]):
    edit(folder / file, **changes)
    assert refused(folder) == "E-REMOTECODE"


def test_harmless_leftovers_of_older_versions_are_accepted(folder: Path):
    edit(folder / "config.json", _name_or_path="/home/someone/model", _commit_hash=None)
    assert locate(ModelSpec(name=str(folder))) == folder.resolve()


def test_pickled_weights_alone_are_refused(folder: Path):
    (folder / "model.safetensors").unlink()
    assert refused(folder) == "E-MODEL"
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert refused(folder) == "E-PICKLE"


def test_weights_cut_short_anywhere_are_refused(folder: Path):
    whole = (folder / "model.safetensors").read_bytes()
    for length in (0, 4, 8, 20, 500, len(whole) // 2, len(whole) - 1):
        (folder / "model.safetensors").write_bytes(whole[:length])
        assert refused(folder) == "E-SAFETENSORS"
    (folder / "model.safetensors").write_bytes(whole + b"\0")
    assert refused(folder) == "E-SAFETENSORS"


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b'{"a": 1}',
        b'{"a": {"data_offsets": [4, 8]}}',
        b'{"a": {"data_offsets": [8, 0]}}',
        b'{"a": {"data_offsets": ["x", 8]}}',
        b"[" * 5000,
    ],
)
def test_headers_made_to_confuse_are_refused(tmp_path: Path, header: bytes):
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(HarnessError, match="E-SAFETENSORS"):
        check_safetensors(file)


def test_header_that_claims_more_than_a_disk_is_not_allocated(tmp_path: Path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(HarnessError, match="E-SAFETENSORS"):
        check_safetensors(file)


def test_index_that_names_absent_or_outside_files_is_refused(folder: Path):
    for shard in ("model-00002.safetensors", "../../etc/passwd"):
        index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": shard}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(HarnessError, match="which is not there"):
            check_weights(folder)


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path):
    secret = tmp_path / "id_rsa"
    secret.write_text("secret")
    (folder / "notes.txt").symlink_to(secret)
    assert refused(folder) == "E-LINK"


def test_adapter_is_not_a_base_model(folder: Path):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/"}')
    assert refused(folder) == "E-MODEL"


def test_names_that_lead_nowhere(tmp_path: Path):
    for name in (str(tmp_path / "none"), "./none", "a/b/c", "", "~nobody/none", str(tmp_path)):
        with pytest.raises(HarnessError, match="E-MODEL"):
            locate(ModelSpec(name=name))


def test_hub_that_cannot_be_reached_names_the_download_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def unreachable(*_: object, **__: object) -> None:
        raise http_client().ConnectError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HarnessError, match="hf download some/model --revision main") as caught:
        locate(ModelSpec(name="some/model", revision="main"))
    assert caught.value.code == "E-OFFLINE"


def test_offline_mode_is_the_same_as_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HarnessError, match="E-OFFLINE"):
        locate(ModelSpec(name="some/model"))


def hub_error(kind: str, status: int) -> Exception:
    import huggingface_hub.errors

    client = http_client()
    request = client.Request("GET", "https://huggingface.co/api", headers={"authorization": "Bearer hf_secret"})
    found: Exception = getattr(huggingface_hub.errors, kind)(
        "no, hf_secret", response=client.Response(status, request=request)
    )
    return found


@pytest.mark.parametrize(
    ("kind", "status", "what"),
    [
        ("GatedRepoError", 403, "is gated"),
        ("RepositoryNotFoundError", 404, "does not exist"),
        ("RevisionNotFoundError", 404, "has no revision 'v9'"),
        ("HfHubHTTPError", 503, "HTTP 503"),
    ],
)
def test_refusals_of_the_hub_are_told_apart_and_show_no_token(
    monkeypatch: pytest.MonkeyPatch, kind: str, status: int, what: str
):
    def refuse(*_: object, **__: object) -> None:
        raise hub_error(kind, status)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(HarnessError, match=what) as caught:
        locate(ModelSpec(name="some/model", revision="v9"))
    assert caught.value.code == "E-HUB"
    assert "hf_secret" not in str(caught.value)


def test_repository_of_pickles_is_refused_before_it_is_downloaded(monkeypatch: pytest.MonkeyPatch):
    class Info:
        sha = "0" * 40
        siblings = (type("File", (), {"rfilename": "pytorch_model.bin"}),)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: Info)
    with pytest.raises(HarnessError, match="E-PICKLE"):
        locate(ModelSpec(name="some/model"))


def test_demo_is_the_packaged_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(location, "DEMO_FOLDER", folder)
    assert locate(ModelSpec()) == folder
    monkeypatch.setattr(location, "DEMO_FOLDER", tmp_path / "none")
    with pytest.raises(HarnessError, match=r"harness\.demo\.build"):
        locate(ModelSpec())
