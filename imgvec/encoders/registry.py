"""The kinds of encoder, by the prefix of a model's name, and the one way to load any of them.

A name is `PREFIX:NAME`, or `PREFIX:NAME?OPTION=VALUE&...`; without a known prefix it is a Hugging Face repo or a local
folder. A kind is an `EncoderKind` in a file of its own. imgvec's are listed here; other packages add theirs by an entry
point of the group `imgvec.encoders`, whose name is the prefix:

    [project.entry-points."imgvec.encoders"]
    shape = "my_package.encoders:SHAPE"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from imgvec.encoders.projected import ProjectedEncoder
from imgvec.encoders.projection import Projection, load_named
from imgvec.encoders.protocol import Encoder, EncoderSpec
from imgvec.encoders.purposes import NONE, settled_spec
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.errors import EncoderUnavailable, ImgvecError, MissingExtra

R = TypeVar("R")

GROUP = "imgvec.encoders"

# what a kind needs beyond imgvec's dependencies stands behind it, as in a package's own metadata: "module:KIND [extra]"
_PLAIN = EntryPoint("", "imgvec.encoders.hub:KIND", GROUP)
_BUILT_IN = {
    kind.name: kind
    for kind in (
        EntryPoint("pypi", "imgvec.encoders.pypi:KIND", GROUP),
        EntryPoint("callable", "imgvec.encoders.callables:KIND", GROUP),
        EntryPoint("faces", "imgvec.faces.dlib_model:KIND [faces]", GROUP),
        EntryPoint("timm", "imgvec.encoders.timmnets:KIND [timm]", GROUP),
        EntryPoint("open_clip", "imgvec.encoders.openclip:KIND [open_clip]", GROUP),
        EntryPoint("keras", "imgvec.encoders.kerasnets:KIND [keras]", GROUP),
        EntryPoint("onnx", "imgvec.encoders.onnxfile:KIND [onnx]", GROUP),
    )
}
_PREFIXED = re.compile(r"(?P<prefix>[a-z][a-z0-9_]+):(?!//)(?P<name>[^?]+)(\?(?P<options>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EncoderRequest:
    """Which encoder is requested, and where it should run."""

    spec: EncoderSpec
    name: str
    """What follows the prefix in `spec.model`, without the options; all of it if there is no prefix."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What follows the name: `?KEY=VALUE&...`. They are part of the model's name, and so remembered with it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    dtype: str = "auto"
    """`auto`, `fp32`, `bf16`, `fp16`."""
    cache_dir: Path | None = None
    """Where weights may be kept; None is the platform's cache folder."""


@dataclass(frozen=True, slots=True)
class EncoderKind:
    """One kind of encoder: what an entry point of the group `imgvec.encoders` names.

    `load` makes the encoder; its binding's `model` is the name that was asked for, so that the collection can load it
    again, and it raises `EncoderUnavailable` if it cannot. `describe` says what it is without loading weights, as
    JSON; without it the encoder is loaded. `options` are those that its names may have.
    """

    load: Callable[[EncoderRequest], Encoder]
    describe: Callable[[EncoderRequest], dict[str, Any]] | None = None
    options: frozenset[str] = frozenset()


def load_encoder(
    spec: EncoderSpec,
    *,
    device: str = "auto",
    dtype: str = "auto",
    cache_dir: Path | None = None,
    projection: Projection | None = None,
) -> Encoder:
    """Load the encoder that `spec.model` names, of whichever kind.

    `device` is `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; `dtype` `auto`, `fp32`, `bf16`, `fp16`; `cache_dir` where models
    of a package index are kept (None: the platform's cache folder). Neither device nor dtype is part of the binding:
    vectors agree to a cosine of 0.999. A projection that `spec` names goes behind the encoder, whatever its kind;
    `projection` is the one that a collection keeps under that name. Raises `EncoderUnavailable` (`ModelUnreachable`
    where another model may be taken instead) and `EncoderError` for a device or dtype that cannot be used.
    """
    spec, name = settled_spec(spec), None
    if projection is not None:
        name = projection.learned_name
    elif spec.projection:  # before the weights, which take longer
        projection, name = load_named(spec.projection)
    found = _find(replace(spec, projection=None), device, dtype, cache_dir)
    encoder = found.loaded()
    if _split(encoder.binding.model)[0] != found.prefix:
        raise EncoderUnavailable(
            f"{spec.model}: the kind {found.prefix!r} made an encoder called {encoder.binding.model!r}, a name "
            f"that no collection could load again"
        )
    return encoder if projection is None or name is None else ProjectedEncoder(encoder, projection, name)


def load_with_fallback(
    spec: EncoderSpec,
    fallback: str | None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    cache_dir: Path | None = None,
) -> tuple[Encoder, bool]:
    """`load_encoder`, or the model `fallback` if the first one cannot be reached; the second value says which was used.

    The fallback takes over the image size, the purpose, the fit and that there is to be no projection, and nothing
    else, since layers and poolings differ between models. Weights that are reached and broken, refused or incomplete
    are an error all the same.
    """
    try:
        return load_encoder(spec, device=device, dtype=dtype, cache_dir=cache_dir), False
    except ModelUnreachable:
        if fallback is None or fallback == spec.model:
            raise
    without = spec.projection if spec.projection == NONE else None
    other = EncoderSpec(fallback, image_size=spec.image_size, purpose=spec.purpose, projection=without, fit=spec.fit)
    return load_encoder(other, device=device, dtype=dtype, cache_dir=cache_dir), True


def describe(model: str, revision: str | None = None) -> dict[str, Any]:
    """Facts about a model, for JSON, without its weights in memory where its kind can say them without.

    Always `model`; raises `EncoderUnavailable` as `load_encoder` does.
    """
    found = _find(EncoderSpec(model, revision), "auto", "auto", None)
    if found.kind.describe is None:
        return found.loaded().binding.to_dict()
    facts: Any = found.call(found.kind.describe)
    if not isinstance(facts, dict):
        raise EncoderUnavailable(f"{model}: the kind {found.prefix!r} described it by a {type(facts).__name__}")
    return facts


def prefixes() -> list[str]:
    """All known prefixes, from imgvec and from installed packages, sorted."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


@dataclass(frozen=True, slots=True)
class _Found:
    prefix: str
    point: EntryPoint
    kind: EncoderKind
    request: EncoderRequest

    def loaded(self) -> Encoder:
        encoder: Any = self.call(self.kind.load)
        if not isinstance(encoder, Encoder):
            made = type(encoder).__name__
            raise EncoderUnavailable(
                f"{self.request.spec.model}: the kind {self.prefix!r} made a {made} instead of an encoder"
            )
        return encoder

    def call(self, function: Callable[[EncoderRequest], R]) -> R:
        """The only place that runs a kind; any foreign exception becomes `EncoderUnavailable`."""
        try:
            return function(self.request)
        except ImgvecError:
            raise
        except ModuleNotFoundError as exc:
            raise _missing(self.request.spec.model, self.point, exc) from exc
        except Exception as exc:
            if self.point is _PLAIN or self.prefix in _BUILT_IN:
                raise
            raise EncoderUnavailable(f"{self.request.spec.model}: {_first_line(exc)}") from exc


def _find(spec: EncoderSpec, device: str, dtype: str, cache_dir: Path | None) -> _Found:
    prefix, name, given = _split(spec.model)
    point = _entry_point(spec.model, prefix)
    try:
        kind = point.load()
    except ModuleNotFoundError as exc:
        raise _missing(spec.model, point, exc) from exc
    except Exception as exc:  # whatever its module raises
        raise EncoderUnavailable(
            f"{spec.model}: the plug-in {point.value} cannot be loaded: {exc}{_hint(exc)}"
        ) from exc
    if not isinstance(kind, EncoderKind):
        raise EncoderUnavailable(f"{spec.model}: the plug-in {point.value} is not an EncoderKind")
    try:
        options = dict(parse_qsl(given, keep_blank_values=True, strict_parsing=True)) if given else {}
    except ValueError as exc:
        raise EncoderUnavailable(f"{spec.model}: {given!r} is not KEY=VALUE&KEY=VALUE") from exc
    for option in options:
        if option not in kind.options:
            takes = ", ".join(sorted(kind.options)) or "none"
            raise EncoderUnavailable(f"{spec.model}: {prefix}: takes no option {option!r} (options: {takes})")
    return _Found(prefix, point, kind, EncoderRequest(spec, name, options, device, dtype, cache_dir))


def _split(model: str) -> tuple[str, str, str]:
    """The prefix, the name and the options of a model's name; the prefix is empty for a repo or a folder."""
    match = _PREFIXED.fullmatch(model)
    if match is None or (match["prefix"] not in _BUILT_IN and Path(model).is_dir()):
        return "", model, ""
    return match["prefix"], match["name"], match["options"] or ""


def _entry_point(model: str, prefix: str) -> EntryPoint:
    if not prefix:
        return _PLAIN
    if prefix in _BUILT_IN:  # nobody's package takes the place of imgvec's own
        return _BUILT_IN[prefix]
    found = list({point.value: point for point in entry_points(group=GROUP, name=prefix)}.values())
    if len(found) == 1:
        return found[0]
    if not found:
        raise EncoderUnavailable(
            f"{model}: no kind of encoder has the prefix {prefix!r} (known: {', '.join(prefixes())}; packages add "
            f"more through entry points in the group {GROUP})"
        )
    both = " and ".join(sorted(point.value for point in found))
    raise EncoderUnavailable(f"{model}: {both} both register the prefix {prefix!r}: uninstall one")


def _missing(model: str, point: EntryPoint, exc: ModuleNotFoundError) -> ImgvecError:
    """What to install where a module is missing."""
    package = point.dist.name if point.dist is not None else "imgvec"
    if point.extras:
        return MissingExtra(",".join(point.extras), f"{model} needs {exc.name}", package=package)
    return EncoderUnavailable(f"{model} needs {exc.name}: pip install '{exc.name or package}'")


def _hint(exc: Exception) -> str:
    """torchvision, which timm and open_clip need, comes in builds of its own for each build of torch."""
    fits = "; torchvision is built for another torch: install both from one index"
    return fits if "operator torchvision::" in str(exc) else ""


def _first_line(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}".splitlines()[0][:300]
