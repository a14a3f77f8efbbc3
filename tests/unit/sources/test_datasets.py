"""Data sets of Hugging Face on disk, written here by pyarrow alone, and once by their own library."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from pictures import picture
from records import read_source

from imgvec.errors import SourceError, UnreadableImage
from imgvec.sources import Record, Source, record_id, reopen

pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(number: int) -> bytes:
    data = io.BytesIO()
    picture(number).save(data, "PNG")
    return data.getvalue()


def saved(
    folder: Path, rows: list[dict[str, Any]], *, files: int = 1, column: str = "image", features: bool = True
) -> Path:
    """A folder as `Dataset.save_to_disk` writes it."""
    folder.mkdir(parents=True)
    info = {"features": {column: {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}
    known = {"huggingface": json.dumps({"info": info})} if features else {}
    schema = pa.schema([(column, IMAGE), ("label", pa.int64())], metadata=known)
    names = [f"data-{number:05}-of-{files:05}.arrow" for number in range(files)]
    for number, name in enumerate(names):
        table = pa.Table.from_pylist(rows[number * len(rows) // files : (number + 1) * len(rows) // files], schema)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in table.to_batches(max_chunksize=5):
                writer.write_batch(batch)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def rows(number: int, *, paths: bool = True) -> list[dict[str, Any]]:
    return [{"image": {"bytes": png(i), "path": f"{i}.png" if paths else None}, "label": i % 2} for i in range(number)]


def test_rows_of_every_file_in_order(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", rows(40), files=2)
    found = list(Source(folder))
    assert all(isinstance(one, Record) for one in found)
    for number, one in enumerate(found):
        assert isinstance(one, Record)
        assert one.uri == f"{folder}/data-0000{number // 20}-of-00002.arrow!{number}.png"
        assert one.id == record_id(one.uri)
        assert one.metadata == {"label": number % 2}
        assert one.reader.read(10**6) == png(number) == reopen(one.uri, tmp_path)
    with_root = [one.uri for one in Source(folder, root=tmp_path) if isinstance(one, Record)]
    assert with_root[0] == "set/data-00000-of-00002.arrow!0.png"
    assert reopen(with_root[0], tmp_path) == png(0)


def test_without_names_rows_go_by_their_number(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", rows(23, paths=False))
    found = [one.uri for one in Source(folder) if isinstance(one, Record)]
    assert found == [f"{folder}/data-00000-of-00001.arrow!{number}" for number in range(23)]
    assert [reopen(found[n], None) for n in (0, 4, 5, 22)] == [png(n) for n in (0, 4, 5, 22)]
    with pytest.raises(UnreadableImage, match="missing"):
        reopen(f"{folder}/data-00000-of-00001.arrow!23", None)


@pytest.mark.parametrize("features", [True, False])
def test_the_column_of_images_is_found_whatever_its_name(tmp_path: Path, features: bool) -> None:
    held = [{"photo": one["image"], "label": one["label"]} for one in rows(3)]
    folder = saved(tmp_path / "set", held, column="photo", features=features)
    found = [one for one in Source(folder) if isinstance(one, Record)]
    assert [dict(one.metadata) for one in found] == [{"label": 0}, {"label": 1}, {"label": 0}]
    assert reopen(found[2].uri, None) == png(2)


def test_several_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        saved(tmp_path / "sets" / split, rows(2))
    (tmp_path / "sets" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found = [one.uri.removeprefix(f"{tmp_path}/sets/") for one in Source(tmp_path / "sets") if isinstance(one, Record)]
    file = "data-00000-of-00001.arrow"
    assert found == [f"train/{file}!0.png", f"train/{file}!1.png", f"test/{file}!0.png", f"test/{file}!1.png"]


def test_one_file_alone_and_a_file_in_the_other_format(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", rows(3))
    stream = folder / "data-00000-of-00001.arrow"
    assert len(list(Source(stream))) == 3
    table = pa.ipc.open_stream(stream.read_bytes()).read_all()
    with pa.OSFile(str(tmp_path / "other.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert [one.reader.read(10**6) for one in Source(tmp_path / "other.arrow") if isinstance(one, Record)] == [
        png(n) for n in range(3)
    ]
    assert reopen(f"{tmp_path}/other.arrow!2.png", None) == png(2)


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", rows(20))
    file = folder / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:-3000])
    # whether each row has a path of its own is known only at the end: nothing is given under a name that may be another
    with pytest.raises(SourceError, match="not an Arrow file, or damaged"):
        next(read_source(folder))


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("{", "is the data set complete"),
        ("[]", "not a JSON object"),
        ("{}", "names no data files"),
        ('{"_data_files": [{"filename": "../../etc/x.arrow"}]}', "is not in this folder"),
        ('{"_data_files": [{"filename": "link.arrow"}]}', "a symbolic link"),
        ('{"_data_files": [{"filename": "gone.arrow"}]}', "cannot be opened|No such file"),
        ('{"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}', "flatten_indices"),
    ],
)
def test_a_state_that_cannot_be(tmp_path: Path, state: str, says: str) -> None:
    folder = saved(tmp_path / "set", rows(1))
    (folder / "link.arrow").symlink_to(folder / "data-00000-of-00001.arrow")
    (folder / "state.json").write_text(state)
    with pytest.raises(SourceError, match=says):
        list(Source(folder))


def test_guards_hold(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", rows(2))
    refused = list(read_source(folder, max_bytes=10))
    assert [one.reason for one in refused if isinstance(one, UnreadableImage)] == ["too large", "too large"]
    assert [one.uri for one in read_source(folder, exclude="1.png") if isinstance(one, Record)] == [
        f"{folder}/data-00000-of-00001.arrow!0.png"
    ]
    parts = [[one.uri for one in read_source(folder, part=(rank, 2))] for rank in range(2)]
    assert len(parts[0]) + len(parts[1]) == 2


def test_in_a_folder_that_is_walked_they_are_no_images(tmp_path: Path) -> None:
    saved(tmp_path / "photos" / "set", rows(2))
    assert list(Source(tmp_path / "photos")) == []
    is_gone = Source(tmp_path / "photos").gone()
    assert not is_gone(f"{tmp_path}/photos/set/data-00000-of-00001.arrow!0.png")


def test_as_their_own_library_writes_them(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face's own library is not installed")
    held = datasets.Dataset.from_list(
        [{"image": {"bytes": png(n), "path": f"{n}.png"}, "label": n % 2} for n in range(7)],
        features=datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}),
    )
    datasets.DatasetDict({"train": held, "test": held.select(range(3))}).save_to_disk(tmp_path / "sets")
    found = [one for one in Source(tmp_path / "sets") if isinstance(one, Record)]
    assert len(found) == 10
    for one in found:
        assert reopen(one.uri, tmp_path) == one.reader.read(10**6)
    assert [one.metadata["label"] for one in found] == [0, 1, 0, 1, 0, 1, 0, 0, 1, 0]
