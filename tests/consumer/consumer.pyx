"""Every function of fastsoftmax.cy, called without the GIL; and attention that computes by it."""

cimport fastsoftmax
from cython cimport floating
from fastsoftmax.cy cimport log_softmax_float32, log_softmax_float64, softmax_float64

import numpy as np


def softmax(const floating[:, :, ::1] x, floating[:, :, ::1] out):
    cdef Py_ssize_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2]
    cdef int status
    with nogil:
        if floating is float:
            status = fastsoftmax.cy.softmax_float32(&x[0, 0, 0], &out[0, 0, 0], outer, n, inner)
        else:
            status = softmax_float64(&x[0, 0, 0], &out[0, 0, 0], outer, n, inner)
    return status


def log_softmax(const floating[:, :, ::1] x, floating[:, :, ::1] out):
    cdef Py_ssize_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2]
    cdef int status
    with nogil:
        if floating is float:
            status = log_softmax_float32(&x[0, 0, 0], &out[0, 0, 0], outer, n, inner)
        else:
            status = log_softmax_float64(&x[0, 0, 0], &out[0, 0, 0], outer, n, inner)
    return status


def logsumexp(const floating[:, :, ::1] x, floating[:, ::1] out):
    cdef Py_ssize_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2]
    cdef int status
    with nogil:
        if floating is float:
            status = fastsoftmax.cy.logsumexp_float32(&x[0, 0, 0], &out[0, 0], outer, n, inner)
        else:
            status = fastsoftmax.cy.logsumexp_float64(&x[0, 0, 0], &out[0, 0], outer, n, inner)
    return status


def attention(const double[:, ::1] queries, const double[:, ::1] keys, const double[:, ::1] values):
    """softmax(queries @ keys.T) @ values, with one row of scores in memory."""
    cdef Py_ssize_t tokens = keys.shape[0], i, j, k
    cdef double[::1] scores = np.empty(tokens)
    cdef double[:, ::1] result = np.zeros((queries.shape[0], values.shape[1]))
    with nogil:
        for i in range(queries.shape[0]):
            for j in range(tokens):
                scores[j] = 0
                for k in range(keys.shape[1]):
                    scores[j] += queries[i, k] * keys[j, k]
            softmax_float64(&scores[0], &scores[0], 1, tokens, 1)
            for j in range(tokens):
                for k in range(values.shape[1]):
                    result[i, k] += scores[j] * values[j, k]
    return np.asarray(result)
