"""Four kinds of payload model, one behaviour."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

from interlock.core.errors import SpecError
from interlock.spec.jsontext import PayloadError
from interlock.spec.model import codec


@dataclass
class AsDataclass:
    account: str
    cents: int
    note: str | None = None


class AsStruct(msgspec.Struct):
    account: str
    cents: int
    note: str | None = None


class _Required(TypedDict):
    account: str
    cents: int


class AsTypedDict(_Required, total=False):
    note: str | None


class AsPydantic(pydantic.BaseModel):
    account: str
    cents: int
    note: str | None = None


class Node(msgspec.Struct):
    child: Node | None = None


MODELS = [AsDataclass, AsStruct, AsTypedDict, AsPydantic]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


@each_model
def test_a_payload_survives_the_way_to_bytes_and_back(model):
    coded = codec(model)
    payload = model(account="a-1", cents=1250)
    assert coded.decode(coded.encode(payload)) == payload


@each_model
@pytest.mark.parametrize(
    ("document", "code", "path"),
    [
        (b'{"account":"a"', "json.malformed", "$"),
        (b'{"account":"a","cents":NaN}', "json.malformed", "$"),
        (b'{"account":"a","cents":1,"other":"\xff"}', "json.malformed", "$"),
        (b'{"account":"a","cents":1,"other":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "json.too-deep", "$"),
        (b'{"account":"a","cents":1,"other":' + b"[" * 64 + b"]" * 64 + b"}", "json.too-deep", "$"),
        (b'{"account":"a","cents":"x"}', "payload.invalid", "$.cents"),
        (b'{"account":"a","cents":' + b"1" * 5_000 + b"}", "payload.invalid", None),
        (b'{"account":"a"}', "payload.invalid", None),
        (b"[]", "payload.invalid", "$"),
    ],
)
def test_what_does_not_fit_is_refused_with_code_and_path(model, document, code, path):
    with pytest.raises(PayloadError) as refused:
        codec(model).decode(document)
    assert refused.value.code == code
    assert path is None or refused.value.path == path


@each_model
def test_a_payload_that_its_readers_would_refuse_is_not_encoded(model):
    wrong = (
        model.model_construct(account="a", cents="1") if model is AsPydantic else model(account="a", cents=float("nan"))
    )
    with pytest.raises(PayloadError) as refused:
        codec(model).encode(wrong)
    assert refused.value.code == ("payload.unencodable" if model is AsPydantic else "payload.invalid")


def test_text_that_has_no_utf8_is_not_encoded():
    with pytest.raises(PayloadError) as refused:
        codec(AsDataclass).encode(AsDataclass("\ud800", 1))
    assert refused.value.code == "payload.unencodable"


def test_a_model_of_another_kind_is_refused_where_it_is_declared():
    class AsNamedTuple(NamedTuple):
        a: int

    @dataclass
    class WithAnObject:
        a: object
        b: complex

    for model in (AsNamedTuple, WithAnObject, int):
        with pytest.raises(SpecError) as refused:
            codec(model)
        assert refused.value.code == "spec.model-unsupported"


def test_pydantic_is_not_imported_for_those_who_did_not():
    program = (
        "import sys, dataclasses, interlock\n"
        "@dataclasses.dataclass\n"
        "class A:\n    a: int\n"
        "interlock.Integration('x', owner='o', purpose='p').event('a', A)\n"
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, env={"PYTHONPATH": "src"}).returncode == 0


def test_the_digest_is_of_the_shape_and_not_of_names_prose_or_defaults():
    line = msgspec.defstruct("Line", [("sku", str)], namespace={"__doc__": "One of the lines."})
    order = msgspec.defstruct("Order", [("lines", list[line]), ("note", str, "")])
    item = msgspec.defstruct("Item", [("sku", str)], namespace={"__doc__": "What was bought."})
    bought = msgspec.defstruct("Bought", [("lines", list[item]), ("note", str, "none")])
    assert codec(order).digest == codec(bought).digest


@pytest.mark.parametrize(
    "changed",
    [
        {"account": str, "cents": str},
        {"account": str},
        {"account": str, "cents": int, "title": str},
        {"account": str, "cents": int | None},
    ],
)
def test_the_digest_changes_with_a_member_or_a_type(changed):
    same = msgspec.defstruct("Same", {"account": str, "cents": int}.items())
    other = msgspec.defstruct("Same", changed.items())
    assert codec(same).digest != codec(other).digest


def test_a_member_called_title_counts():
    plain = msgspec.defstruct("P", [("a", int)])
    assert codec(plain).digest != codec(msgspec.defstruct("P", [("a", int), ("title", str)])).digest
    assert (
        codec(msgspec.defstruct("P", [("title", int)])).digest != codec(msgspec.defstruct("P", [("title", str)])).digest
    )


def test_a_recursive_model_has_a_digest():
    assert len(codec(Node).digest) == 32
