"""How many threads a call gets: every OpenMP call and every threading decision of the package.

The limit on the threads of one call is

* the number given to ``with num_threads(n)`` in this Python thread,
* else the number given to ``set_num_threads(n)``,
* else ``OMP_NUM_THREADS``, where that is a positive number or a list that begins with one,
* else the CPUs this process may use: those of its affinity, or fewer where a cgroup (v2 or v1)
  grants less CPU time, rounded up;

never more than ``omp_get_max_threads()`` says in the calling thread, so the limits that
threadpoolctl sets hold. Within that limit

* work that takes less time than a team costs to open runs in the calling thread;
* calls in flight at once share the limit, since libgomp keeps a pool for every calling thread;
* a forked child runs in the calling thread: libgomp's pool does not survive a fork, and a team
  opened in the child would wait for threads that are gone.

The environment and the control groups are read once, at import. The thread count is passed to each
parallel loop. Nothing here changes OpenMP's own settings.

What is kept between calls is three C ints (the count that was set, the threads now at work, whether
this is a forked child), read and written whole and atomically, and a list for each Python thread:
so calls need no lock, with or without the GIL.
"""

import os
import re

from cpython.object cimport PyObject
from cpython.pystate cimport PyThreadState_GetDict

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define fs_openmp_version _OPENMP
    #else
    #define fs_openmp_version 0
    static inline int omp_get_max_threads(void) { return 1; }
    #endif

    #if defined(_MSC_VER)
    #include <intrin.h>
    static long fs_busy = 0, fs_wanted_threads = 0;
    static inline int fs_busy_add(int threads) {
        return _InterlockedExchangeAdd(&fs_busy, threads);
    }
    static inline int fs_wanted(void) { return _InterlockedOr(&fs_wanted_threads, 0); }
    static inline void fs_want(int threads) { _InterlockedExchange(&fs_wanted_threads, threads); }
    static inline int fs_watch_forks(void) { return 0; } /* no fork here */
    static inline int fs_forked(void) { return 0; }
    #else
    #include <pthread.h>
    static int fs_busy = 0, fs_wanted_threads = 0, fs_is_forked = 0;
    static inline int fs_busy_add(int threads) {
        return __atomic_fetch_add(&fs_busy, threads, __ATOMIC_RELAXED);
    }
    static inline int fs_wanted(void) {
        return __atomic_load_n(&fs_wanted_threads, __ATOMIC_RELAXED);
    }
    static inline void fs_want(int threads) {
        __atomic_store_n(&fs_wanted_threads, threads, __ATOMIC_RELAXED);
    }
    static void fs_in_child(void) { fs_is_forked = 1; }
    static inline int fs_watch_forks(void) { return pthread_atfork(NULL, NULL, fs_in_child); }
    static inline int fs_forked(void) { return fs_is_forked; }
    #endif
    """
    int omp_get_max_threads() nogil
    int fs_openmp_version
    # Threads now at work in all calls; returns what it was before.
    int fs_busy_add(int threads) nogil
    # The number given to set_num_threads; 0 before.
    int fs_wanted() nogil
    void fs_want(int threads) nogil
    # Whether a fork lies between the import and now. A process id would not tell: a child in
    # another namespace, or late enough, may have its parent's.
    int fs_watch_forks()
    int fs_forked() nogil

# A team must save more than it costs: about 5 us to wake, at 0.3 to 1 ns an element.
cdef enum:
    ELEMENTS_PER_THREAD = 32768

if fs_watch_forks() != 0:
    raise MemoryError("no memory to watch for forks")


cdef dict _own():
    """CPython's dict for what extensions keep of this Python thread.

    `threading.local` would do, but importing `threading` would add a sixth to our own import.
    """
    cdef PyObject *own = PyThreadState_GetDict()
    if own == NULL:
        raise MemoryError("no memory for what is kept of a thread")
    return <dict> own


cdef list _blocks():
    """The counts of the `num_threads` blocks that this Python thread is in, the innermost last."""
    return _own().setdefault("fastsoftmax.num_threads", [])


def _asked_of_openmp(variable):
    """The number of threads that a value of OMP_NUM_THREADS asks for, or None.

    It may be a list, for nested teams; its first number is that of the outermost. Where OpenMP
    would take no notice of a value, neither does this.
    """
    if variable is None or not re.fullmatch(r"\s*\+?\d+\s*(,\s*\+?\d+\s*)*", variable, re.ASCII):
        return None
    counts = [int(count) for count in variable.split(",")]
    return counts[0] if all(0 < count < 2**31 for count in counts) else None


_asked = _asked_of_openmp(os.environ.get("OMP_NUM_THREADS"))


def _cgroup_cpus(root="/sys/fs/cgroup", membership="/proc/self/cgroup"):
    """CPUs' worth of time that the control groups of this process grant, or None.

    Looks at the process's own group and at each of its ancestors, v2 (``cpu.max``) and v1
    (``cpu.cfs_quota_us``); the smallest grant counts.
    """
    try:
        with open(membership, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().split("\n")
    except OSError:
        return None
    grants = []
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if not path.startswith("/"):
            continue
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = [name for name in path.split("/") if name and name != ".."]
        for base in _cgroup_mounts(root, controllers):
            for depth in range(len(names), -1, -1):
                grant = _cgroup_grant(os.path.join(base, *names[:depth]))
                if grant is not None:
                    grants.append(grant)
    return min(grants, default=None)


def _cgroup_mounts(root, controllers):
    if not controllers:
        return [root, os.path.join(root, "unified")]
    return [os.path.join(root, controllers), os.path.join(root, "cpu")]


def _cgroup_grant(folder):
    try:
        try:
            with open(os.path.join(folder, "cpu.max")) as file:
                quota, period = file.read().split()
        except FileNotFoundError:
            with open(os.path.join(folder, "cpu.cfs_quota_us")) as file:
                quota = file.read()
            with open(os.path.join(folder, "cpu.cfs_period_us")) as file:
                period = file.read()
        if quota == "max" or int(quota) <= 0 or int(period) <= 0:
            return None
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return None


_granted = _cgroup_cpus()


def _cpus():
    """CPUs this process may use now, and the words for it."""
    if hasattr(os, "sched_getaffinity"):
        count, reason = len(os.sched_getaffinity(0)), "CPUs in the affinity of this process"
    else:
        count, reason = os.cpu_count() or 1, "CPUs of this machine"
    if _granted is not None and _granted < count:
        return _granted, "CPU quota of this process's control group"
    return count, reason


def _limit_and_reason():
    """The most threads a call from here may use, and why."""
    if fs_openmp_version == 0:
        return 1, "built without OpenMP"
    if fs_forked():
        return 1, "forked after import: OpenMP's threads do not survive a fork"
    cdef list blocks = _own().get("fastsoftmax.num_threads")
    if blocks:
        limit, reason = blocks[len(blocks) - 1], "num_threads() in this thread"
    elif fs_wanted():
        limit, reason = fs_wanted(), "set_num_threads()"
    elif _asked is not None:
        limit, reason = _asked, "OMP_NUM_THREADS"
    else:
        limit, reason = _cpus()
    most = omp_get_max_threads()
    if limit > most:
        return most, f"{reason} ({limit}), limited by OpenMP"
    return limit, reason


def _openmp_version():
    """The date of the OpenMP specification the compiler follows, or 0."""
    return fs_openmp_version


cdef int begin_team(Py_ssize_t elements) except -1:
    """Threads for a call that works through `elements`; give them back with end_team."""
    cdef int threads = 1, before
    if elements >= 2 * ELEMENTS_PER_THREAD:
        threads = min(_limit_and_reason()[0], elements // ELEMENTS_PER_THREAD)
    before = fs_busy_add(threads)
    if threads > 1 and before > 0:
        # What the other calls leave of the limit, at least one.
        shared = max(1, threads - before)
        fs_busy_add(shared - threads)
        threads = shared
    return threads


cdef void end_team(int threads) noexcept:
    fs_busy_add(-threads)


def _checked(n):
    if isinstance(n, bool) or not hasattr(type(n), "__index__"):
        raise TypeError(f"the number of threads must be an int, not {type(n).__name__}")
    n = n.__index__()
    if not 1 <= n <= 2**31 - 1:
        raise ValueError(f"the number of threads must be from 1 to {2**31 - 1}, but got {n}")
    return n


def get_num_threads():
    """Return the most threads that a call from this Python thread may use.

    Returns
    -------
    int
        The number given to :class:`num_threads` or :func:`set_num_threads`, else
        ``OMP_NUM_THREADS``, else the CPUs this process may use by affinity and cgroup quota. Small
        inputs use fewer.

    Examples
    --------
    >>> import fastsoftmax
    >>> fastsoftmax.get_num_threads() >= 1
    True
    """
    return _limit_and_reason()[0]


def set_num_threads(n):
    """Set the most threads that one call may use, for the whole process.

    Parameters
    ----------
    n : int
        At least 1. More than OpenMP allows (``omp_get_max_threads()``) is taken as that many.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an int, or less than 1.

    Examples
    --------
    >>> import fastsoftmax
    >>> fastsoftmax.set_num_threads(fastsoftmax.get_num_threads())
    """
    fs_want(_checked(n))


class num_threads:
    """Context manager: at most `n` threads a call, in this Python thread, inside the block.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an int, or less than 1.

    Examples
    --------
    >>> import fastsoftmax
    >>> with fastsoftmax.num_threads(1):
    ...     fastsoftmax.get_num_threads()
    1
    """

    def __init__(self, n):
        self._n = _checked(n)

    def __enter__(self):
        _blocks().append(self._n)
        return self

    def __exit__(self, *exception):
        _blocks().pop()
