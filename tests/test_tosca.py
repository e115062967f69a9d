"""docs/tosca: what another parser of TOSCA makes of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from toscaparser.common.exception import ValidationError
from toscaparser.functions import GetInput
from toscaparser.tosca_template import ToscaTemplate

_TOP = Path(__file__).parents[1] / "docs/tosca"
_TYPE = "udocker.nodes.Container"


def parsed(**inputs: Any) -> ToscaTemplate:
    return ToscaTemplate(str(_TOP / "prediction.yaml"), parsed_params=inputs)


def properties(**inputs: Any) -> dict[str, Any]:
    [node] = (each for each in parsed(**inputs).nodetemplates if each.type == _TYPE)
    found = {name: each.value for name, each in node.get_properties().items()}
    return {name: each.result() for name, each in found.items() if isinstance(each, GetInput)}


def test_the_template_is_valid_and_the_container_is_given_its_inputs() -> None:
    found = properties(image="me/model:1", env={"A": "b"}, volumes=["/data:/data:ro"], gpus="all")
    assert (found["image"], found["name"]) == ("me/model:1", "prediction")
    assert (found["env"], found["volumes"], found["gpus"]) == (
        {"A": "b"},
        ["/data:/data:ro"],
        "all",
    )


def test_it_stands_on_the_host() -> None:
    template = parsed(image="x")
    [node] = (each for each in template.nodetemplates if each.type == _TYPE)
    [(relation, host)] = node.relationships.items()
    assert relation.type == "tosca.relationships.HostedOn"
    assert (host.name, host.type) == ("host", "tosca.nodes.Compute")
    assert node.is_derived_from("tosca.nodes.SoftwareComponent")
    operations = node.type_definition.interfaces["Standard"]["operations"]
    assert set(operations) == {"create", "start", "stop", "delete"}
    for operation in operations.values():
        done_by = operation["implementation"]
        for path in (done_by["primary"], *done_by["dependencies"]):
            assert (_TOP / path).is_file()


@pytest.mark.parametrize("inputs", [{"image": "x", "port": 5000}, {"image": "x", "env": "A"}])
def test_inputs_that_are_wrong_are_told(inputs: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, ValueError)):
        parsed(**inputs)


def test_the_inputs_of_the_page_are_those_of_the_template() -> None:
    [text] = re.findall(r"^```yaml\n(.*?)^```$", (_TOP / "README.md").read_text(), re.M | re.S)
    written = yaml.safe_load(text)
    assert properties(**written)["image"] == written["image"]
    assert set(written) <= {each.name for each in parsed(image="x").inputs}
