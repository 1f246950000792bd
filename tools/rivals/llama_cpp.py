"""llama.cpp's own quantizer (ggml_quantize_chunk of PyPI's xllamacpp): a GGUF file as `llama-quantize --pure` makes it without an
importance matrix, and the same values in float32 for programs that do not read its block types.

Rows that the type's blocks do not divide take the type that llama.cpp takes there (tensor_type_fallback of its quantizer): with
SmolLM2's 576 columns Q4_K becomes Q5_0, Q3_K and Q2_K become IQ4_NL, and the files are larger than their names say.
"""

import ctypes
import glob
import importlib.util
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import gguf
import numpy as np

Types = gguf.GGMLQuantizationType
FALLBACK = {Types.Q2_K: Types.IQ4_NL, Types.Q3_K: Types.IQ4_NL, Types.Q4_K: Types.Q5_0, Types.Q5_K: Types.Q5_1,
            Types.Q6_K: Types.Q8_0}
EMBEDDING = Types.Q8_0  # of tied ones, whose columns Q6_K does not divide; the same for every program here


def library() -> ctypes.CDLL:
    folder = importlib.util.find_spec("xllamacpp").submodule_search_locations[0]
    found = ctypes.CDLL(glob.glob(f"{folder}/*.so")[0])
    found.ggml_quantize_chunk.restype = ctypes.c_size_t
    found.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                          ctypes.c_int64, ctypes.c_void_p]
    return found


def fitting(kind: Types, columns: int) -> Types:
    return kind if columns % gguf.GGML_QUANT_SIZES[kind][0] == 0 else FALLBACK[kind]


def quantized(ggml: ctypes.CDLL, values: np.ndarray, kind: Types) -> np.ndarray:
    rows, columns = values.shape
    elements, block = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros((rows, columns // elements * block), np.uint8)
    size = ggml.ggml_quantize_chunk(kind.value, values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
    if size != out.nbytes:
        raise SystemExit(f"llama.cpp wrote {size} bytes of {kind.name} instead of {out.nbytes}")
    return out


def bits_of(kind_name: str, shapes: list[tuple[int, int]]) -> float:
    """Bits a weight of linears of these (rows, columns)."""
    bits = 0.0
    for rows, columns in shapes:
        elements, block = gguf.GGML_QUANT_SIZES[fitting(Types[kind_name], columns)]
        bits += rows * columns * 8 * block / elements
    return bits / sum(rows * columns for rows, columns in shapes)


def size_of(tensors: Iterable[tuple[str, Sequence[int], int, str]]) -> dict:
    """Bits a weight of the linears of a file, the bytes of these and the types used. tensors: name, shape, bytes, type of each."""
    size = weights = 0
    used = {}
    for name, shape, n_bytes, kind in tensors:
        if len(shape) == 2 and name.startswith("blk."):
            size, weights = size + int(n_bytes), weights + int(shape[0]) * int(shape[1])
            used[kind] = used.get(kind, 0) + 1
    return {"bits_per_weight": 8 * size / weights, "types": used, "linear_bytes": size}


def copy_metadata(reader: gguf.GGUFReader, path: Path) -> gguf.GGUFWriter:
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(field.name, field.contents(), kind,
                             field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    return writer


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(model: Path, kind_name: str, file: Path, values_file: Path) -> dict:
    """Writes `file` and, with every tensor in float32, `values_file`. Gives size_of."""
    ggml, kind = library(), Types[kind_name]
    reader = gguf.GGUFReader(model)
    blocks, plain = copy_metadata(reader, file), copy_metadata(reader, values_file)
    for tensor in reader.tensors:
        values = np.ascontiguousarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        values = values.reshape([int(n) for n in reversed(tensor.shape)])
        linear = values.ndim == 2 and tensor.name.startswith("blk.")
        if values.ndim < 2:
            blocks.add_tensor(tensor.name, values)
            plain.add_tensor(tensor.name, values)
            continue
        own = fitting(kind, values.shape[1]) if linear else EMBEDDING
        data = quantized(ggml, values, own)
        blocks.add_tensor(tensor.name, data, raw_dtype=own)
        # The embedding stays as it is where values are compared, as it does for the other methods.
        plain.add_tensor(tensor.name, gguf.quants.dequantize(data, own).astype(np.float32) if linear else values)
    finish(blocks)
    finish(plain)
    return size_of((tensor.name, tensor.shape, tensor.n_bytes, tensor.tensor_type.name) for tensor in gguf.GGUFReader(file).tensors)


if __name__ == "__main__":
    source, name, blocks, values = sys.argv[1:]
    print(json.dumps(quantize(Path(source), name, Path(blocks), Path(values))))
