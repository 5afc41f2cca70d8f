"""Check a wheel as its users will meet it: built from the sdist, repaired, installed, tested.

    python tools/check_wheel.py             # builds all that, in a folder of its own
    python tools/check_wheel.py *.whl       # only what is in these wheels, and their sizes

The first form needs Linux on x86-64, binutils and the extra `dev`. It builds the sdist, from its
files alone a wheel, and has auditwheel put OpenMP's library into that. Then, in new environments
with the oldest NumPy and the newest, it runs the self-test and tests from the sdist, times the
import, and looks whether threadpoolctl finds that library. Code outside of the kernels must not
need more than the baseline of the architecture.
"""

import argparse
import math
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

START = time.perf_counter()
ROOT = Path(__file__).resolve().parent.parent
AIM_BYTES = 1 << 20  # asked for; missed so far, and said so
MOST_BYTES = 5 << 18  # of which 133 KB are libgomp
MOST_IMPORT_MS = 10.0  # of CPU, over `import numpy`, the least of several; not of OpenBLAS' threads
IMPORTS = (9, 60)  # at least, and at most: a shared machine takes twice the time for seconds on end
NEWEST_GLIBC = (2, 28)  # manylinux_2_28's, for our modules; the library put in may need a newer one
ENVIRONMENTS = {"oldest": ("numpy==2.0.*",), "newest": ("numpy", "ml_dtypes")}
TEST_PACKAGES = ("hypothesis", "mpmath", "pytest", "threadpoolctl")
TESTS = ("test_out.py", "test_threads.py")

FOLDERS = ("fastsoftmax", "tests", "benches", "docs", "examples", "tools")
BUILT = ("*.so", "*.pyd", "*.pyc", "*/__pycache__/*", "docs/_build/*", "*/.*")
SHIPPED = (
    "*.py",
    "*.pyi",
    "*.pxd",
    "*/py.typed",
    "*.npy",
    "*.npz",
    "fastsoftmax/kernels/kernels.h",
)

IMPORT = """
import time, numpy
start = time.thread_time()
import fastsoftmax
print(1e3 * (time.thread_time() - start))
"""
OPENMP = """
import threadpoolctl, fastsoftmax
found = [i for i in threadpoolctl.threadpool_info() if "fastsoftmax.libs" in i["filepath"]]
assert [i["user_api"] for i in found] == ["openmp"], threadpoolctl.threadpool_info()
fastsoftmax.set_num_threads(2)
with threadpoolctl.threadpool_limits(1, user_api="openmp"):
    assert fastsoftmax.get_num_threads() == 1, fastsoftmax.get_num_threads()
print("threadpoolctl finds", found[0]["filepath"].rpartition("/")[2])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheels", nargs="*", type=Path)
    wheels = parser.parse_args().wheels
    failures = [failure for wheel in wheels for failure in contents(wheel)]
    if not wheels:
        with tempfile.TemporaryDirectory() as folder:
            failures = everything(Path(folder))
    for failure in failures:
        print(f"FAILED: {failure}")
    sys.exit(1 if failures else 0)


def everything(folder: Path) -> list[str]:
    """Build, install and test in `folder`; return what is wrong."""
    step("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT)
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:  # the first releases of Python 3.11, Debian's among them
            archive.extractall(folder)
    source = folder / sdist.name.removesuffix(".tar.gz")
    failures = [f"the sdist lacks {name}" for name in sorted(tree(ROOT) - tree(source))]

    step("wheel from the sdist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, source)
    [built] = folder.glob("*.whl")
    failures += [*wide_registers(source / "build"), *new_symbols(built, folder / "modules")]

    step("auditwheel")
    run(sys.executable, "-m", "auditwheel", "repair", "--strip", "-w", folder / "repaired", built)
    [wheel] = (folder / "repaired").glob("*.whl")
    failures += contents(wheel)
    if "manylinux" not in wheel.name:
        failures.append(f"auditwheel found no manylinux tag: {wheel.name}")

    for name, packages in ENVIRONMENTS.items():
        step(f"installed beside {', '.join(packages)}")
        failures += [
            f"beside {', '.join(packages)}: {failure}"
            for failure in installed(folder / name, source / "tests", wheel, packages)
        ]
    return failures


def tree(root: Path) -> set[str]:
    """The files that belong into the sdist."""
    files = {
        str(path.relative_to(root))
        for folder in FOLDERS
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    return {name for name in files if not any(fnmatch(name, pattern) for pattern in BUILT)}


def contents(wheel: Path) -> Iterator[str]:
    """What is missing in a wheel or too much, and whether it is too large."""
    with zipfile.ZipFile(wheel) as archive:
        files = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size:,} bytes, unpacked {sum(f.file_size for f in files.values()):,}")
    if size > AIM_BYTES:
        print(f"    {size - AIM_BYTES:,} bytes above the aim of {AIM_BYTES:,}")
    if size > MOST_BYTES:
        yield f"{wheel.name} has {size:,} bytes, more than {MOST_BYTES:,}; the largest in it:"
        for info in sorted(files.values(), key=lambda info: -info.compress_size)[:5]:
            yield f"    {info.compress_size:,} of {info.filename}"
    names = {re.sub(r"\.(cpython|cp)-?\d+[^/]*\.(so|pyd)$", ".pyx", name) for name in files}
    sources = {name for name in tree(ROOT) if name.startswith("fastsoftmax/")}
    wanted = {name for name in sources if any(fnmatch(name, pattern) for pattern in SHIPPED)}
    wanted |= {name for name in sources if name.endswith(".pyx")}
    wanted.add("fastsoftmax/_cyutility.pyx")  # Cython's own, which the modules share
    yield from (f"{wheel.name} lacks {name}" for name in sorted(wanted - names))
    for name in sorted(names - wanted):
        if not fnmatch(name, "fastsoftmax.libs/libgomp-*") and ".dist-info/" not in name:
            yield f"{wheel.name} has {name}, which is no part of it"
    if not any(fnmatch(name, "*.dist-info/licenses/LICENSE") for name in names):
        yield f"{wheel.name} has no licence"


def wide_registers(build: Path) -> Iterator[str]:
    """Code that needs AVX and is not a kernel of a target that does: a stray -march does that."""
    objects = [path for path in build.rglob("*") if path.suffix in (".a", ".o")]
    plain = [path for path in objects if not re.search(r"avx", str(path.relative_to(build)))]
    if len(objects) - len(plain) < 2 or not any("baseline" in path.name for path in plain):
        yield f"not all of the kernels are under {build}"
    for path in plain:
        code = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", path],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        if found := re.search(r"^.*\tv\w+ .*%[xyz]mm.*$", code, re.MULTILINE):
            yield f"{path.name} needs AVX: {found[0].strip()}"


def new_symbols(wheel: Path, folder: Path) -> Iterator[str]:
    """Our modules' symbols of a newer C library than a manylinux_2_28 system has."""
    with zipfile.ZipFile(wheel) as archive:
        modules = [name for name in archive.namelist() if name.endswith(".so")]
        archive.extractall(folder, modules)
    for name in modules:
        table = subprocess.run(
            ["objdump", "-T", folder / name], capture_output=True, text=True, check=True
        ).stdout
        for version in sorted(set(re.findall(r"GLIBC_(\d+)\.(\d+)", table))):
            if tuple(map(int, version)) > NEWEST_GLIBC:
                yield f"{name} needs GLIBC {'.'.join(version)}"


def installed(
    environment: Path, tests: Path, wheel: Path, packages: tuple[str, ...]
) -> Iterator[str]:
    """What fails in a new environment with that wheel and these packages."""
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", wheel, *packages, *TEST_PACKAGES, quiet=True)
    imports, least = 0, math.inf
    while imports < IMPORTS[0] or (imports < IMPORTS[1] and least > MOST_IMPORT_MS):
        imports += 1
        least = min(least, float(run(python, "-P", "-c", IMPORT, quiet=True)))
    print(f"import fastsoftmax: {least:.1f} ms of CPU over import numpy, the least of {imports}")
    if least > MOST_IMPORT_MS:
        yield f"the import takes {least:.1f} ms, more than {MOST_IMPORT_MS}"
    commands = (
        ("-P", "-m", "fastsoftmax", "--selftest"),
        ("-P", "-c", OPENMP),
        ("-P", "-m", "pytest", "-q", "-x", *(tests / name for name in TESTS)),
    )
    for arguments in commands:
        try:
            run(python, *arguments)
        except subprocess.CalledProcessError as error:
            yield f"status {error.returncode} of python {' '.join(map(str, arguments))}"


def run(*command: object, quiet: bool = False) -> str:
    """Run a command away from the sources; print the end of its output, or all where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=tempfile.gettempdir(),
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print(done.stdout)
        done.check_returncode()
    elif not quiet:
        print("\n".join(done.stdout.splitlines()[-3:]))
    return done.stdout


def step(name: str) -> None:
    print(f"== {name} ({time.perf_counter() - START:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
