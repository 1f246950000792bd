#!/usr/bin/env python3
"""Splits a safetensors file into parts of at most 1 MB of data, case by case: split.py X.safetensors OUT_DIR writes
OUT_DIR/X-00001-of-0000n.safetensors. The tests read either form."""
import json
import struct
import sys
from pathlib import Path

LIMIT = 900_000


def write(path, data, tensors):
    header, offset = {}, 0
    for name, dtype, shape, begin, end in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + end - begin]}
        offset += end - begin
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data[b:e] for _, _, _, b, e in tensors))


def main():
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    raw = source.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    data = raw[8 + size:]
    cases = {}
    for name, entry in json.loads(raw[8:8 + size]).items():
        if name != "__metadata__":
            cases.setdefault(name.split(".")[0], []).append((name, entry["dtype"], entry["shape"], *entry["data_offsets"]))
    parts, room = [], 0
    for key in sorted(cases):
        tensors = sorted(cases[key], key=lambda t: (-{"F32": 4, "BF16": 2, "F16": 2}.get(t[1], 1), t[0]))
        bytes_here = sum(t[4] - t[3] for t in tensors)
        if bytes_here > room:
            parts.append([])
            room = LIMIT
        parts[-1] += tensors
        room -= bytes_here
    for i, tensors in enumerate(parts, 1):
        write(out / f"{source.stem}-{i:05d}-of-{len(parts):05d}.safetensors", data, tensors)


main()
