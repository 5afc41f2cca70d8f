"""What the types of the public functions are: mypy and pyright read this, nothing runs it."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastsoftmax
import fastsoftmax.functional as F
import fastsoftmax.nn as nn

Matrix32 = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Any_ = np.ndarray[Any, Any]

single: Matrix32 = np.zeros((2, 3), np.float32)
double: NDArray[np.float64] = np.zeros((2, 3))
half: NDArray[np.float16] = np.zeros((2, 3), np.float16)
wide: NDArray[np.longdouble] = np.zeros((2, 3), np.longdouble)
whole: NDArray[np.int8] = np.zeros((2, 3), np.int8)
truth: NDArray[np.bool_] = np.zeros((2, 3), np.bool_)
turned: NDArray[np.complex128] = np.zeros((2, 3), np.complex128)
classes: NDArray[np.int64] = np.zeros(2, np.int64)

# The shape and the type stay.
assert_type(F.softmax(single, 1), Matrix32)
assert_type(F.log_softmax(single, dim=(0, 1)), Matrix32)
assert_type(F.softmin(single, -1, where=truth), Matrix32)
assert_type(fastsoftmax.softmax(double, 0), NDArray[np.float64])
assert_type(F.log_softmax(half, 0), NDArray[np.float16])
assert_type(F.softmin(wide, 0), NDArray[np.longdouble])
assert_type(F.softmax(single), Matrix32)

# Integers and bool are computed as float64.
assert_type(F.softmax(whole, 1), NDArray[np.float64])
assert_type(F.log_softmax(truth, 1), NDArray[np.float64])

# dtype= says the type, as a class or a dtype; as a string nothing that a checker knows.
assert_type(F.softmax(single, 1, dtype=np.float64).dtype, np.dtype[np.float64])
assert_type(F.softmin(whole, 1, dtype=np.dtype(np.float32)), NDArray[np.float32])
assert_type(F.log_softmax(double, 1, dtype="float32").dtype, Any)

# out= is what comes back.
assert_type(F.softmax(double, 1, out=single), Matrix32)
assert_type(F.softmin([[1.0]], 1, out=double), NDArray[np.float64])
assert_type(F.logsumexp(double, 1, out=half), NDArray[np.float16])

# Whatever else NumPy makes an array of.
assert_type(F.softmax([[1.0, 2.0], [3.0, 4.0]], dim=1).dtype, Any)
assert_type(F.softmax(1.0, 0).dtype, Any)
assert_type(F.log_softmax(np.float32(1.0), 0).dtype, Any)

assert_type(F.logsumexp(double, 1), NDArray[np.float64])
assert_type(F.logsumexp(single, 1, True).dtype, np.dtype[np.float32])
assert_type(F.logsumexp(single, (0, 1), keepdim=True).dtype, np.dtype[np.float32])
assert_type(F.logsumexp(turned, 1), NDArray[np.complex128])
assert_type(F.logsumexp(whole, 1), NDArray[np.float64])

assert_type(F.gumbel_softmax(single, tau=0.5, hard=True, rng=1), Matrix32)
assert_type(F.gumbel_softmax(whole, rng=np.random.default_rng(1)), NDArray[np.float64])
assert_type(F.gumbel_softmax([1.0, 2.0]).dtype, Any)

assert_type(F.softmax_backward(single, single, 1), Matrix32)
assert_type(F.log_softmax_backward(double, double, (0, 1)), NDArray[np.float64])
assert_type(F.softmax_backward([1.0], [1.0], 0, out=double), NDArray[np.float64])
assert_type(F.log_softmax_backward(whole, whole, 0), NDArray[np.float64])

# Targets may be of a wider type than the logits, and decide then.
assert_type(F.cross_entropy(single, classes), Any_)
assert_type(F.cross_entropy(single, [0, 1], [1.0, 2.0, 3.0], reduction="none"), Any_)
assert_type(F.cross_entropy(single, double, label_smoothing=0.1, ignore_index=-1), Any_)
assert_type(F.nll_loss(single, classes, weight=np.ones(3)), Any_)
assert_type(F.cross_entropy_backward(1.0, single, classes, reduction="sum"), Any_)
assert_type(F.cross_entropy_backward(1.0, single, classes, out=single), Matrix32)

assert_type(nn.Softmax(dim=1)(single), Any_)
assert_type(nn.LogSoftmax((0, 1)).eval(), nn.LogSoftmax)
assert_type(nn.Softmin().train(False)(input=[[1.0]]), Any_)
assert_type(nn.Softmax2d()(np.ones((1, 2, 3))), Any_)
assert_type(nn.CrossEntropyLoss(label_smoothing=0.1)(single, target=classes), Any_)
assert_type(nn.NLLLoss(reduction="sum").reduction, str)
assert_type(nn.Softmax(0).dim, int | tuple[int, ...] | None)

assert_type(fastsoftmax.get_num_threads(), int)
with fastsoftmax.num_threads(np.int64(2)) as limit:
    assert_type(limit, fastsoftmax.num_threads)
assert_type(fastsoftmax.show_config()["isa"], Any)
assert_type(str(fastsoftmax.show_config()), str)
