# What the other compiled modules need of _core: the kernels in use, and their names of types.

cimport numpy as cnp

from fastsoftmax._kernels cimport fs_table

cdef const fs_table *table() noexcept nogil
cdef int type_of(cnp.ndarray x) noexcept
