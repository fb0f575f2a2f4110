"""Makes files that lie, for tests/hostile.bats, in the current folder.

hostile.py pictures            a PNG that claims 60,000 x 60,000 pixels, one whose data inflates without end
hostile.py safetensors FILE    FILE, a safetensors model, with a header that is not true: one file a lie
hostile.py zips                PyTorch files whose zip directory is not true, and pickles that would run code
"""
import io, json, pickle, struct, sys, zipfile, zlib


def write(name, *parts):
    with open(name, "wb") as file:
        for part in parts:
            file.write(part)


def pictures():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(width, height, data):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    write("wide.png", png(60000, 60000, zlib.compress(bytes(1000))))
    write("bomb.png", png(8, 8, zlib.compress(bytes(200_000_000), 9)))
    write("zero.png", png(0, 8, zlib.compress(bytes(9))))


def safetensors(path):
    with open(path, "rb") as file:
        blob = file.read()
    size = struct.unpack("<Q", blob[:8])[0]
    header, data = json.loads(blob[8:8 + size]), blob[8 + size:]
    first, second = [name for name in header if name != "__metadata__"][:2]

    def lie(name, change):
        lying = json.loads(json.dumps(header))
        text = change(lying) or json.dumps(lying).encode()
        write("lie-" + name + ".safetensors", struct.pack("<Q", len(text)), text, data)

    def put(tensor, **entries):
        return lambda lying: lying[tensor].update(entries)

    begin, end = header[first]["data_offsets"]
    lie("overlap", put(second, data_offsets=header[first]["data_offsets"]))
    lie("beyond", put(first, data_offsets=[begin, end + 2**40]))
    lie("overflow", put(first, data_offsets=[2**63, 2**63 + end - begin]))
    lie("huge-offset", put(first, data_offsets=[begin, 2**64 - 1]))
    lie("past-u64", put(first, data_offsets=[begin, 10**30]))
    lie("backwards", put(first, data_offsets=[end, begin]))
    lie("negative", put(first, data_offsets=[-end, begin]))
    lie("one-offset", put(first, data_offsets=[begin]))
    lie("shape-overflow", put(first, shape=[2**32, 2**32, 1]))
    lie("shape-big", put(first, shape=[2**40]))
    lie("shape-negative", put(first, shape=[-1, -4]))
    lie("shape-nested", put(first, shape=[[1]]))
    lie("shape-text", put(first, shape="many"))
    lie("dimensions", put(first, shape=[1] * 100000))
    lie("dtype", put(first, dtype="F31"))
    lie("dtype-number", put(first, dtype=32))
    lie("no-shape", lambda lying: lying[first].pop("shape") and None)
    lie("missing", lambda lying: lying.pop(first) and None)
    lie("not-json", lambda lying: b"{]")
    lie("no-object", lambda lying: b"[1, 2]")
    lie("deep", lambda lying: b"[" * 100000)
    lie("deep-entry", lambda lying: b'{"a": ' * 100000)
    lie("empty-object", lambda lying: b"{}")
    lie("twice", lambda lying: (json.dumps(header)[:-1] + ', "%s": %s}' % (first, json.dumps(header[first]))).encode())
    write("lie-length.safetensors", struct.pack("<Q", 2**63), blob[8:])
    write("lie-length-max.safetensors", struct.pack("<Q", 2**64 - 1), blob[8:])
    write("lie-length-past.safetensors", struct.pack("<Q", len(blob)), blob[8:])
    write("lie-only-length.safetensors", struct.pack("<Q", size))
    write("lie-cut-header.safetensors", blob[:8 + size // 2])
    write("lie-cut-data.safetensors", blob[:-1])
    write("lie-cut-all-data.safetensors", blob[:8 + size])
    write("lie-seven.safetensors", blob[:7])
    write("lie-nothing.safetensors")


class Runs:
    """A pickle that runs code when it is read as Python reads it."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def archive(members, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name, data in members.items():
            file.writestr("archive/" + name, data)
    return bytearray(out.getvalue())


def zips():
    import os
    plain = {"data.pkl": pickle.dumps({"x": 1}, 2), "version": b"3\n", "data/0": bytes(64)}
    whole = archive(plain)
    directory = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")

    def lie(name, blob, offset, form, *values):
        lying = bytearray(blob)
        struct.pack_into(form, lying, offset, *values)
        write("lie-" + name + ".pt", lying)

    lie("zip-sizes", whole, directory + 20, "<II", 0xfffffff0, 0xfffffff0)
    lie("zip-zip64", whole, directory + 20, "<II", 0xffffffff, 0xffffffff)
    lie("zip-local", whole, directory + 42, "<I", 0xfffffff0)
    lie("zip-local-end", whole, directory + 42, "<I", len(whole) - 4)
    lie("zip-name", whole, directory + 28, "<H", 0xffff)
    lie("zip-entries", whole, end + 8, "<HH", 0xffff, 0xffff)
    lie("zip-directory", whole, end + 16, "<I", 0xfffffff0)
    lie("zip-directory-size", whole, end + 12, "<I", 0xfffffff0)
    write("lie-zip-cut.pt", whole[:directory + 10])
    write("lie-zip-half.pt", whole[:len(whole) // 2])
    write("lie-zip-bomb.pt", archive({**plain, "data.pkl": bytes(300_000_000)}, zipfile.ZIP_DEFLATED))
    write("lie-zip-empty.pt", archive({}))
    for protocol in range(5):
        runs = {**plain, "data.pkl": pickle.dumps(Runs(os.system, "touch ran"), protocol)}
        write("lie-runs-%d.pt" % protocol, archive(runs))
    write("lie-eval.pt", archive({**plain, "data.pkl": pickle.dumps(Runs(eval, "open('ran', 'w')"), 2)}))
    write("lie-stack.pt", archive({**plain, "data.pkl": b"\x80\x02" + b"(" * 1000000 + b"."}))
    write("lie-long.pt", archive({**plain, "data.pkl": b"\x80\x02\x8b\xff\xff\xff\x7f" + b"."}))
    write("lie-text.pt", archive({**plain, "data.pkl": b"\x80\x02X\xff\xff\xff\xffab."}))
    write("lie-memo.pt", archive({**plain, "data.pkl": b"\x80\x02}r\xff\xff\xff\xffj\xff\xff\xff\xff."}))
    write("lie-memo-unset.pt", archive({**plain, "data.pkl": b"\x80\x02h\x05."}))
    write("lie-dup.pt", archive({**plain, "data.pkl": b"\x80\x02]" + b"2" * 100000 + b"."}))
    write("lie-self.pt", archive({**plain, "data.pkl": b"\x80\x02]q\x00h\x00a."}))
    write("lie-none.pt", archive({**plain, "data.pkl": b""}))
    write("lie-raw-runs.pt", pickle.dumps(Runs(os.system, "touch ran"), 2))


if __name__ == "__main__":
    {"pictures": pictures, "safetensors": safetensors, "zips": zips}[sys.argv[1]](*sys.argv[2:])
