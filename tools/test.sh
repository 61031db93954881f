#!/usr/bin/env bash
# Runs suites of tests and ends with a summary: tools/test.sh [quick] [python] [r] [style]
# A suite that fails does not keep the next from running. Exit status 0: something ran, nothing failed.
# pytest has a process for every core; the others run beside it, one core each, and are shown when it is
# done. It is nice to them, because they cannot be divided: so all cores are busy to the end.
# quick: without the tests marked as slow (pytest.mark.slow, skip_slow() in R).
# With SCMVP_RESULTS=dir the results stay in dir as one .tsv per suite, for a summary over more.
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/common.sh
. tools/results.sh
use_project
# the tests' matrices are small: more threads than one only wait for each other
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export NUMBA_NUM_THREADS=${NUMBA_NUM_THREADS:-$OMP_NUM_THREADS} # or scanpy sets OpenMP's for good

unset PYTHONDONTWRITEBYTECODE # or each Python that a test starts compiles the package

chosen=
if [ "${1:-}" = quick ]; then
  export SCMVP_QUICK=1
  chosen="not slow"
  shift
fi
[ $# -gt 0 ] || set -- python r style
keep=${SCMVP_RESULTS:-}
results=${keep:-$(mktemp -d)}
trap 'stop_beside; [ -n "$keep" ] || rm -rf "$results"' EXIT
trap 'exit 130' INT TERM # pytest handles an interrupt itself and exits as if nothing had happened

test_python() {
  # without CI in the environment: there pytest prints whole diffs, which can be 100,000 lines
  # a file of tests stays in one process, with what its tests share
  env -u CI nice -n 5 "$SCMVP_PYTHON" -m pytest -c python/pyproject.toml --rootdir . -q --tb=short \
    -n "$(getconf _NPROCESSORS_ONLN)" --dist loadfile -m "$chosen" \
    --durations 10 --junitxml="$results/python.xml" tests/python
  "$SCMVP_PYTHON" tools/junit_results.py "$results/python.xml" >"$results/python.tsv"
}

# Tests see the installed package, as a user has it.
test_r() {
  Rscript tools/test_r.R tests/testthat "$results/r.tsv"
}

test_style() {
  local settings="--config python/pyproject.toml" places="python tests tools bench"
  # shellcheck disable=SC2086
  check style ruff "$SCMVP_PYTHON" -m ruff check $settings $places
  # shellcheck disable=SC2086
  check style ruff-format "$SCMVP_PYTHON" -m ruff format $settings --check $places
  check style import-linter env PYTHONPATH=python "$(dirname "$SCMVP_PYTHON")/lint-imports" \
    --config python/pyproject.toml --no-cache
  if "$SCMVP_PYTHON" -c "import mypy" 2>/dev/null; then
    check style mypy "$SCMVP_PYTHON" -m mypy --config-file python/pyproject.toml
  else
    skip style mypy "needs mypy in $SCMVP_PYTHON: pip install './python[dev]'"
  fi
  check style lintr Rscript tools/lint.R
}

run_suite() {
  say "tests: $1"
  "test_$1"
}

case " $* " in *" python "*) spread=python ;; *) spread=${!#} ;; esac
for suite in "$@"; do
  [ "$suite" = "$spread" ] || beside "$results/$suite.log" run_suite "$suite"
done
run_suite "$spread"
joined

if [ -n "$keep" ]; then summary "$@" >/dev/null; else summary "$@"; fi
