#!/usr/bin/env bash
# Runs suites of tests and ends with a summary: tools/test.sh [python] [r] [style]
# A suite that fails does not keep the next from running. Exit status 0: something ran, nothing failed.
# Suites take a core each: that of R runs beside the others and is shown when they are done.
# With SCMVP_RESULTS=dir the results stay in dir as one .tsv per suite, for a summary over more.
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/common.sh
. tools/results.sh
use_project
# the tests' matrices are small: more threads than one only wait for each other
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

[ $# -gt 0 ] || set -- python r style
keep=${SCMVP_RESULTS:-}
results=${keep:-$(mktemp -d)}
trap 'stop_beside; [ -n "$keep" ] || rm -rf "$results"' EXIT

test_python() {
  # without CI in the environment: there pytest prints whole diffs, which can be 100,000 lines
  env -u CI "$SCMVP_PYTHON" -m pytest -c python/pyproject.toml --rootdir . -q --tb=short \
    --junitxml="$results/python.xml" tests/python
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
  check style lintr Rscript tools/lint.R
}

last=
if [ $# -gt 1 ]; then
  case " $* " in *" r "*) last=r && beside "$results/r.log" test_r ;; esac
fi
for suite in "$@"; do
  if [ "$suite" != "$last" ]; then
    say "tests: $suite"
    "test_$suite"
  fi
done
if [ -n "$last" ]; then
  say "tests: $last"
  joined
fi

if [ -n "$keep" ]; then summary "$@" >/dev/null; else summary "$@"; fi
