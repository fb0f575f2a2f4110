# What clip-preprocess --augment makes of a stream, once more, by NumPy and Pillow: reads the stream before it
# and the one after it, and says how many images are the same.
# usage: augment.py BEFORE AFTER SIZE SEED SCALE_A SCALE_B RATIO_A RATIO_B PAD reflect|black FLIP ERASE
import io, math, sys
import msgpack, msgpack_numpy, numpy
from PIL import Image

before, after, reflect = sys.argv[1], sys.argv[2], sys.argv[10] == "reflect"
size, seed, pad, flip = (int(sys.argv[i]) for i in (3, 4, 9, 11))
scale_a, scale_b, ratio_a, ratio_b = map(float, sys.argv[5:9])
erase = float(sys.argv[12])
MEAN = [0.48145466, 0.4578275, 0.40821073]


def philox(counter, key):
    c, k, mask = list(counter), list(key), 0xffffffff
    for _ in range(10):
        a, b = 0xd2511f53 * c[0], 0xcd9e8d57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & mask, (a >> 32) ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + 0x9e3779b9) & mask, (k[1] + 0xbb67ae85) & mask]
    return c


class Random:
    def __init__(self, seed, name, epoch):
        hashed = 0xcbf29ce484222325
        for byte in name:
            hashed = (hashed ^ byte) * 0x100000001b3 % 2**64
        self.key, self.rest = (seed % 2**32, seed >> 32), (epoch, hashed % 2**32, hashed >> 32)
        self.block, self.numbers = 0, []

    def bits(self):
        if not self.numbers:
            a, b, c, d = philox((self.block, *self.rest), self.key)
            self.numbers, self.block = [b << 32 | a, d << 32 | c], self.block + 1
        return self.numbers.pop(0)

    def below(self, n):
        while (bits := self.bits()) < 2**64 % n:
            pass
        return bits % n

    def between(self, a, b):
        return a + (b - a) * (self.bits() >> 11) * 2.0**-53


def begin(random, size, side):
    return random.below(size - side + 1) if side <= size else -random.below(side - size + 1)


def crop(random, width, height):
    for _ in range(10):
        area = random.between(scale_a, scale_b) * width * height
        shape = math.exp(random.between(math.log(ratio_a), math.log(ratio_b)))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w and 0 < h and (scale_b > 1 or (w <= width and h <= height)):
            y = begin(random, height, h)
            return begin(random, width, w), y, w, h
    w, h = width, height
    if width / height < ratio_a:
        h = round(width / ratio_a)
    elif width / height > ratio_b:
        w = round(height * ratio_b)
    return (width - w) // 2, (height - h) // 2, w, h


def image_of(record):
    picture = Image.open(io.BytesIO(next(v for k, v in record.items() if k.endswith(("jpg", "png", "webp")))))
    random = Random(seed, record["__key__"].encode(), record.get("__epoch__", 1))
    width, height = picture.size
    dx = dy = 0
    if pad:
        dy, dx = random.below(2 * pad + 1) - pad, random.below(2 * pad + 1) - pad
    random_crop = scale_a != 1 or scale_b != 1
    x, y, w, h = crop(random, width, height) if random_crop else (0, 0, width, height)
    pixels = numpy.asarray(picture)
    margin = pad + max(w, h)
    edges = [(margin, margin), (margin, margin)] + [(0, 0)] * (pixels.ndim - 2)
    pixels = numpy.pad(pixels, edges, mode="reflect" if reflect else "constant")
    y, x = y + dy + margin, x + dx + margin
    picture = Image.fromarray(pixels[y:y + h, x:x + w])
    if random_crop:
        picture = picture.resize((size, size), Image.BICUBIC)
    else:
        short, long = min(w, h), max(w, h)
        sides = (size, size * long // short)
        picture = picture.resize(sides if w <= h else sides[::-1], Image.BICUBIC)
        left, top = (round((side - size) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + size, top + size))
    image = numpy.array(picture.convert("RGB")).transpose(2, 0, 1)
    if flip and random.below(2):
        image = image[:, :, ::-1].copy()
    if erase:
        side = round(erase * size)
        top, left = random.below(size) - side // 2, random.below(size) - side // 2
        for c in range(3):
            image[c, max(top, 0):max(top + side, 0), max(left, 0):max(left + side, 0)] = round(255 * MEAN[c])
    return image


def records(path):
    unpacker = msgpack.Unpacker(open(path, "rb"), object_hook=msgpack_numpy.decode, raw=False)
    return [record for record in unpacker if "__key__" in record]


same = 0
for record, made in zip(records(before), records(after), strict=True):
    if numpy.array_equal(image_of(record), made["image"]):
        same += 1
    else:
        print(record["__key__"], record.get("__epoch__"), "differs")
print(same, "images are the same")
