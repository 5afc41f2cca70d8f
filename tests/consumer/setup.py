"""A package of somebody else's that uses fastsoftmax from C. Its build needs Cython, no more."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    name="consumer",
    ext_modules=cythonize([Extension("consumer", ["consumer.pyx"])], language_level=3),
)
