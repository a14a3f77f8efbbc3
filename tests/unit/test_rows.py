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


@pytest.mark.parametrize("name", rows.VIEW_FIELDS)
def test_the_names_of_a_view_are_reserved_where_there_are_views(name: str) -> None:
    """A definition of 0.1.0 may have such fields, and opens as before."""
    fields = {name: {"type": "VARCHAR", "default": ""}}
    whole = Definition.load({"encoder": ENCODER, "fields": fields})
    assert whole.row_fields({name: "front"}) == {name: "front"}
    assert whole.field_problem(name) is None
    with pytest.raises(DefinitionError, match="every collection with views has"):
        Definition.load({"encoder": ENCODER, "fields": fields, "views": {"grid": 2}})
    viewed = Definition.load({"encoder": ENCODER, "views": {"grid": 2}})
    assert viewed.field_problem(name) == "filled in by imgvec"
    with pytest.raises(ValueError, match=f"{name} is filled in by imgvec"):
        viewed.row_fields({name: "front"})


def test_the_schema_of_views() -> None:
    definition = Definition.load({"encoder": ENCODER, "views": {"grid": 2}})
    plan = schema.plan(definition, capabilities("milvus_lite-3.2.2"), dim=8, description="{}")
    declared = {field["name"]: field for field in plan.schema.to_dict()["fields"]}
    assert list(declared) == [rows.ID, rows.VECTOR, *rows.OWN_FIELDS, *rows.VIEW_FIELDS]
    box = declared["box"]
    assert (box["type"].name, box["element_type"].name, box["params"]["max_capacity"]) == ("ARRAY", "INT32", 4)
    assert declared["image_id"]["params"]["max_length"] == rows.MAX_ID_BYTES


def test_the_ids_of_views() -> None:
    whole = "0123456789abcdef" * 2
    assert rows.view_id(whole, "whole", 0) == whole
    # pinned: they are computed again to find the rows
    assert rows.view_id(whole, "region", 3) == "view-1258e2bf99bf91f71557861f04aebde7"
    assert rows.view_id(whole, "face", 3) == "view-34131c27a50428914ab8e4e5bac35dd2"
    found = list(rows.view_ids(whole, {"region": 2, "whole": 1}))
    assert found == [whole, rows.view_id(whole, "region", 0), rows.view_id(whole, "region", 1)]
    assert rows.view_counts({"region": 2.0, "face": "many", "frame": None}) == {"region": 2}
    assert rows.is_view_id(rows.view_id("ü", "frame", 7))
    assert not any(map(rows.is_view_id, (whole, "view-1", f"view-{whole}0", f"a view-{whole}", f"view-{whole}\n")))
