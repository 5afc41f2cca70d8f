"""Arrays in the JSON files of golden values: dtype, shape, and base64 of little-endian bytes."""

import base64

import numpy as np

import inputs


def packed(array):
    array = np.asarray(array)
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
    }


def unpacked(record):
    dtype = inputs.DTYPES.get(record["dtype"]) or np.dtype(record["dtype"])
    return np.frombuffer(base64.b64decode(record["data"]), dtype).reshape(record["shape"])
