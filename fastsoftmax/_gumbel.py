"""Samples of the Gumbel-softmax (concrete) distribution, a tile of whole rows at a time.

All of it in float64, whatever the dtype: Gumbel noise rounded to 8, 11 or 24 bits ties where it
should not, and its upper tail, which decides how often an unlikely class wins, has steps.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsoftmax import _arguments, _core, _layout, _loss_kernels
from fastsoftmax._arguments import Array

if TYPE_CHECKING:  # both are slow to import; numpy.random waits for the first call
    from numpy.typing import ArrayLike

    RNG = (
        int
        | Sequence[int]
        | np.random.SeedSequence
        | np.random.BitGenerator
        | np.random.Generator
        | np.random.RandomState
        | None
    )

NAME = "gumbel_softmax"
EPS = 1e-10
NEAR_0 = 2.0**-20


def gumbel_softmax(
    logits: ArrayLike,
    tau: float = 1,
    hard: bool = False,
    eps: float = EPS,
    dim: int | tuple[int, ...] = -1,
    *,
    rng: RNG = None,
) -> Array:
    """Sample from the Gumbel-softmax distribution, or with `hard` from the categorical one.

    ``softmax((logits + g) / tau)``, where every element of ``g`` is a draw from the standard Gumbel
    distribution. The largest element of a sample falls on each class as often as the softmax of
    `logits` says, whatever `tau`.

    Parameters
    ----------
    logits : array_like
        Of any shape: logarithms of probabilities, up to a constant.
    tau : float, optional
        Temperature, positive and finite: a low one gives samples close to one-hot, a high one
        samples close to uniform.
    hard : bool, optional
        Return the one-hot array of each sample's largest element: exact ones and zeros. In PyTorch
        its gradient is that of the relaxed sample (straight-through); no gradients are recorded
        here. `tau` does not matter then.
    eps : float, optional
        Without effect, as in PyTorch.
    dim : int or tuple of int, optional
        The dimension, or the dimensions together, over which a sample sums to 1.
    rng : None, int, SeedSequence, BitGenerator or Generator, optional
        What :func:`numpy.random.default_rng` takes, by SPEC 7: None draws anew every time, a
        number gives the same sample every time, a Generator is advanced.

    Returns
    -------
    numpy.ndarray
        In the shape of `logits` and of its dtype; float64 for integers and bool.

    Raises
    ------
    IndexError
        If `dim` is out of range.
    TypeError
        For complex, object, string and date dtypes, masked arrays, a `dim` that is None and a `tau`
        that is no real number.
    ValueError
        If `tau` is 0, negative, infinite or NaN, or `dim` names a dimension twice.

    Warns
    -----
    UserWarning
        If `eps` is given.

    See Also
    --------
    softmax : the probabilities themselves.

    Notes
    -----
    The noise is ``-log(E)`` of standard exponential draws ``E``, in float64 for every dtype and
    always finite; the result is rounded once. It is drawn in the order of the elements, `dim` last:
    a fixed `rng` gives the same sample for any memory layout and any number of threads, and for
    every dtype up to rounding. A row that holds NaN or +inf, or only -inf, is NaN; a class of -inf
    is never drawn. Scratch memory is 512 KiB, or one row of float64 where that is more.

    Signature: `torch.nn.functional.gumbel_softmax`, PyTorch 2.13. Method: Maddison, Mnih and Teh,
    "The Concrete Distribution", 2017; Jang, Gu and Poole, "Categorical Reparameterization with
    Gumbel-Softmax", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> logits = np.log([0.1, 0.2, 0.7])
    >>> F.gumbel_softmax(logits, tau=0.5, rng=1).sum().round(12)
    np.float64(1.0)
    >>> draws = F.gumbel_softmax(np.tile(logits, (100_000, 1)), hard=True, rng=1)
    >>> draws.mean(axis=0).round(2)
    array([0.1, 0.2, 0.7])
    """
    if eps != EPS:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    if isinstance(logits, np.ma.MaskedArray):
        raise TypeError(
            f"{NAME}() would ignore the mask of a numpy.ma.MaskedArray: fill it with -inf instead, "
            "logits.filled(-numpy.inf)"
        )
    if dim is None:
        raise TypeError(f"{NAME}() needs dim, an int or a tuple of ints, but got None")
    x = _arguments.as_array(NAME, logits)
    dims = _arguments.dims_of(NAME, dim, x.shape, 0)
    target = _arguments.result_dtype(NAME, x.dtype, None)
    temperature = _temperature(tau)
    generator = _unseeded() if rng is None else np.random.default_rng(rng)
    y = np.empty_like(x, dtype=target, subok=False)
    if x.ndim == 0:
        _sample(x.reshape(1), y.reshape(1), dims, temperature, hard, generator)
    elif x.size:
        _sample(x, y, dims, temperature, hard, generator)
    return y


# The generators without a seed, one for each thread, since to seed one takes longer than a small
# sample: a threading.local once there is one.
_own: Any = None


def _unseeded() -> np.random.Generator:
    """The generator of the thread that calls."""
    global _own
    own = _own
    if own is None:
        import threading  # here: it would add a sixth to the time of our own import

        own = _own = threading.local()
    if not hasattr(own, "generator"):
        own.generator = np.random.default_rng()
    generator: np.random.Generator = own.generator
    return generator


def _forget() -> None:
    """In a child process, which must not draw what its parent draws."""
    global _own
    _own = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _temperature(tau: Any) -> float:
    given = np.asarray(tau)
    if given.size != 1 or not (given.dtype.kind in "fiu" or _arguments.is_bfloat16(given.dtype)):
        raise TypeError(f"{NAME}() needs tau to be one real number, but got {tau!r}")
    value = float(given.reshape(()))
    if not 0 < value < math.inf:
        raise ValueError(
            f"{NAME}() needs tau to be positive and finite, but got {value}: "
            "hard=True gives the limit at 0"
        )
    return value


def _sample(
    x: Array,
    y: Array,
    dims: Sequence[int],
    tau: float,
    hard: bool,
    rng: np.random.Generator,
) -> None:
    """Fill y with a sample; x has at least one dimension and one element."""
    work = np.dtype(np.longdouble if y.dtype.char == "g" else np.float64)
    order = [axis for axis in range(x.ndim) if axis not in dims] + sorted(dims)
    outer = x.ndim - len(dims)
    xt, yt = x.transpose(order), y.transpose(order)
    n = math.prod(xt.shape[outer:])
    scratch = np.empty(0, work)
    with np.errstate(all="ignore"), _core._DefaultEnvironment():
        for box in _layout._boxes(
            xt.shape, outer, x.ndim, _layout.TILE_BYTES // work.itemsize // n
        ):
            place = yt[box]
            here = place.dtype == work and place.flags.c_contiguous
            if not here and scratch.size < place.size:
                scratch = np.empty(place.size, work)
            z = place if here else scratch[: place.size].reshape(place.shape)
            _exponential(rng, z)
            np.log(z, out=z)
            np.subtract(xt[box], z, out=z)
            _finish(z.reshape(-1, n), tau, hard)
            if not here:
                np.copyto(place, _loss_kernels.rounded(z, place.dtype.newbyteorder("=")))


def _exponential(rng: np.random.Generator, out: Array) -> None:
    """Standard exponential draws, none of them 0 and those near 0 as fine as the others.

    NumPy's are multiples of about 2**-53, and one in 2**53 is 0, whose noise would be infinite. The
    rare ones below NEAR_0 are drawn again, by inversion, from the part of the distribution there.
    """
    if out.dtype == np.float64:
        rng.standard_exponential(out=out)
    else:
        out[...] = rng.standard_exponential(out.shape)
    flat = out.reshape(-1)
    near = np.flatnonzero(flat < NEAR_0)
    if near.size:
        flat[near] = -np.log1p((1 - rng.random(near.size)) * np.expm1(-NEAR_0))


def _finish(z: Array, tau: float, hard: bool) -> None:
    """From rows of logits with their noise to samples, in place."""
    # so that no quotient overflows upwards, however low tau
    z -= np.maximum.reduce(z, axis=1, keepdims=True)
    if hard:
        winner = np.arange(len(z)), z.argmax(axis=1)
        top = z[winner]  # 0, or NaN where softmax has a row of NaN
        z[...] = top[:, np.newaxis]
        z[winner] = top + 1
    else:
        z /= tau
        _core.softmax(z, 1, out=z)
