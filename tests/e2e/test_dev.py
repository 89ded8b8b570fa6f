"""`interlock dev`: files change under a process that works, and no event is lost or comes twice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.project import CODE, Project

READY = "Ctrl-C drains and stops."


class Developed:
    """A project under `interlock dev`."""

    def __init__(self, project: Project) -> None:
        self.project = project
        with project.log.open("wb") as log:
            self.process = project.spawn("dev", stdout=log, stderr=log)

    def said(self) -> str:
        return self.project.log.read_text()

    def ready(self, times: int) -> None:
        """It has started so often."""
        self.project.until(lambda: self.said().count(READY) >= times or self.process.poll() is not None)
        assert self.process.poll() is None, self.said()[-3000:]

    def send(self, order: str) -> None:
        self.project.cli("send", "order.paid@1", json.dumps({"order": order, "cents": 1}))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def developed(project: Project) -> Iterator[Developed]:
    """The process, and its end."""
    developed = Developed(project)
    try:
        developed.ready(1)
        yield developed
    finally:
        developed.process.kill()
        developed.process.wait()


def orders(effects: list[dict[str, Any]]) -> list[str]:
    return [effect["order"] for effect in effects]


def test_a_changed_file_is_taken_over_and_events_under_way_arrive_once(developed: Developed) -> None:
    project = developed.project

    def slowly(_: dict[str, Any]) -> int:
        time.sleep(0.3)
        return 201

    project.books.decide = slowly
    project.shelf.decide = lambda _: 503
    sent = [f"o-{number}" for number in range(20)]
    for order in sent:
        developed.send(order)
    project.write(CODE.replace('"/picks"', '"/picks-of-the-new-code"'))
    developed.ready(2)
    project.books.decide = project.shelf.decide = lambda _: 201
    project.until(lambda: set(orders(project.books.effects)) == set(orders(project.shelf.effects)) == set(sent))
    assert "changed: shop.py; draining, then again" in developed.said()
    assert len(orders(project.books.effects)) == len(orders(project.shelf.effects)) == 20
    project.until(lambda: project.json("doctor")["ok"])
    assert developed.stop() == 0


def test_the_banner_says_where_things_are_and_that_the_store_is_kept(developed: Developed) -> None:
    said, folder = developed.said(), developed.project.folder
    assert f"token    {folder}" in said or "token    .interlock/token" in said
    assert "interlock.db  (kept between runs)" in said
    assert f"control  {developed.project.control}/api/v1" in said
    assert developed.project.token not in said


def test_a_file_that_is_not_python_is_told_and_what_runs_goes_on(developed: Developed) -> None:
    project = developed.project
    project.write(CODE + "\nthis is no python\n")
    project.until(lambda: "error[spec.not-python]" in developed.said())
    developed.send("o-meanwhile")
    project.until(lambda: "o-meanwhile" in orders(project.books.effects))
    project.write(CODE)
    developed.ready(2)
    assert developed.stop() == 0


def test_a_project_that_cannot_run_is_told_and_its_next_version_waited_for(developed: Developed) -> None:
    project = developed.project
    project.write(CODE.replace('owner="shop-team"', 'owner=""'))
    project.until(lambda: "waiting for a file to change" in developed.said())
    assert "error[spec.owner-missing]" in developed.said()
    project.write("raise RuntimeError('no luck')\n")
    project.until(lambda: "RuntimeError: no luck" in developed.said())
    project.write(CODE)
    developed.ready(2)
    developed.send("o-mended")
    project.until(lambda: "o-mended" in orders(project.shelf.effects))
    assert developed.stop() == 0
