"""The workflows for a forge call the same make targets as a person, and hold no logic of their own."""

import re

import pytest
import yaml

from workings.runs import checkout

FILES = sorted((checkout.root() / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (checkout.root() / "Makefile").read_text(), flags=re.MULTILINE))


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def workflow(request):
    return yaml.safe_load(request.param.read_text())


def test_there_are_workflows_for_tests_the_book_and_a_weekly_check():
    assert {path.stem for path in FILES} == {"test", "book", "weekly"}


def test_every_command_is_one_make_target_that_exists(workflow):
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    for command in commands:
        word, target = command.split()
        assert word == "make" and target in TARGETS, command


def test_every_job_names_its_machine_and_rights_are_the_least(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert True in workflow or "on" in workflow  # YAML 1.1 reads a bare `on` as true
    for job in workflow["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/x@v1")), step
