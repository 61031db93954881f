#!/usr/bin/env bash
# The packages as they are published, into dist/:
#   scmvp-VERSION.tar.gz and scmvp-VERSION-py3-none-any.whl for Python, scMVP_VERSION.tar.gz for R
#
#   tools/packages.sh         with the vignettes of R, each of their chunks executed
#   tools/packages.sh quick   without them
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/common.sh
. tools/roots.sh
use_project
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # as in tools/test.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p dist
rm -f dist/scmvp-* dist/scMVP_*
export_sources "$work/scMVP"

# shown when it failed
logged() { "$@" >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; fail "$1 failed"; }; }

say "Python: source distribution, and the wheel from it"
logged "$SCMVP_PYTHON" -m build --no-isolation --outdir dist "$work/scMVP/python"

vignettes=
[ "${1:-}" != quick ] || vignettes=--no-build-vignettes
say "R: source package${vignettes:+ without vignettes}"
# shellcheck disable=SC2086
(cd "$work" && logged R CMD build $vignettes scMVP)
mv "$work"/scMVP_*.tar.gz dist

for file in dist/scmvp-* dist/scMVP_*; do
  note "$file, $(($(wc -c <"$file") / 1024)) kB"
done
