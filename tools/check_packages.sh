#!/usr/bin/env bash
# Installs what tools/packages.sh left in dist/ as a user would, away from the checkout, and makes a first
# small fit: the wheel into an empty virtual environment of each Python 3.10-3.13 of this machine, the R
# package into an empty library, with the last of these environments that has PyTorch.
#
#   tools/check_packages.sh
#
# Where no CPU build of PyTorch can be had for a Python, everything else is installed there, and what
# needs no PyTorch runs. Prints seconds and megabytes of each step. With SCMVP_RESULTS=dir the results
# stay there for a summary over more.
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/common.sh
. tools/results.sh
. tools/torch.sh
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # as in tools/test.sh
unset PYTHONPATH R_LIBS SCMVP_PYTHON # what is installed, and nothing else

dist=$root/dist
keep=${SCMVP_RESULTS:-}
results=${keep:-$(mktemp -d)}
work=$(mktemp -d)
trap 'stop_beside; rm -rf "$work"; [ -n "$keep" ] || rm -rf "$results"' EXIT
trap 'exit 130' INT TERM
export PIP_COMPILE=0 # Python compiles what is used

# measured NAME FOLDER COMMAND...: one result, with the time it took and the size of the folder after it.
measured() {
  local name=$1 folder=$2 began=$SECONDS status=0 log
  shift 2
  log=$(mktemp -p "$work")
  "$@" >"$log" 2>&1 || status=$?
  [ "$status" = 0 ] || tail -n 20 "$log" >&2
  check packages "$name" test "$status" = 0
  note "$(printf '%-44s %4d s %6d MB' "$name" $((SECONDS - began)) "$(du -sm "$folder" | cut -f1)")"
  return "$status"
}

# The Python of a minor version, on the PATH or among pyenv's, if it runs and makes environments.
find_minor() {
  local candidate
  for candidate in "python$1" /usr/bin/"python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    if "$candidate" -c 'import ensurepip' >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# Requirements of the wheel but for torch, one a line.
other_requirements() {
  "$venv/bin/python" - "$1" <<'PY'
import email, sys, zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    for line in email.message_from_bytes(wheel.read(name)).get_all("Requires-Dist"):
        if "extra ==" not in line and not line.startswith("torch"):
            print(line)
PY
}

install_wheel() {
  pip_install "torch==$(torch_build)" "$1" && "$venv/bin/python" -m pip check
}

install_without_torch() {
  other_requirements "$1" >"$venv/requirements.txt"
  pip_install -r "$venv/requirements.txt" && pip_install --no-deps "$1"
}

# Everything that needs no PyTorch, and the sentence that asks for it.
without_torch() {
  "$venv/bin/python" - <<'PY'
import scmvp

scmvp.simulate(n_cells=60, n_genes=80, n_peaks=120, n_types=2).write("cells.h5mu")
cells = scmvp.filter_paired(scmvp.read("cells.h5mu"), min_genes=1, min_peaks=1, min_cells=1)
assert cells.n_obs == 60, cells
try:
    scmvp.SCMVP
except ImportError as error:
    assert "pip install torch" in str(error), error
else:
    raise SystemExit("scmvp.SCMVP without torch")
PY
}

first_fit() {
  "$venv/bin/python" -c 'import scmvp; scmvp.simulate(200, 150, 300, 3).write("cells.h5mu")' &&
    "$venv/bin/python" -m scmvp fit cells.h5mu --out result --n-clusters 3 --max-epochs 3 &&
    "$venv/bin/python" - <<'PY'
import csv, scmvp

with open("result/latent.csv") as file:
    named = [row["cell"] for row in csv.DictReader(file)]
assert named == list(scmvp.read("cells.h5mu").obs_names), named[:3]
PY
}

# The same from R; backend = "auto" runs Python beside R where R cannot load this one.
first_fit_in_r() {
  R_LIBS=$1 SCMVP_PYTHON=$2 Rscript -e 'library(scMVP)' \
    -e 'object <- SimulateSCMVP(n.cells = 200, n.genes = 150, n.peaks = 300, n.types = 3)' \
    -e 'object <- RunSCMVP(object, n.clusters = 3, max.epochs = 3)' \
    -e 'latent <- SeuratObject::Embeddings(object, "scmvp")' \
    -e 'stopifnot(identical(rownames(latent), colnames(object)), all(is.finite(latent)))'
}

# One Python: an environment, the wheel, a first use in an empty folder.
try_python() {
  local minor=$1 wheel=$2 base
  if ! base=$(find_minor "$minor"); then
    skip packages "Python $minor" "this machine has none"
    return
  fi
  venv=$work/python$minor
  mkdir "$work/cells$minor"
  note "Python $minor: $("$base" -V 2>&1), $base"
  measured "Python $minor: the environment" "$venv" "$base" -m venv "$venv" || return
  if has_cpu_torch; then
    measured "Python $minor: PyTorch" "$venv" install_torch &&
      measured "Python $minor: the wheel" "$venv" install_wheel "$wheel" &&
      measured "Python $minor: first fit" "$work/cells$minor" in_folder "$work/cells$minor" first_fit &&
      echo "$venv" >>"$work/with_torch"
  else
    skip packages "Python $minor: first fit" "no CPU build of PyTorch $torch_version can be had for it"
    measured "Python $minor: the wheel, without PyTorch" "$venv" install_without_torch "$wheel" &&
      measured "Python $minor: what needs no PyTorch" "$work/cells$minor" \
        in_folder "$work/cells$minor" without_torch
  fi
}

in_folder() { (cd "$1" && shift && "$@"); }

compgen -G "$dist/scmvp-*.whl" >/dev/null || fail "dist/ has no packages: make packages makes them."

say "the packages, installed from dist/"
for minor in 3.10 3.11 3.12 3.13; do
  beside "$work/python$minor.log" try_python "$minor" "$(echo "$dist"/scmvp-*.whl)"
done
joined

with_torch=$(sort -V "$work/with_torch" 2>/dev/null | tail -n 1)
if [ -z "$with_torch" ]; then
  skip packages "R package" "no Python with PyTorch to run it with"
elif ! command -v Rscript >/dev/null; then
  skip packages "R package" "needs R"
else
  mkdir "$work/rlib" "$work/cellsR"
  measured "R: the source package" "$work/rlib" \
    R CMD INSTALL --no-multiarch --library="$work/rlib" "$(echo "$dist"/scMVP_*.tar.gz)" &&
    measured "R: first fit" "$work/cellsR" \
      in_folder "$work/cellsR" first_fit_in_r "$work/rlib" "$with_torch/bin/python"
fi

if [ -n "$keep" ]; then summary packages >/dev/null; else summary packages; fi
