"""params.yaml -> the settings of one profile, validated; every mistake is named by its path."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from bench.errors import UserError
from bench.methods import gives, methods
from bench.schema import (
    ABLATION,
    Audit,
    BusiData,
    Controls,
    Crf,
    Engine,
    PhantomData,
    PhantomSam,
    Prepare,
    Pseudo,
    SeedAxes,
    Segmentation,
    Select,
    Split,
    Strict,
    Train,
    each_once,
)

PARAMS = Path("params.yaml")
# Pixels that the networks of CAMs take at the least; a VGG16 halves them five times where it is plain.
SMALLEST, SMALLEST_PLAIN_VGG = 8, 32
# Every stage reads the file; the loader in C, where PyYAML has it, takes a seventh of the time.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# PyYAML's errors for scalars that are not what they are marked as, and for a block within itself.
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
M = TypeVar("M", bound=BaseModel)


class Settings(Strict):
    """One complete profile of params.yaml."""

    seeds: SeedAxes
    data: Annotated[BusiData | PhantomData, Field(discriminator="source")]
    prepare: Prepare
    audit: Audit
    split: Split
    cams: dict[str, dict[str, Any]]
    select: Select
    segmenter: PhantomSam | None
    pseudo: Pseudo
    crf: Crf
    train: Train
    oracle: Annotated[list[str], each_once("a method is listed twice")]
    controls: Controls
    engine: Engine

    @model_validator(mode="after")
    def _oracle_has_a_threshold(self) -> "Settings":
        if self.oracle and not self.crf.cuts:
            raise ValueError(f"oracle needs a CRF with a threshold; {self.crf.parameters} takes soft labels")
        return self

    @model_validator(mode="after")
    def _segmenter_has_phantoms_of_its_own(self) -> "Settings":
        if self.segmenter is None:
            if self.pseudo.trained_here:
                raise ValueError("pseudo.variant: phantom needs the settings of its training under segmenter")
        elif isinstance(self.data, PhantomData):
            for name in ("training", "held_out"):
                if getattr(self.segmenter, name).seed == self.data.seed:
                    raise ValueError(
                        f"segmenter.{name}.seed is data.seed ({self.data.seed}): these would be the benchmark's own "
                        "phantoms, whose masks the segmenter must not see; choose another"
                    )
        return self

    def recipe(self, row: str) -> dict[str, Any]:
        """The common recipe with the changes of one row; a method starts from pseudo_whole's, not yet validated."""
        rows, base = self.train.rows, self.train.common.model_dump()
        if row in self.cams:
            base = _merged(base, rows.get("pseudo_whole", {}))
        return _merged(base, rows.get(row, {}))

    def row(self, row: str) -> Segmentation:
        """The recipe of one row, a row's id or a method's."""
        return Segmentation.model_validate(self.recipe(row))


def profiles(params: Path = PARAMS) -> list[str]:
    """Names of the profiles that params.yaml lists."""
    return _names(_read(params), params)


def _names(content: Mapping[str, Any], params: Path) -> list[str]:
    names = content.get("profiles")
    if not isinstance(names, list):
        raise UserError(f"{params}: profiles must list the names of the profiles")
    return [str(name) for name in names]


def load(profile: str, params: Path = PARAMS) -> Settings:
    """Settings of `profile`. Raises UserError naming the path of an unknown, missing or impossible setting."""
    content = _read(params)
    known = _names(content, params)
    if profile not in known or profile not in content:
        raise UserError(f"unknown profile {profile!r} in {params}; known: {', '.join(known)}")
    settings = _checked(Settings, content[profile], profile)
    for method, block in settings.cams.items():
        if method not in methods():
            raise UserError(f"{profile}.cams.{method}: no such method; known: {', '.join(methods())}")
        _checked(methods()[method].settings, block, f"{profile}.cams.{method}")
        _refuse_small_scales(block, settings.prepare.image_size, f"{profile}.cams.{method}")
    with_cams = [method for method in settings.cams if gives(method, "cams")]
    for where, method in [("select.cams", settings.select.cams), *(("oracle", name) for name in settings.oracle)]:
        if method not in with_cams:
            raise UserError(f"{profile}.{where}: {method!r} is none of {profile}.cams that gives CAMs")
    known_rows = [*ABLATION, *settings.cams]
    for row in settings.train.rows:
        if row not in known_rows:
            raise UserError(f"{profile}.train.rows.{row}: no such row; known: {', '.join(known_rows)}")
        _checked(Segmentation, settings.recipe(row), f"{profile}.train.rows.{row}")
    for row in settings.controls.rows:
        if row not in settings.train.rows:
            raise UserError(f"{profile}.controls.rows: {row!r} is none of {profile}.train.rows, so it needs no control")
    return settings


def _refuse_small_scales(block: Mapping[str, Any], size: int, where: str) -> None:
    """Raise UserError where an image at one of a method's scales, `size` px at 1, is too small for its network."""
    plain = block.get("network", {}).get("layout") == "plain"
    for scale in block.get("scales", ()):
        if round(size * scale) < (least := SMALLEST_PLAIN_VGG if plain else SMALLEST):
            raise UserError(
                f"{where}.scales: {scale:g} makes {size} px {round(size * scale)} px, and this network needs {least}"
            )


def _refuse_repeated_keys(node: yaml.Node | None) -> None:
    """Raise a YAMLError when a key stands twice in one block; YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", node.start_mark)
        for _, value in node.value:
            _refuse_repeated_keys(value)


def _read(params: Path) -> dict[str, Any]:
    try:
        text = params.read_text(encoding="utf-8")
        loader = LOADER(text)
        node = loader.get_single_node()
        _refuse_repeated_keys(node)
        content = loader.construct_document(node) if node else None
    except FileNotFoundError:
        raise UserError(f"{params} is missing - run from the project's folder") from None
    except OSError as error:
        raise UserError(f"{params} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, *MALFORMED) as error:
        raise UserError(f"{params} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{params} must map profile names to settings")
    return content


def _checked(model: type[M], values: Any, where: str) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError("; ".join(_sentence(where, item) for item in error.errors())) from error


def _sentence(where: str, item: Mapping[str, Any]) -> str:
    path = ".".join([where, *(str(part) for part in item["loc"] if part not in ("busi", "phantom"))])
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown setting"
    message = re.sub(r"^(Value error, )", "", item["msg"])
    shown = "" if item["type"] in ("missing", "value_error") else f" (got {item['input']!r})"
    return f"{path}: {message}{shown}"


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, key by key at every depth."""
    result = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result
