"""The committed roles are those that the code declares, and say why."""

from pathlib import Path

import pytest
import yaml

from controller import rights
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.client import Client
from controller.runtime.errors import Forbidden
from controller.runtime.resources import CONFIG_MAPS, PODS, ROLE_BINDINGS, ROLES
from controller.runtime.rights import rights as declare
from finetune.system.generated import drifted
from tests.fakes import FakeApi
from tests.fakewire import as_asked


def test_the_committed_copies_are_those_that_the_code_declares() -> None:
    assert drifted(rights.copies()) == []


def test_check_names_every_copy_that_has_drifted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rights.main(["--write", "--root", str(tmp_path)]) == 0
    assert rights.main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / rights.CHART_TEMPLATE).write_text("something else")
    (tmp_path / rights.MANIFEST).unlink()

    assert rights.main(["--check", "--root", str(tmp_path)]) == 1

    complaint = capsys.readouterr().err
    assert str(rights.CHART_TEMPLATE) in complaint
    assert str(rights.MANIFEST) in complaint
    assert "--write" in complaint


def test_printed_are_the_rules_of_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert rights.main([]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(rights.manifest_text())["rules"]


def test_what_several_modules_need_of_a_resource_is_one_rule_with_every_verb_once() -> None:
    text = rights.rules([*declare(RAY_JOBS, "create", "get"), *declare(RAY_JOBS, "get", "list"), *declare(RAY_JOBS, "delete")])
    assert yaml.safe_load(text) == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get", "list", "create", "delete"]}]


def test_resources_share_a_rule_only_in_the_same_group_with_the_same_verbs_and_reasons() -> None:
    both = [*declare(ROLES, "get", why="a reason"), *declare(ROLE_BINDINGS, "get", why="a reason")]
    assert [rule["resources"] for rule in yaml.safe_load(rights.rules(both))] == [["rolebindings", "roles"]]
    apart = [*declare(CONFIG_MAPS, "get"), *declare(PODS, "get", "list"), *declare(RAY_JOBS, "get", "list")]
    assert [rule["resources"] for rule in yaml.safe_load(rights.rules(apart))] == [["configmaps"], ["pods"], ["rayjobs"]]


def test_rules_do_not_depend_on_the_order_of_declarations() -> None:
    assert rights.rules(reversed(rights.RIGHTS)) == rights.rules(rights.RIGHTS)


def test_a_reason_stands_above_its_rule_once() -> None:
    text = rights.rules([*declare(FINE_TUNE_JOBS, "delete", why="Old jobs go."), *declare(FINE_TUNE_JOBS, "get", why="Old jobs go.")])
    assert text.splitlines()[:2] == ["# Old jobs go.", "- apiGroups: [finetune.dev]"]
    assert text.count("Old jobs go.") == 1


async def test_the_fake_api_server_of_the_tests_refuses_what_no_module_declares() -> None:
    api = FakeApi()
    api.granted = as_asked(rights.RIGHTS)
    client = Client(api, field_manager="test")
    api.put(PODS, {"metadata": {"name": "a", "namespace": "team"}})
    assert (await client.list_all(PODS, "team")).items
    with pytest.raises(Forbidden, match="cannot delete"):
        await client.delete(PODS, "a", "team")
    assert api.objects(PODS)
