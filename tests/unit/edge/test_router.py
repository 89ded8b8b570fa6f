"""Which declaration a method and a path belong to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import SpecError
from interlock.edge.problem import Refused
from interlock.edge.router import Found, Options, Route, Router


def named(name: str) -> Any:
    def endpoint(exchange: object, params: object) -> None: ...

    endpoint.__name__ = name
    return endpoint


ORDER, PAID, NEW, LIST, HOOK = map(named, ["order", "paid", "new", "list", "hook"])
ROUTER = Router(
    [
        Route("GET", "/orders/{id}", ORDER),
        Route("POST", "/orders/{id}/paid", PAID),
        Route("GET", "/orders/new", NEW),
        Route("GET", "/orders", LIST),
        Route("POST", "/hooks/psp", HOOK),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "params"),
    [
        ("POST", "/hooks/psp", HOOK, {}),
        ("GET", "/orders", LIST, {}),
        ("GET", "/orders/new", NEW, {}),
        ("GET", "/orders/17", ORDER, {"id": "17"}),
        ("GET", "/orders/a%20b", ORDER, {"id": "a b"}),
        ("GET", "/orders/%e2%82%ac", ORDER, {"id": "€"}),
        ("GET", "/orders/a;v=1", ORDER, {"id": "a;v=1"}),
        ("GET", "/orders/%2541", ORDER, {"id": "%41"}),
        ("POST", "/orders/17/paid", PAID, {"id": "17"}),
        ("HEAD", "/orders/17", ORDER, {"id": "17"}),
    ],
)
def test_a_path_finds_its_route_and_its_parameters_decoded_once(method, path, endpoint, params):
    assert ROUTER.find(method, path) == Found(endpoint, params)


@pytest.mark.parametrize(
    "segment",
    ["..", ".", "%2e%2e", "%2E", "a%2fb", "a%5Cb", "a%00", "%0d%0a", "%7f", "%c0%af", "%ff", "%", "%2", "%zz"],
)
def test_a_parameter_that_the_next_in_line_could_read_as_another_path_is_refused(segment):
    found = ROUTER.find("GET", f"/orders/{segment}")
    assert isinstance(found, Refused)
    assert (found.status, found.code) == (400, "route.path-ambiguous")


@pytest.mark.parametrize(
    "path",
    ["/hooks/psp/", "/hooks//psp", "//hooks/psp", "/hooks/%70sp", "/HOOKS/psp", "/hooks/./psp", "/hooks/x/../psp"],
)
def test_only_the_path_as_it_was_declared_is_the_route(path):
    found = ROUTER.find("POST", path)
    assert isinstance(found, Refused)
    assert found.status == 404


def test_an_empty_segment_is_no_parameter():
    assert ROUTER.find("GET", "/orders/").status == 404  # type: ignore[union-attr]


def test_an_unknown_path_names_the_nearest_route():
    found = ROUTER.find("POST", "/hook/psp")
    assert isinstance(found, Refused)
    assert found.remedy == "Did you mean /hooks/psp?"


def test_a_long_unknown_path_is_refused_without_a_search():
    assert "Did you mean" not in ROUTER.find("POST", "/hooks/psp" * 800).remedy  # type: ignore[union-attr]


def test_another_method_is_told_which_ones_there_are():
    found = ROUTER.find("DELETE", "/orders/17")
    assert isinstance(found, Refused)
    assert found.status == 405
    assert dict(found.headers) == {"allow": "GET, HEAD, OPTIONS"}
    assert isinstance(ROUTER.find("HEAD", "/hooks/psp"), Refused)


def test_options_is_answered_for_every_route():
    assert ROUTER.find("OPTIONS", "/hooks/psp") == Options("OPTIONS, POST")
    assert ROUTER.find("OPTIONS", "/orders/9") == Options("GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["orders", "", "/a b", "/{id", "/x{id}", "/{Id}", "/a?b", "/ü"])
def test_a_path_that_no_request_could_have_is_refused_when_it_is_compiled(path):
    with pytest.raises(SpecError, match=r"route\.path-invalid"):
        Router([Route("GET", path, ORDER)])


def test_two_routes_for_one_method_and_path_are_refused_when_they_are_compiled():
    with pytest.raises(SpecError, match=r"route\.duplicate"):
        Router([Route("GET", "/a/{x}", ORDER), Route("GET", "/a/{y}", PAID)])


def test_two_methods_may_name_the_parameter_of_one_path_differently():
    router = Router([Route("GET", "/a/{x}", ORDER), Route("POST", "/a/{y}", PAID)])
    assert router.find("GET", "/a/1") == Found(ORDER, {"x": "1"})
    assert router.find("POST", "/a/1") == Found(PAID, {"y": "1"})


@given(st.text(alphabet="/.%aA2eEfF5cC0;orders", max_size=30))
def test_whatever_the_path_no_parameter_holds_a_slash_a_dot_segment_or_a_control(path):
    found = ROUTER.find("GET", "/" + path)
    if isinstance(found, Found):
        for value in found.params.values():
            assert value not in {"", ".", ".."}
            assert not set(value) & {"/", "\\", "\0"}
