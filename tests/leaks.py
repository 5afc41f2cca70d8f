"""Calls of every public function, and calls that are refused, leave nothing behind.

    python tests/leaks.py [calls]         # 100000 of each by default; prints what was found

Of each: the reference counts of all objects that are passed, Python's allocated blocks, what
tracemalloc has (NumPy's data included), and the resident memory (the kernels' scratch included).
"""

import gc
import itertools
import sys
import time
import tracemalloc

import numpy as np

import fastsoftmax
import fastsoftmax.functional as F
from public import CASES, arrays, call, taken

CALLS = 100_000
TRACED = 2000  # tracemalloc makes calls ten times as slow
# More than Python's free lists and malloc's pages take; a leak of 64 bytes a call is 6.4 MB.
BLOCKS, BYTES, RESIDENT = 250, 16384, 2 << 20

SMALL, LARGE = (3, 10), (300, 100)  # one tile; and a team with its scratch memory


def accepted(shape):
    """Each case, by name: a call with the same arguments each time, and what is passed."""
    given = arrays("float32", shape)
    strided = {key: np.repeat(array, 2, axis=-1)[..., ::2] for key, array in given.items()}
    for name, case in CASES.items():
        for layout, one in (("", given), (", strided", strided)):
            objects = [*taken(case, one)]
            keywords = {}
            if case.takes_out:
                keywords["out"] = np.empty_like(call(name, one))
                objects.append(keywords["out"])
            yield name + layout, lambda n=name, g=one, k=keywords: call(n, g, **k), objects


def refused(shape):
    """Calls that raise, likewise."""
    x, t = (arrays("float32", shape)[key] for key in "xt")
    locked, short, wrong = x.copy(), x[:, 1:].copy(), x.astype("f8")
    locked.flags.writeable = False
    text, masked = np.full(3, "a"), np.ma.array([1.0, 2.0])
    far = t + 10**6
    family = (F.softmax, F.log_softmax, F.softmin, F.logsumexp)
    for function in family:
        for arguments, keywords in (
            ((x, 2), {}),
            ((x, 2**70), {}),
            ((x, "1"), {}),
            ((x, (0, 0)), {}),
            ((text, 0), {}),
            ((masked, 0), {}),
            ((x, 1), {"out": locked}),
            ((x, 1), {"out": short}),
            ((x, 1), {"out": wrong}),
            ((x, 1), {"where": x}),
            ((x, 1), {"where": np.ones(7777, bool)}),
        ):
            yield function, arguments, keywords
    for function in (F.softmax_backward, F.log_softmax_backward):
        yield from (
            (function, (x, short, 1), {}),
            (function, (x, wrong, 1), {}),
            (function, (x, x, 5), {}),
            (function, (x, x, 1), {"out": locked}),
            (function, (text, text, 0), {}),
        )
    for function in (F.cross_entropy, F.nll_loss):
        yield from (
            (function, (x, far), {}),
            (function, (x, t[1:]), {}),
            (function, (x, t, short[0]), {}),
            (function, (x, t), {"reduction": "most"}),
            (function, (x, t), {"ignore_index": 2**70}),
            (function, (text, t), {}),
        )
    yield from (
        (F.cross_entropy, (x, x), {"ignore_index": 1}),
        (F.cross_entropy, (x, t), {"label_smoothing": 2.0}),
        (F.cross_entropy_backward, (1.0, x, far), {}),
        (F.cross_entropy_backward, (x, x, t), {}),
        (F.cross_entropy_backward, (1.0, x, t), {"out": locked}),
        (F.gumbel_softmax, (x,), {"tau": -1.0, "rng": 1}),
        (F.gumbel_softmax, (x,), {"dim": 7, "rng": 1}),
        (F.gumbel_softmax, (masked,), {"rng": 1}),
        (fastsoftmax.set_num_threads, (0,), {}),
        (fastsoftmax.num_threads, ("2",), {}),
    )


def raising(function, arguments, keywords):
    def work():
        try:
            function(*arguments, **keywords)
        except (IndexError, RuntimeError, TypeError, ValueError):
            return
        raise AssertionError(f"{function.__name__}{arguments}{keywords} is not refused")

    return work


def jobs():
    for shape in (SMALL, LARGE):
        for name, work, objects in accepted(shape):
            yield f"{name} of {shape}", work, objects
    for number, (function, arguments, keywords) in enumerate(refused(SMALL)):
        work = raising(function, arguments, keywords)
        yield f"{function.__name__} refused ({number})", work, [*arguments, *keywords.values()]


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def what_is_left(work, objects, calls):
    """What `calls` calls leave: words, or None."""
    mortal = [one for one in objects if not isinstance(one, (int, float, str, tuple))]
    for _ in range(50):
        work()
    gc.collect()
    counts = [sys.getrefcount(one) for one in mortal]
    dtypes = [sys.getrefcount(np.dtype(kind)) for kind in "fdlB"]
    blocks, memory = sys.getallocatedblocks(), resident()
    for _ in itertools.repeat(None, calls):
        work()
    gc.collect()
    grown = resident() - memory
    left = sys.getallocatedblocks() - blocks
    if [sys.getrefcount(one) for one in mortal] != counts:
        return "references to the arguments"
    if max(np.subtract([sys.getrefcount(np.dtype(kind)) for kind in "fdlB"], dtypes)) > BLOCKS:
        return "references to a dtype"
    if left > BLOCKS:
        return f"{left} blocks"
    if grown > RESIDENT:
        return f"{grown} bytes of resident memory"
    tracemalloc.start()
    try:
        work()
        before = tracemalloc.get_traced_memory()[0]
        for _ in itertools.repeat(None, min(calls // 4, TRACED)):
            work()
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return f"{traced} bytes that tracemalloc has seen" if traced > BYTES else None


def main(calls=CALLS):
    start, total = time.perf_counter(), 0
    for name, work, objects in jobs():
        some = calls if "(300" not in name else max(calls // 20, 100)
        left = what_is_left(work, objects, some)
        if left:
            raise SystemExit(f"{name}: {some} calls left {left}")
        total += some
    print(f"{total} calls left nothing, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
