"""HEIF, JPEG XL and camera RAW, each by its extra and in a process of its own."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiffs import dng

from imgvec.errors import UnreadableImage
from imgvec.images import apart, decode

pytestmark = pytest.mark.slow  # each starts a process

TESTS = Path(__file__).parent
TESTED = {**os.environ, "PYTHONPATH": f"{TESTS.parents[2]}:{TESTS.parents[1]}"}
ORIENTATION, EXIF, TAKEN, OFFSET = 0x0112, 0x8769, 0x9003, 0x9011
TAKEN_AT = 1_714_551_072_000  # 2024-05-01 10:11:12 +02:00
UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a sensor made of an upright scene, by the orientation that undoes it."""


def needs(what: str, there: bool) -> None:
    if not there:
        if os.environ.get("IMGVEC_REQUIRE_ALL") == "1":
            pytest.fail(f"{what} is missing (IMGVEC_REQUIRE_ALL=1)", pytrace=False)
        pytest.skip(f"{what} is missing")


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """Smooth, coloured, and different in every corner."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - (x + y) / 2], axis=2).astype(np.uint8))


def lies(orientation: int, image: Image.Image) -> Image.Image:
    return image.transpose(UNDO[orientation]) if orientation in UNDO else image


def exif(orientation: int = 1) -> Image.Exif:
    made = Image.Exif()
    made[ORIENTATION] = orientation
    made.get_ifd(EXIF)[TAKEN] = "2024:05:01 10:11:12"
    made.get_ifd(EXIF)[OFFSET] = "+02:00"
    return made


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def error(image: Image.Image, expected: Image.Image) -> float:
    return float(np.abs(np.asarray(image, np.int16) - np.asarray(expected.convert("RGB"), np.int16)).mean())


Heic = Callable[..., bytes]


@pytest.fixture(scope="module")
def heic(tmp_path_factory: pytest.TempPathFactory) -> Heic:
    """Makes HEIC of the bytes of a PNG or JPEG, as `heif-enc` of Debian's libheif-examples does."""
    needs("pi-heif (extra `heif`)", find_spec("pi_heif") is not None)
    needs("heif-enc (Debian: libheif-examples)", shutil.which("heif-enc") is not None)
    folder = tmp_path_factory.mktemp("heic")

    def make(source: bytes, *options: str) -> bytes:
        given = folder / ("a.png" if source.startswith(b"\x89PNG") else "a.jpg")
        given.write_bytes(source)
        command = ["heif-enc", "-q", "95", *options, "-o", str(folder / "a.heic"), str(given)]
        subprocess.run(command, check=True, capture_output=True)
        return (folder / "a.heic").read_bytes()

    return make


def with_property(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A HEIC with one more property of its primary item; everything behind moves by as much."""
    box = (8 + len(body)).to_bytes(4) + kind + body
    out = bytearray(data)

    def grow(name: bytes, by: int) -> int:
        at = out.index(name)
        out[at - 4 : at] = (int.from_bytes(out[at - 4 : at]) + by).to_bytes(4)
        return at

    ipco = grow(b"ipco", len(box))
    end = ipco - 4 + int.from_bytes(out[ipco - 4 : ipco]) - len(box)
    number = 1
    at = ipco + 4
    while at < end:
        at += int.from_bytes(out[at : at + 4])
        number += 1
    out[end:end] = box
    ipma = grow(b"ipma", 1)
    primary = out.index(b"pitm") + 8
    entry = ipma + 4 + 4 + 4  # behind version, flags and the number of entries
    while out[entry : entry + 2] != out[primary : primary + 2]:
        entry += 3 + out[entry + 2]
    out[entry + 2] += 1
    behind = entry + 2 + out[entry + 2]
    out[behind:behind] = bytes([0x80 | number])
    moved = len(box) + 1
    grow(b"iprp", moved)
    grow(b"meta", moved)
    iloc = out.index(b"iloc") + 8
    assert out[iloc] == 0x44
    items, at = int.from_bytes(out[iloc + 2 : iloc + 4]), iloc + 4
    base = out[iloc + 1] >> 4
    version = out[iloc - 4]
    for _ in range(items):
        at += 2
        in_file = not version or out[at + 1] & 15 == 0  # else it counts from the start of a box
        at += (2 if version else 0) + 2 + base
        extents = int.from_bytes(out[at : at + 2])
        at += 2
        for _ in range(extents):
            if in_file:
                out[at : at + 4] = (int.from_bytes(out[at : at + 4]) + moved).to_bytes(4)
            at += 8
    return bytes(out)


class TestHeif:
    def test_pixels_size_and_time(self, heic: Heic) -> None:
        decoded = decode(heic(saved(photo(), "JPEG", quality=100, exif=exif())), uri="x")
        assert (decoded.width, decoded.height) == decoded.image.size == (64, 48)
        assert decoded.media_type == "image/heic"
        assert decoded.taken_at == TAKEN_AT
        assert error(decoded.image, photo()) < 4
        assert decoded.image.info == {}

    @pytest.mark.parametrize(("turns", "orientation"), [(1, 8), (2, 3), (3, 6)])
    def test_it_is_turned_once(self, heic: Heic, turns: int, orientation: int) -> None:
        """As phones write it: `irot`, and the same in EXIF once more."""
        data = heic(saved(lies(orientation, photo()), "JPEG", quality=100, exif=exif(orientation)))
        decoded = decode(with_property(data, b"irot", bytes([turns])), uri="x")
        assert (decoded.width, decoded.height) == decoded.image.size == (64, 48)
        assert error(decoded.image, photo()) < 4

    def test_it_is_mirrored(self, heic: Heic) -> None:
        data = with_property(heic(saved(photo(), "PNG")), b"imir", b"\1")
        assert error(decode(data, uri="x").image, photo().transpose(Image.Transpose.FLIP_LEFT_RIGHT)) < 4

    def test_10_bits(self, heic: Heic) -> None:
        ramp = np.asarray(photo()).astype(np.uint16) * 257
        from test_depth import RGB, png

        assert error(decode(heic(png(ramp, RGB), "-b", "10"), uri="x").image, photo()) < 4

    def test_alpha_shows_white(self, heic: Heic) -> None:
        see_through = photo().convert("RGBA")
        see_through.putalpha(Image.new("L", (64, 48), 0))
        assert np.asarray(decode(heic(saved(see_through, "PNG")), uri="x").image).min() >= 250

    def test_too_many_pixels_is_seen_in_the_header(self, heic: Heic) -> None:
        data = heic(saved(photo(), "PNG"))
        with pytest.raises(UnreadableImage, match=r"64 x 48 = 3,072 pixels.*IMGVEC_MAX_PIXELS") as caught:
            decode(data, uri="x", max_pixels=3000)
        assert caught.value.reason == "too many pixels"

    def test_cut_anywhere_it_is_refused(self, heic: Heic) -> None:
        data = heic(saved(photo(), "PNG"))
        reasons = []
        for end in range(16, len(data), max(1, len(data) // 40)):
            with pytest.raises(UnreadableImage) as caught:
                decode(data[:end], uri="x")
            reasons.append(caught.value.reason)
        assert set(reasons) <= {"truncated", "broken"}  # between two boxes it looks whole
        assert reasons.count("truncated") > 0.9 * len(reasons)

    def test_one_that_crashes_its_decoder_costs_itself_alone(self, heic: Heic) -> None:
        """An item type that is not text ends pi-heif 1.4.0 with a segmentation fault."""
        data = bytearray(heic(saved(photo(), "JPEG", exif=exif())))
        kind = data.index(b"Exif")
        data[kind : kind + 4] = b"\xff" * 4
        for _ in range(2):
            with pytest.raises(UnreadableImage) as caught:
                decode(bytes(data), uri="some.heic")
            assert (caught.value.uri, caught.value.reason) == ("some.heic", "broken")
        assert decode(heic(saved(photo(), "PNG")), uri="x").width == 64


@pytest.fixture
def jxl() -> Callable[..., bytes]:
    needs("pillow-jxl-plugin (extra `jxl`)", find_spec("pillow_jxl") is not None)
    import pillow_jxl  # noqa: F401 - registers its format

    return lambda image, **options: saved(image, "JXL", **options)


class TestJpegXl:
    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
    @pytest.mark.parametrize("container", [False, True])
    def test_pixels(self, jxl: Callable[..., bytes], mode: str, container: bool) -> None:
        decoded = decode(jxl(photo().convert(mode), lossless=True, use_container=container), uri="x")
        assert (decoded.width, decoded.height, decoded.media_type) == (64, 48, "image/jxl")
        assert error(decoded.image, photo().convert(mode)) == 0

    def test_16_bits_and_floats(self, jxl: Callable[..., bytes]) -> None:
        grey = np.asarray(photo().convert("L"))
        for image in (Image.fromarray(grey.astype(np.uint16) * 257), Image.fromarray(grey.astype(np.float32) / 255)):
            assert error(decode(jxl(image, lossless=True), uri="x").image, Image.fromarray(grey)) <= 1

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("orientation", [1, 3, 6])
    def test_exif_where_the_codestream_says_nothing(
        self, jxl: Callable[..., bytes], orientation: int, packed: bool
    ) -> None:
        stored = lies(orientation, photo())
        data = jxl(stored, exif=exif(orientation).tobytes(), lossless=True, compress_metadata=packed)
        assert (b"brob" in data) == packed
        decoded = decode(data, uri="x")
        assert (decoded.width, decoded.height, decoded.taken_at) == (64, 48, TAKEN_AT)
        assert error(decoded.image, photo()) == 0

    @pytest.mark.filterwarnings("ignore:Using JPEG reconstruction")
    def test_a_jpeg_packed_without_loss(self, jxl: Callable[..., bytes], tmp_path: Path) -> None:
        jpeg = tmp_path / "a.jpg"
        lies(6, photo()).save(jpeg, quality=100, exif=exif(6))
        with Image.open(jpeg) as opened:
            data = jxl(opened, lossless_jpeg=True)
        decoded = decode(data, uri="x")
        assert (decoded.width, decoded.height, decoded.taken_at) == (64, 48, TAKEN_AT)
        assert error(decoded.image, photo()) < 4

    def test_broken_exif_costs_what_it_says(self, jxl: Callable[..., bytes]) -> None:
        data = jxl(photo(), exif=exif(6).tobytes(), lossless=True)
        assert decode(data.replace(b"MM\0\x2a\0\0\0\x08", b"MM\0\x87\0\0\0\x08"), uri="x").width == 64

    def test_too_many_pixels_is_seen_before_anything_is_decoded(self, jxl: Callable[..., bytes]) -> None:
        for data in (jxl(photo()), jxl(photo(), use_container=True)):
            with pytest.raises(UnreadableImage, match="64 x 48") as caught:
                decode(data, uri="x", max_pixels=3000)
            assert caught.value.reason == "too many pixels"

    @pytest.mark.parametrize("size", [(8, 8), (64, 48), (63, 47), (1, 300), (1920, 1080), (40, 40), (2000, 3)])
    def test_sizes_in_the_header(self, jxl: Callable[..., bytes], size: tuple[int, int]) -> None:
        from imgvec.images.jxl import header

        assert header(jxl(Image.new("L", size), effort=1)) == (*size, 1)

    def test_the_orientation_of_the_codestream(self, tmp_path: Path) -> None:
        needs("pillow-jxl-plugin (extra `jxl`)", find_spec("pillow_jxl") is not None)
        needs("cjxl (Debian: libjxl-tools)", shutil.which("cjxl") is not None)
        lies(6, photo()).save(tmp_path / "a.jpg", quality=100, exif=exif(6))
        command = ["cjxl", str(tmp_path / "a.jpg"), str(tmp_path / "a.jxl"), "-j", "0"]
        subprocess.run(command, check=True, capture_output=True)
        decoded = decode((tmp_path / "a.jxl").read_bytes(), uri="x")
        assert (decoded.width, decoded.height) == decoded.image.size == (64, 48)
        assert error(decoded.image, photo()) < 6

    def test_cut_anywhere_it_is_refused(self, jxl: Callable[..., bytes]) -> None:
        for data in (jxl(photo()), jxl(photo(), use_container=True, exif=exif().tobytes())):
            for end in range(2, len(data) - 1, max(1, len(data) // 30)):
                with pytest.raises(UnreadableImage, match=r"truncated|broken|not an image"):
                    decode(data[:end], uri="x")


@pytest.fixture
def rawpy_is_there() -> None:
    needs("rawpy (extra `raw`)", find_spec("rawpy") is not None)


def jpeg(image: Image.Image, **options: object) -> bytes:
    return saved(image, "JPEG", quality=95, **options)


@pytest.mark.usefixtures("rawpy_is_there")
class TestRaw:
    SCENE = photo(640, 480)

    def test_a_development(self) -> None:
        decoded = decode(dng(self.SCENE), uri="x")
        assert (decoded.width, decoded.height) == (640, 480)
        assert min(decoded.image.size) > 200  # the thumbnail has 80 x 60
        assert (decoded.media_type, decoded.taken_at) == ("image/x-adobe-dng", TAKEN_AT)
        assert error(decoded.image.resize((64, 48)), self.SCENE.resize((64, 48))) < 25

    @pytest.mark.parametrize("min_side", [20, 100, 224])
    def test_half_its_size_where_that_is_enough(self, min_side: int) -> None:
        decoded = decode(dng(self.SCENE), uri="x", min_side=min_side)
        assert (decoded.width, decoded.height) == (640, 480)
        assert min(decoded.image.size) >= min(480, 2 * min_side)

    @pytest.mark.parametrize("preview", [False, True])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation(self, orientation: int, preview: bool) -> None:
        stored = lies(orientation, self.SCENE)
        decoded = decode(dng(stored, orientation=orientation, preview=jpeg(stored) if preview else None), uri="x")
        assert (decoded.width, decoded.height) == (640, 480)
        assert decoded.image.width > decoded.image.height
        assert error(decoded.image.resize((64, 48)), self.SCENE.resize((64, 48))) < (4 if preview else 25)

    def test_a_full_preview_is_the_camera_s_own_picture(self) -> None:
        own = photo(640, 480).transpose(Image.Transpose.FLIP_LEFT_RIGHT)  # so that they can be told apart
        decoded = decode(dng(self.SCENE, preview=jpeg(own)), uri="x")
        assert decoded.image.size == (640, 480)
        assert error(decoded.image, own) < 4

    @pytest.mark.parametrize("size", [(160, 120), (300, 225), (640, 360), (480, 480)])
    def test_a_preview_that_is_small_or_of_another_shape_is_not(self, size: tuple[int, int]) -> None:
        decoded = decode(dng(self.SCENE, preview=jpeg(Image.new("RGB", size, "red"))), uri="x")
        assert error(decoded.image.resize((64, 48)), self.SCENE.resize((64, 48))) < 25

    def test_a_preview_that_was_turned_already_is_not_turned_again(self) -> None:
        stored = lies(6, self.SCENE)
        for preview in (jpeg(self.SCENE), jpeg(stored, exif=exif(6))):
            decoded = decode(dng(stored, orientation=6, preview=preview), uri="x")
            assert decoded.image.size == (decoded.width, decoded.height) == (640, 480)
            assert error(decoded.image, self.SCENE) < 4

    def test_too_many_pixels_is_seen_before_anything_is_unpacked(self) -> None:
        with pytest.raises(UnreadableImage, match="640 x 480") as caught:
            decode(dng(self.SCENE), uri="x", max_pixels=300_000)
        assert caught.value.reason == "too many pixels"

    def test_one_whose_sensor_data_are_cut_off_is_refused(self) -> None:
        data = dng(self.SCENE)
        moved = bytearray(data)
        strip = data.index((273).to_bytes(2, "little") + (4).to_bytes(2, "little"))
        moved[strip + 8 : strip + 12] = (len(data) - 1000).to_bytes(4, "little")
        with pytest.raises(UnreadableImage, match="truncated"):
            decode(bytes(moved), uri="x")

    def test_one_that_libraw_cannot_read_is_called_by_its_name(self) -> None:
        with pytest.raises(UnreadableImage, match=r"camera RAW \(CR2\) that LibRaw [\d.]+ cannot read") as caught:
            decode(b"II\x2a\0\x10\0\0\0CR\2\0" + bytes(64), uri="x")
        assert caught.value.reason == "format not allowed"


@pytest.mark.usefixtures("rawpy_is_there")
class TestApart:
    @pytest.mark.slow
    def test_the_libraries_stay_out_of_this_process(self) -> None:
        code = """
import sys
sys.path.insert(0, sys.argv[1])
from test_native import dng, photo
from imgvec.images import decode
assert decode(dng(photo(640, 480)), uri="x").width == 640
assert not {"rawpy", "pi_heif", "pillow_jxl"} & sys.modules.keys()
"""
        command = [sys.executable, "-W", "error", "-c", code, str(TESTS)]
        result = subprocess.run(command, env=TESTED, capture_output=True, timeout=120)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")

    def test_a_helper_that_ended_while_it_waited_costs_no_image(self) -> None:
        decode(dng(photo(640, 480)), uri="x")
        [*idle] = apart._helpers._idle
        assert idle
        for helper in idle:
            helper._process.kill()
            helper._process.wait()
        assert decode(dng(photo(640, 480)), uri="x").width == 640

    def test_a_fork_has_helpers_of_its_own(self) -> None:
        scene = dng(photo(640, 480))
        decode(scene, uri="x")
        code = decode_in_a_fork(scene)
        assert code == 0
        assert decode(scene, uri="x").width == 640

    def test_threads_share_the_helpers(self) -> None:
        scenes = [dng(photo(640, 480 + 2 * n)) for n in range(6)]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda data: decode(data, uri="x").height, scenes))
        assert found == [480 + 2 * n for n in range(6)]

    def test_one_that_takes_too_long_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(apart, "SECONDS", 0.0)
        with pytest.raises(UnreadableImage, match="decoding took more than 0 s"):
            decode(dng(photo(640, 480)), uri="x")

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds what a process allocates")
    def test_a_helper_s_memory_is_bounded(self) -> None:
        code = """
from imgvec.images.apart import _bound_memory, _data_bytes
_bound_memory(_data_bytes() + (256 << 20))
bytearray(128 << 20)
try:
    bytearray(512 << 20)
except MemoryError:
    print("bounded")
"""
        result = subprocess.run([sys.executable, "-c", code], env=TESTED, capture_output=True, timeout=120)
        assert (result.returncode, result.stdout) == (0, b"bounded\n"), result.stderr

    def test_nonsense_from_a_helper_is_a_refusal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(apart._helpers, "ask", lambda question, data: ({"size": [1000, 1000]}, b"few"))
        with pytest.raises(UnreadableImage, match="returned garbage"):
            decode(dng(photo(640, 480)), uri="x")


def decode_in_a_fork(data: bytes) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(decode(data, uri="x").width != 640)
            apart._helpers.end()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
