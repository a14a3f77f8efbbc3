"""What a row is, said once: the definition, the schema and the import agree with it."""

from __future__ import annotations

import pytest

from imgvec import rows
from imgvec.definition import Definition, field_problem
from imgvec.errors import DefinitionError
from imgvec.milvus import schema
from imgvec.milvus.capabilities import capabilities

ENCODER = {"model": "google/vit-base-patch16-224"}


@pytest.mark.parametrize("name", rows.RESERVED_NAMES)
def test_no_definition_and_no_metadata_has_a_field_of_that_name(name: str) -> None:
    field = {"type": "VARCHAR", "default": ""}
    with pytest.raises(DefinitionError, match="is reserved"):
        Definition.load({"encoder": ENCODER, "fields": {name: field}})
    assert field_problem(name) == "filled in by imgvec"
    with pytest.raises(ValueError, match=f"{name} is filled in by imgvec"):
        Definition.load({"encoder": ENCODER}).row_fields({name: "something"})


def test_the_schema_has_these_fields_with_these_limits() -> None:
    noted = {"taken": {"type": "INT64", "default": 0, "from_image": "taken_at"}}
    definition = Definition.load({"encoder": ENCODER, "fields": noted, "dynamic": False})
    plan = schema.plan(definition, capabilities("milvus_lite-3.2.2"), dim=8, description="{}")
    declared = {field["name"]: field for field in plan.schema.to_dict()["fields"]}
    assert list(declared) == [rows.ID, rows.VECTOR, *rows.OWN_FIELDS, "taken", rows.FROM_IMAGE]
    texts = {name: field["params"]["max_length"] for name, field in declared.items() if field["type"].name == "VARCHAR"}
    assert texts == {"id": 64, "uri": 4096, "content_hash": 32, "media_type": 32, "imgvec_from_image": 1024}
    for name, own in rows.OWN_FIELDS.items():
        assert declared[name]["type"].name == own.type
