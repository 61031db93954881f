#!/usr/bin/env bash
# testthat, and the bridge from Python, with Seurat 5 and R 4.5, in a Debian trixie root that is made
# once and kept:
#   sudo tools/seurat5.sh RESULTS.tsv
#   sudo tools/seurat5.sh root           only makes the root
# Exit status 3 and one line on standard output: it cannot be done here, and why.
# The Python side is this checkout's .venv, seen in the root at the same place.
# Environment: SCMVP_TRIXIE_ROOT   the root (/var/cache/scmvp/trixie; 2.5 GB)
#              SCMVP_ROOT_R_LIBS   further R libraries in the root (Signac, BPCells; separated by ":")
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/common.sh
. tools/roots.sh

results=$1
trixie=${SCMVP_TRIXIE_ROOT:-/var/cache/scmvp/trixie}
packages="r-base-core r-cran-seurat r-cran-reticulate r-cran-testthat r-cran-ggplot2 r-cran-patchwork
  r-cran-rlang r-cran-processx r-cran-jsonlite r-cran-glasso r-cran-glmnet r-cran-igraph
  r-bioc-singlecellexperiment r-bioc-multiassayexperiment r-bioc-hdf5array r-bioc-biocparallel
  r-bioc-genomicranges r-bioc-rtracklayer r-bioc-destiny r-cran-vdiffr procps libpython3.13 make
  gcc libc6-dev"

cannot() { echo "$*"; exit 3; }

reason=$(can_make_roots) || cannot "$reason"
make_root "$trixie" trixie ca-certificates >&2 || cannot "debootstrap trixie failed"
if [ "$(cat "$trixie/.scmvp-packages" 2>/dev/null)" != "$packages" ]; then
  say "apt-get install in $trixie" >&2
  # shellcheck disable=SC2086
  in_root "$trixie" "" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c \
    'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' sh $packages \
    >"$trixie.log" 2>&1 || cannot "apt-get install in the trixie root failed (see $trixie.log)"
  echo "$packages" >"$trixie/.scmvp-packages"
fi

[ "$results" != root ] || exit 0

# A root of another release has another Python: show it the one behind .venv, with its library.
read -r interpreter python_files < <("$venv/bin/python" - <<'PY'
import glob, os, sys, sysconfig

get = sysconfig.get_config_var
interpreter = os.path.realpath(sys._base_executable)
paths = {interpreter, sysconfig.get_path("stdlib")}
paths |= set(glob.glob(f"{get('LIBDIR')}/libpython{get('py_version_short')}*.so*"))
if sys.base_prefix != "/usr":
    paths.add(sys.base_prefix)
print(interpreter, *sorted(paths))
PY
)
view=$trixie/root/venv # .venv with a link to that very interpreter: "python3" is another one there
rm -rf --one-file-system "$view"
mkdir -p "$view/bin"
cp "$venv/pyvenv.cfg" "$view"
ln -s "$interpreter" "$view/bin/python"
ln -s "$venv/lib" "$view/lib"

sources=$trixie/root/scMVP
rm -rf --one-file-system "$sources" "$trixie/root/rlib"
mkdir -p "$trixie/root/rlib"
export_sources "$sources"
in_root "$trixie" "$venv $python_files" env -i HOME=/root LANG=C.UTF-8 CI="${CI:-}" OMP_NUM_THREADS=1 \
  PATH=/usr/sbin:/usr/bin:/sbin:/bin R_LIBS="/root/rlib${SCMVP_ROOT_R_LIBS:+:$SCMVP_ROOT_R_LIBS}" SCMVP_PYTHON=/root/venv/bin/python bash -euc '
    cd /root/scMVP
    . tools/common.sh
    R CMD INSTALL --no-docs . >/root/install.log 2>&1 || { tail -n 20 /root/install.log; exit 1; }
    Rscript -e "cat(R.version.string, \"with Seurat\", format(packageVersion(\"Seurat\")), \"\n\")"
    trap stop_beside EXIT
    beside /root/bridge.log /root/venv/bin/python -m pytest -c python/pyproject.toml --rootdir . -q --tb=short \
      --junitxml=/root/bridge.xml tests/python/test_rbridge.py
    # these are of messages, pages, processes and numbers, not of objects
    SCMVP_TESTS_LEFT_OUT="advice|docs|encoding|glasso|lasso|misuse|process" Rscript tools/test_r.R tests/testthat /root/results.tsv
    joined || true
    /root/venv/bin/python tools/junit_results.py /root/bridge.xml >>/root/results.tsv' >&2
mv "$trixie/root/results.tsv" "$results"
