"""The decoding policy (F9, F10), image by image, against Pillow and arithmetic."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from striate.data.decode import (
    UndecodableError,
    decode,
    read_header,
    resized,
    unify,
    wrong_ending,
)

LIMIT = 100.0
RNG = np.random.default_rng(0)


def save(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def smooth(height=20, width=30):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 8, y * 12, (x + y) * 5], axis=2).clip(0, 255).astype(np.uint8)


def test_grey_and_colour_have_one_and_three_channels():
    assert decode(save(Image.fromarray(smooth())), LIMIT).shape == (20, 30, 3)
    assert decode(save(Image.fromarray(smooth()[:, :, 0])), LIMIT).shape == (20, 30, 1)


def test_16_bit_grey_is_linear():
    ramp = np.linspace(0, 65535, 1000).astype(np.uint16)[None]
    got = decode(save(Image.fromarray(ramp)), LIMIT)[0, :, 0]
    assert np.abs(got / 255 - ramp[0] / 65535).max() <= 1 / 255


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bit_formats(form):
    image = Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16))
    assert decode(save(image, form), LIMIT)[0, :, 0].tolist() == [0, 128, 255]


def test_float_tiff_in_range_or_refused():
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert decode(save(image, "TIFF"), LIMIT)[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(UndecodableError, match="expected 0 to 1"):
        decode(save(Image.fromarray(np.array([[3.0]], dtype=np.float32)), "TIFF"), LIMIT)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(mode):
    image = Image.new(mode, (2, 1))
    opaque, clear = ((10, 20, 30, 255), (10, 20, 30, 0)) if mode == "RGBA" else ((10, 255), (10, 0))
    image.putpixel((0, 0), opaque)
    image.putpixel((1, 0), clear)
    got = decode(save(image), LIMIT)
    assert got[0, 0].tolist() == ([10, 20, 30] if mode == "RGBA" else [10])
    assert set(got[0, 1].tolist()) == {255}


def test_palette_with_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    got = decode(save(image, transparency=1), LIMIT)
    assert got[0, 0].tolist() == [255, 0, 0]
    assert got[0, 1].tolist() == [255, 255, 255]
    assert read_header(save(image), LIMIT).channels == 3


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colour_spaces_become_rgb(mode):
    source = Image.fromarray(smooth())
    image = source.convert(mode) if mode != "LAB" else Image.new("LAB", (30, 20), (128, 128, 128))
    got = decode(save(image, "JPEG" if mode != "LAB" else "TIFF"), LIMIT)
    assert got.shape == (20, 30, 3)
    if mode != "LAB":
        assert np.abs(got.astype(int) - smooth()).mean() < 12


def test_one_bit():
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert decode(save(image), LIMIT)[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_frame_of_many(form):
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    options = {"lossless": True} if form == "WEBP" else {}
    got = decode(save(first, form, save_all=True, append_images=[second], **options), LIMIT)
    assert got[4, 4].tolist() == [250, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    """The eight ways a camera can be held, against NumPy's flips."""
    upright = smooth()
    undo = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a), 7:
        lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    data = save(stored, "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data, LIMIT), upright)
    header = read_header(data, LIMIT)
    assert (header.width, header.height) == (30, 20)


def test_a_bomb_is_refused_by_its_header():
    chunk = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    header = b"IHDR" + chunk
    data = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
    )
    idat = b"IDAT" + zlib.compress(bytes(1000))
    data += struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(UndecodableError, match="12000×12000 is 144 megapixels"):
        decode(data, LIMIT)
    assert time.perf_counter() - start < 0.1
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_odd_shapes(size):
    pixels = decode(save(Image.new("RGB", size, (9, 9, 9))), LIMIT)
    for resize in ("crop", "squash", "pad"):
        assert unify(pixels, 32, 3, resize).shape == (32, 32, 3)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_no_image(data):
    with pytest.raises(UndecodableError):
        decode(data, LIMIT)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_truncated(form):
    whole = save(Image.fromarray(RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)), form)
    with pytest.raises(UndecodableError):
        decode(whole[: len(whole) // 2], LIMIT)


def test_mutants_never_crash():
    """Any damage is either an UndecodableError or pixels; never another exception."""
    rng = np.random.default_rng(1)
    originals = [
        save(Image.fromarray(smooth()), f)
        for f in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
    ]
    for data in originals:
        for _ in range(40):
            mutant = bytearray(data)
            for place in rng.integers(0, len(mutant), 8):
                mutant[place] = rng.integers(0, 256)
            try:
                assert decode(bytes(mutant), 1.0).dtype == np.uint8
            except UndecodableError as error:
                assert str(error)


def test_wrong_ending():
    header = read_header(save(Image.fromarray(smooth()), "PNG"), LIMIT)
    assert wrong_ending("a/b.PNG", header) == ""
    assert (
        wrong_ending("a/b.jpg", header) == "wrong extension: the content is PNG, the name says .jpg"
    )


def test_unify_crop_keeps_the_aspect():
    wide = smooth(20, 40)
    square = Image.fromarray(wide).crop((10, 0, 30, 20))
    expected = square.resize((10, 10), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(unify(wide, 10, 3, "crop"), np.asarray(expected))


def test_unify_pad_is_centred_and_squash_is_whole():
    white = np.full((10, 20, 1), 255, dtype=np.uint8)
    padded = unify(white, 20, 1, "pad")[:, :, 0]
    assert padded[:5].max() == 0
    assert padded[5:15].min() == 255
    assert padded[15:].max() == 0
    assert unify(white, 8, 1, "squash").min() == 255


def test_unify_channels():
    grey = np.full((4, 4, 1), 77, dtype=np.uint8)
    assert unify(grey, 4, 3, "crop").tolist() == np.full((4, 4, 3), 77).tolist()
    colour = np.array([[[255, 0, 0]]], dtype=np.uint8)
    assert unify(colour, 1, 1, "crop")[0, 0, 0] == round(0.299 * 255)


def test_shrinking_averages():
    """Antialiasing: one-pixel stripes become grey, they do not alias."""
    stripes = np.zeros((64, 64, 1), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(unify(stripes, 8, 1, "squash").astype(int) - 127).max() <= 12


def test_large_jpegs_are_decoded_reduced_and_nearly_the_same():
    """Never below twice the wanted side, within a grey level of the full decoding on average."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    data = save(small.resize((1600, 1200), Image.Resampling.BICUBIC), "JPEG", quality=90)
    full, reduced = decode(data, LIMIT), decode(data, LIMIT, 128)
    assert full.shape == (1200, 1600, 3)
    assert min(reduced.shape[:2]) >= 256
    assert reduced.size < full.size / 4
    difference = unify(full, 128, 3, "crop").astype(int) - unify(reduced, 128, 3, "crop")
    assert np.abs(difference).mean() < 1
    assert decode(data, LIMIT, 400).shape == full.shape


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
@pytest.mark.parametrize("grey", [False, True])
def test_the_direct_jpeg_decoder_gives_pillow_s_pixels(options, grey):
    image = Image.fromarray(RNG.integers(0, 256, (37, 61, 3), dtype=np.uint8))
    data = save(image.convert("L") if grey else image, "JPEG", quality=70, **options)
    with Image.open(io.BytesIO(data)) as reference:
        np.testing.assert_array_equal(decode(data, LIMIT).squeeze(), np.asarray(reference))


def test_the_resizer_is_pillow_s_within_a_level():
    pixels = RNG.integers(0, 256, (90, 70, 3), dtype=np.uint8)
    theirs = Image.fromarray(pixels).resize((33, 41), Image.Resampling.BILINEAR)
    assert np.abs(resized(pixels, 41, 33).astype(int) - np.asarray(theirs)).max() <= 1


def test_a_png_s_orientation_behind_its_pixels_is_seen():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(Image.fromarray(smooth()), "PNG", exif=exif)
    assert read_header(data, LIMIT).width == 20
    assert decode(data, LIMIT).shape == (30, 20, 3)


def test_an_orientation_in_a_jpeg_s_xmp_is_seen():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/>'
    segment = b"http://ns.adobe.com/xap/1.0/\0" + xmp + b"</rdf:RDF></x:xmpmeta>"
    plain = save(Image.fromarray(smooth()), "JPEG")
    data = plain[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + plain[2:]
    assert decode(plain, LIMIT).shape == (20, 30, 3)
    assert decode(data, LIMIT).shape == (30, 20, 3)
