#!/usr/bin/env bash
# The site, into site/: index.html, r/ (pkgdown) and python/ (Sphinx). Examples, vignettes and notebooks
# are executed; warnings and links that lead nowhere are errors. Needs no network once its tools are there.
# Exit status 3 and one line on standard output: it cannot be built here, and why.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/common.sh
. tools/roots.sh
use_project
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # as in tools/test.sh
export NUMBA_NUM_THREADS=${NUMBA_NUM_THREADS:-$OMP_NUM_THREADS}

cannot() { echo "$*"; exit 3; }

site_tools() {
  command -v pandoc >/dev/null && Rscript -e 'quit(status = !requireNamespace("pkgdown"))' >/dev/null 2>&1 ||
    { can_apt && apt_install r-cran-pkgdown pandoc; } || cannot "needs pkgdown and pandoc"
  "$SCMVP_PYTHON" -c 'import igraph, myst_nb, pydata_sphinx_theme, scanpy' 2>/dev/null || {
    note "Sphinx and its extensions, into .venv"
    "$SCMVP_PYTHON" -m pip install -qq -c "$venv/constraints.txt" -e 'python[docs]' || cannot "needs './python[docs]'"
  }
}

# Links of README and CONTRIBUTING to documents lead to their pages; figures are where pkgdown takes them from.
for_r() {
  rm -rf "$1/.github"
  mkdir -p "$1/man/figures"
  cp "$1"/docs/figures/* "$1/man/figures"
  sed -E -i -e 's#\]\(docs/([^)]*)\.md\)#](../python/\1.html)#g' -e 's#\]\(docs/figures/#](man/figures/#g' \
    -e 's#\]\(vignettes/([^)]*)\.Rmd\)#](articles/\1.html)#g' \
    "$1/README.md" "$1/CONTRIBUTING.md"
  Rscript tools/site.R "$1" "$2"
}

for_python() {
  PYTHONPATH=$1/python "$SCMVP_PYTHON" -m sphinx -q -W --keep-going -b html "$1/docs" "$2" &&
    rm -rf "$2/.doctrees" "$2/.buildinfo" "$2/../jupyter_execute"
}

began=$SECONDS
site_tools >&2
work=$(mktemp -d)
trap 'stop_beside; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export_sources "$work/scMVP"
cp -R "$work/scMVP" "$work/scMVP-r"
mkdir "$work/site"

say "site: R by pkgdown, Python by Sphinx" >&2
beside "$work/r.log" for_r "$work/scMVP-r" "$work/site/r"
for_python "$work/scMVP" "$work/site/python" >&2 || fail "Sphinx failed"
note "python/ after $(duration $((SECONDS - began)))" >&2
joined >"$work/joined.log" || { tail -n 40 "$work/joined.log" >&2; fail "pkgdown failed"; }
note "r/ after $(duration $((SECONDS - began)))" >&2
cp docs/_templates/start.html "$work/site/index.html"
"$SCMVP_PYTHON" tools/site_links.py "$work/site" >&2
rm -rf site
mv "$work/site" site
note "site/index.html, $(du -sm site | cut -f1) MB, in $(duration $((SECONDS - began)))" >&2
