# What the other compiled modules need of _core: the kernels in use and their names of types, memory
# for a team, and whether arrays overlap.

cimport numpy as cnp

from fastsoftmax._kernels cimport fs_table

cdef const fs_table *table() noexcept nogil
cdef int type_of(cnp.ndarray x) noexcept
cdef void *scratch(int threads, Py_ssize_t size) except NULL
cdef char *aligned(void *memory) noexcept nogil
cdef bint overlap(cnp.ndarray x, cnp.ndarray y) noexcept
