#!/usr/bin/python3
"""Makes the pictures of this folder, and expected.txt and resized.txt: what Pillow 9.4 and torchvision 0.14 make of
them.

Run with Debian 12's python3-pil and python3-torchvision. Each line of expected.txt is FILE SIZE ORDER and the SHA-256
of the [3, SIZE, SIZE] bytes, or the word refused. Those of resized.txt, FILE HEIGHT WIDTH RESIZE INTERPOLATION FILL
ORDER HASH, are of open_clip's other ways to resize. Two kinds are ours (DEVIATIONS.md): 16-bit gray, which is read as
its high bytes, and palette-none-transparent.png. The odd samplings come from libjpeg-turbo's cjpeg."""
import hashlib
import io
import os
import random
import struct
import subprocess
import warnings
import zlib

import numpy
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize, functional

warnings.simplefilter("ignore")
os.chdir(os.path.dirname(os.path.abspath(__file__)))
chance = random.Random(5)
files = {}


def colours(width, height, channels):
    """Smooth enough for JPEG, with an edge, all values, no symmetry."""
    y, x = numpy.mgrid[:height, :width]
    planes = [(x * (7 + 3 * c) + y * (5 - c) + 40 * c + 90 * (x > y)) % 256 for c in range(channels)]
    return numpy.stack(planes, -1).astype(numpy.uint8)


# --- PNG, chunk by chunk ---

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
ONE_PASS = [(0, 0, 1, 1)]


def chunk(name, data, wrong_sum=False):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ wrong_sum)


def header(width, height, depth, colour, interlaced=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def rows(width, height, bits, interlaced=0):
    """Raw rows of noise, with every filter."""
    out = b""
    for x, y, dx, dy in PASSES if interlaced else ONE_PASS:
        w, h = len(range(x, width, dx)), len(range(y, height, dy))
        for i in range(h if w else 0):
            out += bytes([(i + 4) % 5]) + chance.randbytes((w * bits + 7) // 8)
    return out


def data(raw):
    return chunk(b"IDAT", zlib.compress(raw, 9))


def png(name, *chunks, end=True):
    files[name + ".png"] = SIGNATURE + b"".join(chunks) + (chunk(b"IEND", b"") if end else b"")


def palette(entries):
    return chunk(b"PLTE", chance.randbytes(3 * entries))


for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
    for depth in depths:
        for interlaced in (0, 1):
            bits = SAMPLES[colour] * depth
            png("%s%d%s" % ({0: "gray", 2: "rgb", 3: "palette", 4: "gray-alpha", 6: "rgba"}[colour], depth,
                            "-adam7" * interlaced),
                header(13, 10, depth, colour, interlaced), palette(1 << depth) if colour == 3 else b"",
                data(rows(13, 10, bits, interlaced)))
png("one-pixel-adam7", header(1, 1, 8, 2, 1), data(rows(1, 1, 24, 1)))
png("column", header(1, 40, 8, 2), data(rows(1, 40, 24)))
png("row-palette", header(40, 1, 4, 3), palette(16), data(rows(40, 1, 4)))
png("gray-transparent", header(12, 9, 8, 0), chunk(b"tRNS", b"\0\7"), data(rows(12, 9, 8)))
png("rgb-transparent", header(12, 9, 8, 2), chunk(b"tRNS", b"\0\7\0\7\0\7"), data(rows(12, 9, 24)))
png("palette-transparent", header(12, 9, 8, 3), palette(256), chunk(b"tRNS", bytes(range(200))), data(rows(12, 9, 8)))
png("palette-one-transparent", header(12, 9, 2, 3), palette(4), chunk(b"tRNS", b"\xff\0"), data(rows(12, 9, 2)))
png("palette-short", header(12, 9, 8, 3), palette(9), data(rows(12, 9, 8)))
png("palette-none", header(12, 9, 8, 3), data(rows(12, 9, 8)))
png("palette-none-transparent", header(12, 9, 8, 3), chunk(b"tRNS", b"\xff\0"), data(rows(12, 9, 8)))
png("palette-long", header(12, 9, 8, 3), palette(257), data(rows(12, 9, 8)))

rgb = header(12, 9, 8, 2)
raw = rows(12, 9, 24)
packed = zlib.compress(raw, 9)
png("ancillary", rgb, chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"iCCP", b"p\0\0" + zlib.compress(b"profile")),
    chunk(b"tEXt", b"key\0text"), chunk(b"zTXt", b"key\0\0no stream"), chunk(b"vpAg", b"private"), data(raw))
png("split-data", rgb, *(chunk(b"IDAT", packed[i:i + 50]) for i in range(0, len(packed), 50)), chunk(b"IDAT", b""))
png("sum-of-data-wrong", rgb, chunk(b"IDAT", packed, True))
png("sum-of-header-wrong", header(12, 9, 8, 2)[:-1] + b"?", data(raw))
png("sum-behind-data-wrong", rgb, data(raw), chunk(b"tEXt", b"key\0text", True))
png("no-end", rgb, data(raw), end=False)
png("junk-behind-data", rgb, data(raw), b"\0\0\0\0no name", end=False)
png("cut-behind-data", rgb, data(raw), chunk(b"tEXt", b"key\0text")[:-6], end=False)
png("stream-sum-wrong", rgb, chunk(b"IDAT", packed[:-1] + b"?"))
png("stream-sum-missing", rgb, chunk(b"IDAT", packed[:-4]))
png("stream-too-long", rgb, data(raw + b"more"))
png("stream-ends-with-row", rgb, data(raw[:37 * 4]))
png("stream-ends-in-row", rgb, data(raw[:37 * 4 + 9]))
png("stream-ends-with-row-adam7", header(12, 9, 8, 2, 1), data(rows(12, 9, 24, 1)[:2 * 7 + 2 * 4 + 10]))
png("stream-cut", rgb, chunk(b"IDAT", packed[:-30]))
png("window-lies", rgb, chunk(b"IDAT", b"\x08\x1d" + packed[2:]))
png("filter-unknown", rgb, data(b"\5" + raw[1:]))
png("depth-unknown", header(12, 9, 3, 2), data(raw))
png("size-zero", header(0, 9, 8, 2), data(raw))
png("transparency-short", rgb, chunk(b"tRNS", b"\0\7\0\7"), data(raw))
png("text-too-long", rgb, chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes((1 << 20) + 1))), data(raw))
png("data-unknown", rgb, chunk(b"JDAT", packed))
png("data-before-header", data(raw[:37]), rgb, data(raw))
png("huge", header(60000, 60000, 8, 2), data(bytes(1000)))


def frame(sequence, width, height, x, y):
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", sequence, width, height, x, y, 1, 10, 1, 0))


animation = chunk(b"acTL", struct.pack(">II", 2, 0))
small = rows(5, 4, 24)
png("animation", rgb, animation, frame(0, 12, 9, 0, 0), data(raw), frame(1, 5, 4, 1, 1),
    chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(small)))
png("animation-default", rgb, animation, data(raw), frame(0, 5, 4, 1, 1),
    chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(small)))
png("animation-frame-first", rgb, animation, frame(0, 5, 4, 6, 3),
    chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(small)))
png("animation-out-of-order", rgb, animation, frame(1, 12, 9, 0, 0), data(raw))
png("animation-frame-outside", rgb, animation, frame(0, 12, 9, 1, 0), data(raw))

# --- JPEG ---


def jpeg(name, mode, width, height, **options):
    out = io.BytesIO()
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    picture = colours(width, height, channels)
    Image.fromarray(picture[..., 0] if channels == 1 else picture, mode).save(out, "JPEG", **options)
    files[name + ".jpg"] = out.getvalue()
    return out.getvalue()


def cjpeg(name, width, height, *options):
    picture = b"P6 %d %d 255\n" % (width, height) + colours(width, height, 3).tobytes()
    files[name + ".jpg"] = subprocess.run(["cjpeg", *options], input=picture, capture_output=True, check=True).stdout


jpeg("gray", "L", 23, 17)
jpeg("progressive", "RGB", 33, 19, progressive=True)
jpeg("progressive-gray", "L", 17, 33, progressive=True)
jpeg("444", "RGB", 19, 23, subsampling=0)
jpeg("422", "RGB", 21, 30, subsampling=1)
plain = jpeg("420", "RGB", 37, 20, subsampling=2)
jpeg("one-pixel", "RGB", 1, 1)
jpeg("profile", "RGB", 9, 9, icc_profile=b"not a profile")
cmyk = jpeg("cmyk", "CMYK", 18, 14)
jpeg("cmyk-progressive", "CMYK", 14, 18, progressive=True)
adobe = cmyk.index(b"\xff\xee")
files["cmyk-without-adobe.jpg"] = cmyk[:adobe] + cmyk[adobe + 16:]
files["ycck.jpg"] = cmyk[:adobe + 15] + b"\2" + cmyk[adobe + 16:]  # the same data, said to be YCCK
adobe_rgb = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"
files["adobe-rgb.jpg"] = plain[:2] + adobe_rgb + plain[20:]  # without JFIF: the three components are R, G, B
cjpeg("restart", 40, 24, "-restart", "1B")
cjpeg("440", 21, 22, "-sample", "1x2")
cjpeg("411", 35, 12, "-sample", "4x1")
cjpeg("odd-sampling", 20, 20, "-sample", "2x2,1x2,2x1")
cjpeg("arithmetic", 24, 24, "-arithmetic")
cjpeg("wide-tables", 24, 24, "-quality", "1")
files["junk-before-marker.jpg"] = plain[:20] + b"junk\xff\0\xff\xff" + plain[20:]
files["junk-behind.jpg"] = plain + b"junk"
files["no-end.jpg"] = plain[:-2]
large = jpeg("large", "RGB", 64, 48, quality=98)
files["half.jpg"] = large[:len(large) // 2]
files["progressive-no-end.jpg"] = files["progressive.jpg"][:-2]
files["jfif-short.jpg"] = plain[:2] + b"\xff\xe0\0\6JFIF" + plain[20:]
files["exif-short.jpg"] = plain[:2] + b"\xff\xe1\0\x0eExif\0\0II\x2a\0\x08\0" + plain[20:]
files["exif-nonsense.jpg"] = plain[:2] + b"\xff\xe1\0\x0eExif\0\0nonsen" + plain[20:]
files["marker-unknown.jpg"] = plain[:20] + b"\xff\1" + plain[20:]
frame_at = plain.index(b"\xff\xc0")
files["bits-12.jpg"] = plain[:frame_at + 4] + b"\x0c" + plain[frame_at + 5:]
files["two-frames.jpg"] = plain[:frame_at] + plain[frame_at:frame_at + 19] * 2 + plain[frame_at + 19:]
files["data-broken.jpg"] = plain[:-40] + b"\xff\xd0" * 10 + plain[-20:]

# --- WebP ---


def webp(name, mode, width, height, frames=1, **options):
    out = io.BytesIO()
    pictures = [Image.fromarray(colours(width, height, len(mode))[:, ::1 - 2 * i], mode) for i in range(frames)]
    if frames > 1:
        options.update(save_all=True, append_images=pictures[1:])
    pictures[0].save(out, "WEBP", **options)
    files[name + ".webp"] = out.getvalue()
    return out.getvalue()


lossy = webp("lossy", "RGB", 26, 19)
webp("lossless", "RGB", 15, 28, lossless=True)
webp("lossy-alpha", "RGBA", 20, 20)
webp("lossless-alpha", "RGBA", 21, 11, lossless=True)
webp("animated", "RGBA", 16, 14, 2)
webp("profile", "RGB", 12, 12, icc_profile=b"not a profile")
files["cut.webp"] = lossy[:-9]
files["kind-unknown.webp"] = lossy.replace(b"VP8 ", b"VP8Z")

files["empty.jpg"] = b""
files["text.jpg"] = b"not a picture"


# --- what comes of them ---

def read(content):
    picture = Image.open(io.BytesIO(content))
    if picture.mode == "I":
        picture = Image.fromarray((numpy.asarray(picture) >> 8).astype(numpy.uint8))
    if picture.mode == "P" and not picture.palette:
        picture.info.pop("transparency", None)  # which convert("RGB") would trip over
    return picture


def hashed(picture):
    return hashlib.sha256(numpy.asarray(picture).transpose(2, 0, 1).tobytes()).hexdigest()


def reference(content, size, order):
    picture = read(content)
    if order == "openai":
        picture = CenterCrop(size)(Resize(size, InterpolationMode.BICUBIC)(picture)).convert("RGB")
    else:
        picture = Resize(size, InterpolationMode.BICUBIC)(picture.convert("RGB"))
        left, top = (picture.width - size) // 2, (picture.height - size) // 2
        picture = picture.crop((left, top, left + size, top + size))
    return hashed(picture)


def resized(content, height, width, resize, interpolation, fill, order):
    picture = read(content)
    if order == "convert-first":
        picture = picture.convert("RGB")
    filter = InterpolationMode(interpolation)
    ratios = picture.height / height, picture.width / width
    if resize == "squash":
        picture = functional.resize(picture, (height, width), filter)
    elif resize == "shortest" and height == width:
        picture = functional.resize(picture, height, filter)
    elif resize == "shortest":
        sides = [round(side / min(ratios)) for side in (picture.height, picture.width)]
        picture = functional.resize(picture, sides, InterpolationMode.BICUBIC)
    else:
        sides = [round(side / max(ratios)) for side in (picture.height, picture.width)]
        picture = functional.resize(picture, sides, filter)
        below, beside = height - picture.height, width - picture.width
        picture = functional.pad(picture, [beside // 2, below // 2, (beside + 1) // 2, (below + 1) // 2], fill)
    top, left = (picture.height - height) / 2, (picture.width - width) / 2
    top, left = (int(top), int(left)) if order == "convert-first" else (round(top), round(left))
    return hashed(picture.crop((left, top, left + width, top + height)).convert("RGB"))


FORMS = [
    (9, 9, "shortest", "bilinear", 0, "openai"),
    (9, 9, "shortest", "bilinear", 0, "convert-first"),
    (12, 20, "shortest", "bilinear", 0, "openai"),
    (9, 9, "squash", "bilinear", 0, "openai"),
    (9, 16, "squash", "bicubic", 0, "convert-first"),
    (16, 11, "longest", "bilinear", 2, "openai"),
    (13, 13, "longest", "bicubic", 255, "openai"),
    (16, 11, "longest", "bicubic", 40, "convert-first"),
]


with open("expected.txt", "w") as expected, open("resized.txt", "w") as expected_resized:
    for name, content in sorted(files.items()):
        with open(name, "wb") as file:
            file.write(content)
        for size, order in ((7, "openai"), (9, "openai"), (9, "convert-first"), (32, "openai"), (32, "convert-first")):
            try:
                result = reference(content, size, order)
            except Exception:
                result = "refused"
            print(name, size, order, result, file=expected)
            if result == "refused":
                break
        else:
            for form in FORMS:
                try:
                    result = resized(content, *form)
                except ValueError:  # resized it would have no width
                    result = "refused"
                print(name, *form, result, file=expected_resized)
