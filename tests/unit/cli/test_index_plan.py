"""`imgvec index plan` without a backend: what it prints, and that what it prints as YAML is a definition."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from imgvec.catalog import INDEX_TYPES
from imgvec.cli.index import index
from imgvec.definition import Definition
from imgvec.indexes.plan import plan


def planned(*words: str, status: int = 0) -> Result:
    # an address at which nothing answers: no backend is asked
    result = CliRunner().invoke(index, ["plan", *words], obj={"uri": "http://127.0.0.1:1"})
    assert result.exit_code == status, result.output + str(result.exception)
    return result


def test_json_is_the_whole_plan() -> None:
    out = json.loads(planned("--rows", "10000000", "--dim", "768", "--memory", "16GiB", "-o", "json").stdout)
    expected = plan(10_000_000, 768, memory=16 * 2**30)
    assert [each["type"] for each in out] == [each.type for each in expected]
    assert out[0]["memory"] == expected[0].memory
    assert out[0]["since"] == "2.5"
    assert out[0]["reasons"][0] == {"says": expected[0].reasons[0].says, "source": expected[0].reasons[0].source}
    assert {each["type"] for each in out} == {n for n in INDEX_TYPES if not n.startswith("BIN_")} - {"AUTOINDEX"}


def test_the_table_has_the_best_first_with_its_reasons() -> None:
    out = planned("--rows", "10000000", "--dim", "768", "--memory", "8GiB").stdout
    lines = out.splitlines()
    assert next(line for line in lines if line.strip().startswith("1 ")).split()[1] == "DISKANN"
    assert "1. DISKANN: recall about 0.95 from search_list 50" in out
    assert "DiskANN (NeurIPS 2019)" in out
    assert "queryNode.enableDisk=true" in out
    assert "GPU_CAGRA" not in out
    assert "GPU_CAGRA" in planned("--rows", "10000000", "--dim", "768", "--gpu-memory", "80G").stdout


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--memory", "1GiB"],
        ["--memory", "600MiB", "--recall", "0.99"],
        ["--filtered", "0.9", "--updates", "always"],
        ["--filtered", "0.97"],
        ["--gpu-memory", "40GiB"],
        ["--gpu-memory", "1GiB"],
        ["--gpu-memory", "40GiB", "--recall", "0.999"],
        ["--vector-type", "INT8_VECTOR"],
        ["--limit", "5000"],
        ["--rows", "2000000000"],
    ],
    ids=" ".join,
)
def test_yaml_is_part_of_a_definition(words: list[str]) -> None:
    rows = [] if "--rows" in words else ["--rows", "1000000"]
    text = planned(*rows, "--dim", "384", *words, "-o", "yaml").stdout
    sections = yaml.safe_load(text)
    definition = Definition.load({"encoder": {"model": "m"}, **sections})
    best = json.loads(planned(*rows, "--dim", "384", *words, "-o", "json").stdout)[0]
    chosen = definition.index.gpu if best["type"].startswith("GPU_") else definition.index.cpu
    assert chosen is not None
    assert (chosen.type, chosen.params, chosen.search) == (best["type"], best["build"], best["search"])
    assert definition.vector.type == best["vector_type"]
    assert definition.num_shards == best["shards"]
    assert definition.vector.metric_type == ("IP" if best["type"].startswith("GPU_") else "COSINE")
    assert best["reasons"][0]["says"] in text


SIZES: list[tuple[str, int]] = [
    ("8GiB", 8 * 2**30),
    ("8gib", 8 * 2**30),
    ("8G", 8 * 2**30),
    ("512MB", 512 * 10**6),
    ("1.5 TiB", 3 * 2**39),
    ("4096", 4096),
    ("4096B", 4096),
]


@pytest.mark.parametrize(("text", "count"), SIZES)
def test_sizes(text: str, count: int) -> None:
    asked = ["--rows", "1000000000", "--dim", "384", "-o", "json"]
    [flat] = [
        each
        for each in json.loads(planned(*asked, "--memory", text).stdout)
        if (each["type"], each["vector_type"]) == ("FLAT", "FLOAT_VECTOR")
    ]
    assert flat["nodes"] == next(
        p.nodes for p in plan(10**9, 384, memory=count) if (p.type, p.vector_type) == ("FLAT", "FLOAT_VECTOR")
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rows", "1", "--dim", "3", "--memory", "8GBit"], "is not a size such as 8GiB"),
        (["--rows", "1", "--dim", "3", "--memory", "-1"], "is not a size"),
        (["--rows", "1", "--dim", "3", "--memory", "8i"], "is not a size"),
        (["--rows", "1", "--dim", "3", "--gpu-memory", "0GiB"], "is zero"),
        (["--rows", "0", "--dim", "3"], "'--rows'"),
        (["--rows", "1", "--dim", "40000"], "32768"),
        (["--rows", "1", "--dim", "3", "--recall", "1.5"], "'--recall'"),
        (["--rows", "1", "--dim", "3", "--filtered", "1"], "'--filtered'"),
        (["--rows", "1"], "--rows and --dim, or -c"),
        (["-c", "trip", "--dim", "3"], "leave them out"),
        (
            ["--rows", "9", "--dim", "8", "--vector-type", "BINARY_VECTOR", "-o", "yaml"],
            "do not support binary vectors",
        ),
    ],
)
def test_a_wrong_option_is_a_usage_error(words: list[str], says: str) -> None:
    assert says in planned(*words, status=2).stderr


def test_a_plan_loads_no_heavy_package() -> None:
    program = (
        "import sys; from imgvec.cli.index import index; "
        "index(['plan', '--rows', '9', '--dim', '8'], obj={}, standalone_mode=False); "
        "print(sorted({'torch', 'pymilvus', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done: Any = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
