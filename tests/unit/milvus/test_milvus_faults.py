"""Which known faults a server has, by its release and its collections: one case a rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import yaml

from imgvec import doctor
from imgvec.errors import BackendError
from imgvec.milvus.capabilities import capabilities
from imgvec.milvus.faults import FAULTS, CollectionFacts, Fault, found, good_release
from imgvec.stored import IndexInfo, VectorField

DOCKER = Path(__file__).parents[3] / "docker"


def vector(type: str = "HNSW", *, of: str = "FLOAT_VECTOR", metric: str = "COSINE", **built: Any) -> VectorField:
    return VectorField(8, of, metric, IndexInfo(type, built))


def collection(
    *vectors: VectorField, rows: int = 1_000_000, json: bool = False, name: str = "photos"
) -> CollectionFacts:
    return CollectionFacts(name, {f"v{place}": each for place, each in enumerate(vectors)}, rows, json)


HNSW = collection(vector())
CAGRA = collection(vector(), vector("GPU_CAGRA"))
FOR_CPU = collection(vector("GPU_CAGRA", adapt_for_cpu=True))
INT8 = collection(vector("GPU_CAGRA", of="INT8_VECTOR"))


class Case(NamedTuple):
    """The releases before and at a fix, line by line; a collection that a fault touches, and some that it does not."""

    bad: Sequence[str]
    good: Sequence[str]
    touched: CollectionFacts | None = None
    untouched: Sequence[CollectionFacts] = ()


CASES = {
    "CVE-2025-64513": Case(
        ["v2.2.16", "v2.3.5-lite", "v2.4.23", "v2.5.20", "v2.6.0", "v2.6.4-gpu"],
        ["v2.4.24", "v2.5.21", "v2.6.5", "v2.6.5-gpu", "v3.0.0"],
    ),
    "CVE-2026-26190": Case(
        ["v2.3.5-lite", "v2.4.24", "v2.5.26", "v2.6.9"], ["v2.5.27", "v2.6.10", "v2.6.24-gpu", "v3.0.1"]
    ),
    "milvus#49864": Case(
        ["v2.4.0-gpu", "v2.5.27-gpu", "v2.6.19-gpu"],
        ["v2.3.21-gpu", "v2.6.20-gpu", "v3.0.0-gpu"],
        CAGRA,
        [HNSW, FOR_CPU, collection(vector("GPU_CAGRA"), rows=100_000), collection(vector("GPU_IVF_FLAT"))],
    ),
    "milvus#49836": Case(["v2.5.27", "v2.6.18"], ["v2.6.19", "v3.0.0"], FOR_CPU, [HNSW, CAGRA]),
    "knowhere#1510": Case(["v2.4.24", "v2.6.19"], ["v2.6.20", "v3.0.0"], FOR_CPU, [HNSW, CAGRA]),
    "knowhere#1721": Case(
        ["v2.6.20-gpu"],
        ["v2.6.21-gpu", "v3.0.0-gpu"],
        INT8,
        [CAGRA, collection(vector(of="INT8_VECTOR")), collection(vector("GPU_CAGRA", of="INT8_VECTOR", metric="IP"))],
    ),
    "milvus#37364": Case(["v2.3.5-lite", "v2.4.16"], ["v2.4.17", "v2.5.0", "v2.6.0"], HNSW),
    "milvus#51298": Case(["v2.6.0", "v2.6.20"], ["v2.5.27", "v2.6.21", "v3.0.0"], HNSW),
    "milvus#51489": Case(
        ["v2.5.27", "v2.6.21"],
        ["v2.4.24", "v2.6.22", "v3.0.0"],
        collection(vector(), json=True),
        [HNSW],
    ),
    "milvus#51909": Case(["v2.6.21"], ["v2.5.27", "v2.6.22"]),
    "milvus#38101": Case(["v2.3.0-gpu", "v2.6.24-gpu"], ["v2.2.16"], CAGRA, [HNSW, FOR_CPU]),
    "milvus#38986": Case(["v2.3.0-gpu", "v2.6.24-gpu"], ["v2.2.16"], CAGRA, [HNSW, FOR_CPU]),
}


def names(version: str, *collections: CollectionFacts) -> list[str]:
    return [each.fault.name for each in found(capabilities(version), collections)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_told_where_it_is_and_nowhere_else(fault: Fault) -> None:
    bad, good, touched, untouched = CASES[fault.name]
    there = [touched] if touched else []
    for version in bad:
        assert fault.name in names(version, *there, *untouched), version
        if touched:
            assert fault.name not in names(version, *untouched), version
            [told] = [each for each in found(capabilities(version), [touched, HNSW]) if each.fault == fault]
            assert told.collections == ("photos", "photos") if touched == HNSW else ("photos",)
            assert told.sure
    for version in good:
        assert fault.name not in names(version, *there), version


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_an_entry_is_whole(fault: Fault) -> None:
    assert re.fullmatch(r"CVE-\d{4}-\d+|(milvus|knowhere)#\d+", fault.name)
    assert re.fullmatch(
        r"https://github\.com/(milvus-io/milvus|zilliztech/knowhere)/"
        r"(issues/\d+|pull/\d+|security/advisories/GHSA(-[23456789cfghjmpqrvwx]{4}){3})",
        fault.link,
    )
    if "#" in fault.name:
        assert fault.link.rpartition("/")[2] == fault.name.rpartition("#")[2]
    assert list(fault.mended) == sorted(fault.mended)
    assert len({fixed[:2] for fixed in fault.mended}) == len(fault.mended)
    assert all(fixed > fault.since for fixed in fault.mended)
    for text in (fault.says, fault.do):
        assert text[0].islower() or text.startswith(("GPU_", "INT8"))
        assert not text.endswith(".")


def test_every_fault_has_its_case_and_is_there_once() -> None:
    assert [fault.name for fault in FAULTS] == list(CASES)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v2.6.24", (2, 6, 24)),
        ("2.6.24-gpu", (2, 6, 24)),
        ("v2.6.24-gpu", (2, 6, 24)),
        ("2.3.5", (2, 3, 5)),
        ("v2.3.5-lite", (2, 3, 5)),
        ("2.6-20250101-abc", (2, 6)),
        ("3.0-20260728-36456931", (3, 0)),
        ("v2.4.0-rc.1", (2, 4, 0)),
        ("2.5.0-beta", (2, 5, 0)),
        ("milvus_lite-3.2.2", (3, 2, 2)),
        ("Zilliz Cloud Vector Database(Compatible with Milvus 2.5)", (2, 5)),
    ],
)
def test_versions_as_servers_tell_them(text: str, version: tuple[int, ...]) -> None:
    can = capabilities(text)
    assert (can.version, can.reported) == (version, text)


def test_milvus_lite_has_none_of_them() -> None:
    assert list(found(capabilities("milvus_lite-2.0.0"), [CAGRA, FOR_CPU, INT8])) == []


def test_a_build_that_does_not_tell_its_patch_release_may_be_mended() -> None:
    told = {each.fault.name: each for each in found(capabilities("2.6-20260801-abcdef0"), [HNSW])}
    assert {name: (each.sure, each.severity) for name, each in told.items()} == {
        "CVE-2025-64513": (False, "warning"),
        "CVE-2026-26190": (False, "warning"),
        "milvus#51298": (False, "warning"),
        "milvus#51909": (False, "ok"),
    }
    # 2.4 has the one in every release
    old = {each.fault.name: each.sure for each in found(capabilities("2.4-20250101-abcdef0"), [])}
    assert old == {"CVE-2025-64513": False, "CVE-2026-26190": True}


def test_the_release_to_go_to_is_the_nearest_that_has_none_of_them() -> None:
    def to(version: str, *collections: CollectionFacts) -> tuple[int, ...] | None:
        return good_release(capabilities(version).version, collections)

    assert to("v2.3.5") == to("v2.4.24") == to("v2.5.3") == (2, 5, 27)
    assert to("v2.3.5", HNSW) == (2, 5, 27)
    # 2.5.27 would mend what 2.3.5 has, and bring a fault that only newer releases have
    assert to("v2.3.5", collection(vector(), json=True)) == (2, 6, 22)
    assert to("v2.5.27", collection(vector(), json=True)) == (2, 6, 22)
    assert to("v2.6.4-gpu", CAGRA) == (2, 6, 22)
    assert to("v2.6.24-gpu", CAGRA) is None
    assert to("v2.5.27", HNSW) is None


@pytest.mark.parametrize("name", ["compose.standalone.yaml", "compose.gpu.yaml", "compose.cluster.yaml"])
def test_the_compose_files_pin_a_release_without_a_fault_that_is_mended(name: str) -> None:
    images = {
        service["image"].partition(":")[2]
        for service in yaml.safe_load((DOCKER / name).read_text())["services"].values()
        if "milvusdb/milvus:" in service["image"]
    }
    [version] = images
    touched = [case.touched for case in CASES.values() if case.touched]
    left = [each.fault for each in found(capabilities(version), touched) if each.fault.mended]
    assert left == []


def told(version: str, *collections: CollectionFacts | BackendError) -> list[doctor.Finding]:
    """What `doctor` says of a server of that release."""
    by_name = {each.name if isinstance(each, CollectionFacts) else "broken": each for each in collections}

    def facts(name: str) -> CollectionFacts:
        if isinstance(by_name[name], BackendError):
            raise by_name[name]
        return by_name[name]

    connection: Any = SimpleNamespace(capabilities=capabilities(version), facts=facts)
    return list(doctor._faults(connection, list(by_name)))


def test_the_doctor_names_fault_collections_release_and_link() -> None:
    other = collection(vector(), name="faces")
    summary, *findings = told("v2.6.18-gpu", CAGRA, other)
    assert (summary.subject, summary.state) == ("known faults", "ok")
    assert summary.said == (
        "5 of 12 known faults of Milvus releases touch this server as it is used; Milvus 2.6.22 is the nearest with "
        "all the fixes"
    )
    by_name = {each.subject: each for each in findings}
    cagra = by_name["milvus#49864"]
    assert (cagra.state, cagra.collections, cagra.mended) == ("wrong", ("photos",), ("2.6.20",))
    assert cagra.said == (
        "GPU_CAGRA finds about 60 % of what it should in segments of more than 100,000 rows (collections: photos); "
        "mended in Milvus 2.6.20; until then use GPU_IVF_FLAT, or an index on the CPU; "
        "https://github.com/milvus-io/milvus/issues/49864"
    )
    assert by_name["milvus#51298"].collections == ("photos", "faces")
    assert (by_name["milvus#38986"].state, by_name["milvus#38986"].mended) == ("ok", ())
    assert "; no release mends it; expect the GPU" in by_name["milvus#38986"].said


def test_the_doctor_says_where_nothing_is_known_or_nothing_sure() -> None:
    [summary] = told("v2.6.24", HNSW)
    assert summary.said == "none of 12 known faults of Milvus releases touch this server as it is used"
    findings = told("2.6-20260801-abcdef0")
    assert [each.state for each in findings] == ["ok", "warning", "warning", "ok"]
    assert "mended in Milvus 2.4.24, 2.5.21, 2.6.5, which this build may contain; until then" in findings[1].said


def test_a_collection_that_cannot_be_looked_at_hides_no_fault_of_the_others() -> None:
    findings = told("v2.6.19-gpu", BackendError("the collection 'broken' has no index of 'vector': build one"), CAGRA)
    assert (findings[0].subject, findings[0].state) == ("collection broken", "wrong")
    assert "milvus#49864" in [each.subject for each in findings]
