"""Python scripts run in a process of their own, under a time limit."""

import os
import subprocess
import sys

LIMIT = 120  # seconds; far above what any of the scripts takes, for a machine that is busy


def run_python(script, *arguments, environment=None, check=True, options=()):
    """Run `script` with what is in `environment` set, and None there unset; text in and out.

    The script starts where no source tree of the package is on the path, and meets none of the
    caller's settings of threads or instruction set.
    """
    variables = {
        k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "FASTSOFTMAX_ISA")
    }
    for name, value in (environment or {}).items():
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value
    done = subprocess.run(
        [sys.executable, *options, "-c", script, *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=os.path.dirname(sys.executable),
    )
    if check and done.returncode:
        raise AssertionError(f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done
