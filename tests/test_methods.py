"""The registry refuses files that do not keep to the contract, with one line each."""

from types import ModuleType

import pytest

import bench.methods
from bench.errors import UserError
from bench.methods import MethodSpec, methods
from bench.schema import MethodSettings


def spec(name: str) -> MethodSpec:
    return MethodSpec(name, name, None, MethodSettings, 0.5, "image", "MIT", "invented")


def module(name: str, without: str = "", **changes: object) -> ModuleType:
    """A method that gives CAMs, without one of its parts."""
    made = ModuleType(f"baselines.{name}")
    parts = {"SPEC": spec(name), **dict.fromkeys(("make_net", "fit", "logits", "cams"), print), **changes}
    for part, value in parts.items():
        if part != without:
            setattr(made, part, value)
    return made


def registered(monkeypatch: pytest.MonkeyPatch, made: ModuleType) -> dict[str, MethodSpec]:
    name = made.__name__.removeprefix("baselines.")
    monkeypatch.setattr(bench.methods.pkgutil, "iter_modules", lambda _: [type("Info", (), {"name": name})])
    monkeypatch.setattr(bench.methods, "method_module", lambda _: made)
    return methods.__wrapped__()


def test_a_whole_method_is_found(monkeypatch):
    assert list(registered(monkeypatch, module("seventh"))) == ["seventh"]


@pytest.mark.parametrize("part", ["make_net", "fit", "logits"])
def test_a_missing_function_is_named(part, monkeypatch):
    with pytest.raises(UserError, match=rf"baselines/seventh.py needs {part} - "):
        registered(monkeypatch, module("seventh", without=part))


def test_a_method_must_give_something(monkeypatch):
    with pytest.raises(UserError, match="needs a function cams or a function segment"):
        registered(monkeypatch, module("seventh", without="cams"))


@pytest.mark.parametrize("changes", [{"without": "SPEC"}, {"SPEC": spec("eighth")}])
def test_a_spec_must_be_there_and_named_after_its_file(changes, monkeypatch):
    with pytest.raises(UserError, match=r"baselines/seventh.py needs a SPEC = MethodSpec\(id='seventh'"):
        registered(monkeypatch, module("seventh", **changes))


@pytest.mark.parametrize("name", ["gt_whole", "oracle_amr", "swin_mil_direct", "fixed_ellipse"])
def test_the_name_of_another_row_is_refused(name, monkeypatch):
    with pytest.raises(UserError, match="is the name of another row"):
        registered(monkeypatch, module(name))
