"""`imgvec doctor` on the real backends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from pictures import picture

from imgvec import ImageCollection
from imgvec.cli import main
from imgvec.milvus import connect
from imgvec.milvus.faults import FAULTS

DEFINITION = {"encoder": {"model": "fake"}, "fields": {"notes": {"type": "JSON", "default": {}}}}


def doctor(uri: str) -> dict[str, dict[str, Any]]:
    """The findings by subject; the exit status is 1 where one is wrong, in both forms."""
    structured = CliRunner().invoke(main, ["--uri", uri, "doctor", "-o", "json"])
    findings: list[dict[str, Any]] = json.loads(structured.stdout)
    wrong = any(finding["state"] == "wrong" for finding in findings)
    assert structured.exit_code == int(wrong)
    text = CliRunner().invoke(main, ["--uri", uri, "doctor"])
    assert text.exit_code == int(wrong)
    marks = {"ok": "ok    ", "warning": "!     ", "wrong": "WRONG "}
    assert text.stdout.splitlines() == [
        f"{marks[each['state']]} {each['subject']}: {each['said']}" for each in findings
    ]
    by_subject = {finding["subject"]: finding for finding in findings}
    assert len(by_subject) == len(findings)
    return by_subject


def faults(findings: dict[str, dict[str, Any]]) -> list[str]:
    return [fault.name for fault in FAULTS if fault.name in findings]


def test_on_milvus_lite_it_says_what_that_is(lite_uri: str, tmp_path: Path) -> None:
    picture(1).save(tmp_path / "1.png")
    with ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(tmp_path / "1.png")
    findings = doctor(lite_uri)
    assert re.search(
        r": Milvus Lite \d+\.\d+\.\d+, inside this process: one process at a time", findings["milvus"]["said"]
    )
    assert "vectors per collection: 4; GPU indexes: no" in findings["backend"]["said"]
    assert findings["known faults"] == {
        "subject": "known faults",
        "state": "ok",
        "said": "those of Milvus servers do not concern Milvus Lite",
    }
    assert faults(findings) == []
    assert "its encoder is not available" in findings["collection trip"]["said"]


@pytest.mark.server
def test_on_milvus_2_3_5_it_names_the_faults_of_that_release(server_uri: str, tmp_path: Path) -> None:
    empty = doctor(server_uri)
    servers_own = [name for name in faults(empty) if "collections" not in empty[name]]
    assert "Milvus 2.3.5, the server of the milvus wheel, for tests and trials" in empty["milvus"]["said"]
    assert "nullable fields: no; partition keys: no; vectors per collection: 1" in empty["backend"]["said"]
    assert "DISKANN" not in empty["index types"]["said"]
    assert servers_own == ["CVE-2025-64513", "CVE-2026-26190"]
    assert re.search(r"; Milvus 2\.\d\.\d+ is the nearest with all the fixes$", empty["known faults"]["said"])
    bypass = empty["CVE-2025-64513"]
    assert (bypass["state"], bypass["mended"]) == ("wrong", ["2.4.24", "2.5.21", "2.6.5"])
    assert bypass["link"].endswith("GHSA-mhjq-8c7m-3f7p")
    assert bypass["link"] in bypass["said"]
    assert "collections" not in bypass

    picture(1).save(tmp_path / "1.png")
    encoder = FakeEncoder()
    with ImageCollection.create("doctored", definition=DEFINITION, uri=server_uri, encoder=encoder) as photos:
        try:
            photos.ingest(tmp_path / "1.png")
            findings = doctor(server_uri)
            with connect(server_uri) as connection:
                facts = connection.facts("doctored")
        finally:
            photos.drop()
    # a collection is touched by what concerns every one; JSON filters are wrong in later lines only
    assert faults(findings) == ["CVE-2025-64513", "CVE-2026-26190", "milvus#37364"]
    assert findings["milvus#37364"]["state"] == "warning"
    assert "doctored" in findings["milvus#37364"]["collections"]
    assert findings["known faults"]["said"].startswith("3 of ")
    assert facts.json
    assert (facts.vectors["vector"].index.type, facts.vectors["vector"].metric_type) == ("HNSW", "COSINE")
