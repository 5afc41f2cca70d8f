# What _core needs to run a parallel loop. See _threads.pyx for the policy.

cdef int begin_team(Py_ssize_t elements) except -1
cdef void end_team(int threads) noexcept
