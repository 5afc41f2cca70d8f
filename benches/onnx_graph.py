"""ONNX models of one or two nodes, written as protobuf bytes without the onnx package."""

from __future__ import annotations

# onnx.TensorProto.DataType
_TYPES = {"float32": 1, "float16": 10, "float64": 11}
_OPERATORS = {
    "softmax": ("Softmax",),
    "log_softmax": ("LogSoftmax",),
    "softmin": ("Neg", "Softmax"),
    "logsumexp": ("ReduceLogSumExp",),
}
_IR_VERSION, _OPSET = 8, 13


def model(op: str, dtype: str, shape: tuple[int, ...], dim: int) -> bytes:
    """A model from `x` to `y`, at operator set 13: the last with axes as attributes throughout."""
    operators = _OPERATORS[op]
    names = ["x", *(f"t{i}" for i in range(len(operators) - 1)), "y"]
    nodes = b""
    for operator, source, target in zip(operators, names[:-1], names[1:], strict=True):
        node = _bytes(1, source) + _bytes(2, target) + _bytes(4, operator)
        if operator == "ReduceLogSumExp":
            axes = _bytes(1, "axes") + _number(8, dim) + _number(20, 7)
            keep = _bytes(1, "keepdims") + _number(3, 0) + _number(20, 2)
            node += _bytes(5, axes) + _bytes(5, keep)
        elif operator != "Neg":
            node += _bytes(5, _bytes(1, "axis") + _number(3, dim) + _number(20, 2))
        nodes += _bytes(1, node)
    dims = list(shape)
    source = _value("x", dtype, dims)
    if op == "logsumexp":
        del dims[dim]
    target = _value("y", dtype, dims)
    graph = nodes + _bytes(2, "g") + _bytes(11, source) + _bytes(12, target)
    opset = _bytes(1, "") + _number(2, _OPSET)
    return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, opset)


def _value(name: str, dtype: str, dims: list[int]) -> bytes:
    shape = b"".join(_bytes(1, _number(1, n)) for n in dims)
    tensor = _number(1, _TYPES[dtype]) + _bytes(2, shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


def _varint(n: int) -> bytes:
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data
