"""Build one static library per instruction set, then the Cython modules that link them all.

Switches, all from the environment, each with a build directory of its own:
    FASTSOFTMAX_NO_OPENMP=1     build without OpenMP (the default on macOS, where 0 asks for it)
    FASTSOFTMAX_DEBUG=1         Cython's checks and the kernels' assertions on, -O1 -g
    FASTSOFTMAX_SANITIZE=a,b    -fsanitize=a,b
    FASTSOFTMAX_TARGETS=a,b     baseline and no other targets than these (none: baseline alone)
    FASTSOFTMAX_ANNOTATE=1      Cython's annotated sources as HTML beside the generated C
"""

import os
import platform
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

MACOS = sys.platform == "darwin"
MSVC = "MSC" in sys.version
PLATFORM = sysconfig.get_platform()
if PLATFORM.endswith("universal2"):  # the flags below are for one architecture
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")
    PLATFORM = os.environ["ARCHFLAGS"]

SWITCHES = {
    name: value
    for name in ("no_openmp", "debug", "sanitize", "targets", "annotate")
    if (value := os.environ.get(f"FASTSOFTMAX_{name.upper()}", "0")) not in ("", "0")
}
DEBUG = "debug" in SWITCHES
OPENMP = os.environ.get("FASTSOFTMAX_NO_OPENMP", "1" if MACOS else "0") in ("", "0")
BUILD = "/".join(["build", *(f"{name}-{value}" for name, value in SWITCHES.items())])

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
JOBS = 1 if MSVC else CPUS  # MSVC's compiler object is made ready by its first use

KERNELS = Path("fastsoftmax/kernels")
HEADERS = sorted(map(str, KERNELS.rglob("*.h")))
# The targets beside baseline, by the machine that is built for.
if MSVC:
    X86 = {"avx2": "/arch:AVX2", "avx512": "/arch:AVX512"}
else:
    AVX512 = "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512"
    X86 = {"avx2": "-mavx2 -mfma -mf16c", "avx512": AVX512}
ARM = {"neon": ""}
MACHINES = {"x86_64": X86, "amd64": X86, "aarch64": ARM, "arm64": ARM}
TARGETS = MACHINES.get(PLATFORM.rpartition("-")[2].split()[-1], {})
if "targets" in SWITCHES:
    TARGETS = {isa: TARGETS[isa] for isa in SWITCHES["targets"].split(",") if isa in TARGETS}

# Contraction stays off: it would make the bits differ between targets.
if MSVC:
    CFLAGS = KERNEL_CFLAGS = ["/std:c11", "/Od" if DEBUG else "/O2", "/fp:precise"]
    LDFLAGS = []
else:
    LDFLAGS = [f"-fsanitize={SWITCHES['sanitize']}"] if "sanitize" in SWITCHES else []
    CFLAGS = ["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g" if LDFLAGS else "-g0"]
    CFLAGS += ["-ffp-contract=off", "-fvisibility=hidden", *LDFLAGS]
    KERNEL_CFLAGS = [*CFLAGS, "-std=c11", "-fPIC", "-Wall", "-Wextra"]
    KERNEL_CFLAGS += ["-Werror=implicit-function-declaration"]
    KERNEL_CFLAGS += [] if DEBUG else ["-fno-asynchronous-unwind-tables"]
# Of gcc; others take them for mistakes. The kernels' loops are written out, and their functions
# copied, as far as it pays; one more copy of each does not.
GCC_CFLAGS = ["-fno-unswitch-loops", "-fno-split-loops", "-fno-loop-unroll-and-jam"]
GCC_CFLAGS += ["-fno-version-loops-for-strides", "-fno-ipa-cp-clone"]


def library(name, source, cflags="", macros=()):
    return f"fs_{name}", {
        "sources": [str(KERNELS / source)],
        "obj_deps": {"": HEADERS},
        "include_dirs": [str(KERNELS)],
        "cflags": [*KERNEL_CFLAGS, *cflags.split()],
        "macros": [*macros],
    }


def module(path):
    # Short calls go through _core and what Cython shares. _loss_kernels adds up losses: gcc would
    # keep a sum and its low part in one vector, to be taken apart for every addition.
    flags = {
        "_core": [],
        "_loss_kernels": ["-fno-tree-slp-vectorize"],
        "_cyutility": ["-O2"],
    }
    size = flags.get(path.stem, ["-Os"])
    cflags = [] if MSVC or DEBUG else size
    return Extension(
        f"fastsoftmax.{path.stem}",
        [str(path)],
        include_dirs=[numpy.get_include(), str(KERNELS)],
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
        ],
        depends=[*HEADERS, *map(str, sorted(KERNELS.rglob("*.c")))],
        extra_compile_args=[*CFLAGS, *cflags],
        extra_link_args=[*LDFLAGS],
    )


def compiles(compiler, folder, name, text, flags, link_flags=None):
    """Whether a program compiles with these flags, and links unless it is not to."""
    source = Path(folder, f"{name}.c")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)
    try:
        objects = compiler.compile([str(source)], extra_postargs=flags)
        if link_flags is not None:
            compiler.link_executable(objects, name, folder, extra_postargs=link_flags)
    except (CompileError, LinkError):
        return False
    return True


class BuildClib(build_clib):
    """The libraries beside each other: they take most of the build's time."""

    def build_libraries(self, libraries):
        build = super().build_libraries
        if not (MSVC or DEBUG) and self.is_gcc() and self.takes(GCC_CFLAGS):
            for _, options in libraries:
                options["cflags"] += GCC_CFLAGS
        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(lambda item: build([item]), libraries))

    def takes(self, flags):
        return compiles(self.compiler, self.build_temp, "flags", "int x;\n", flags)

    def is_gcc(self):
        """By its macros: clang has gcc's, too, but would print errors about its flags."""
        command = [*self.compiler.compiler_so, "-dM", "-E", "-x", "c", os.devnull]
        try:
            macros = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        except OSError:  # no compiler: the build will say so
            return False
        return "#define __GNUC__ " in macros and "__clang__" not in macros


class BuildExt(build_ext):
    """After the kernels, and with OpenMP where a program that uses it compiles and links."""

    def run(self):
        self.run_command("build_clib")
        super().run()

    def build_extensions(self):
        compile_flags = ["/openmp"] if MSVC else ["-fopenmp"]
        link_flags = [] if MSVC else compile_flags
        if OPENMP and self.has_openmp(compile_flags, link_flags):
            for extension in self.extensions:
                extension.extra_compile_args += compile_flags
                extension.extra_link_args += link_flags
        super().build_extensions()

    def has_openmp(self, compile_flags, link_flags):
        compiler, folder = self.compiler, self.build_temp
        if not Path(compiler.executable_filename("openmp", output_dir=folder)).exists():
            text = "#include <omp.h>\nint main(void) { return omp_get_max_threads(); }\n"
            if not compiles(compiler, folder, "openmp", text, compile_flags, link_flags):
                print("fastsoftmax: no OpenMP here, building without it", file=sys.stderr)
                return False
        return True


setup(
    libraries=[
        library(
            "dispatch", "dispatch.c", macros=[(f"FS_HAVE_{isa.upper()}", "1") for isa in TARGETS]
        ),
        library("baseline", "targets/baseline.c"),
        *(library(isa, f"targets/{isa}.c", cflags) for isa, cflags in TARGETS.items()),
    ],
    ext_modules=cythonize(
        [
            *(module(path) for path in sorted(Path("fastsoftmax").glob("*.pyx"))),
            module(Path("fastsoftmax/_cyutility.c")),  # made by Cython
        ],
        shared_utility_qualified_name="fastsoftmax._cyutility",
        build_dir=f"{BUILD}/cython",
        annotate="annotate" in SWITCHES,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": DEBUG,
            "initializedcheck": DEBUG,
            "cdivision": True,
            "auto_pickle": False,
            "autotestdict": False,
        },
    ),
    cmdclass={"build_clib": BuildClib, "build_ext": BuildExt},
    options={"build": {"build_base": BUILD, "parallel": JOBS}},
)
