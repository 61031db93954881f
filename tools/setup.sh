#!/usr/bin/env bash
# Everything the project needs, into .venv (Python) and .rlib (R), and by apt what is missing.
# Run it as often as you like: what is there is reused.
#
#   tools/setup.sh         the project
#   tools/setup.sh rpy2    rpy2 into .venv as well (R inside Python, engine="rpy2"; compiles)
#
# Environment: PYTHON       the interpreter .venv is made from (3.10-3.13 with a shared libpython)
#              SCMVP_TORCH  what pip is asked for (default: the CPU build, or CUDA's with a GPU)
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/common.sh
. tools/torch.sh

ruff=ruff==0.17.6 # each version formats a little differently
r_packages="Seurat SeuratObject reticulate Matrix rlang ggplot2 ggrepel patchwork testthat lintr
  processx jsonlite glasso glmnet igraph knitr rmarkdown vdiffr"
bioc_packages="BiocParallel destiny edgeR GenomicRanges HDF5Array MultiAssayExperiment rtracklayer
 SingleCellExperiment"
bioc_packages=${bioc_packages//$'\n'/}

# ---- system --------------------------------------------------------------------------------

# Why interpreter $1 cannot be used: nothing when it can, else "version", "libpython" or "venv".
# reticulate loads libpython into R, so an interpreter without a shared one is of no use.
python_lacks() {
  "$1" - 2>/dev/null <<'PY' || echo version
import glob, importlib.util, sys, sysconfig

def shared_library():
    get = sysconfig.get_config_var
    places = [get("LIBDIR"), get("LIBPL"), f"{sys.base_prefix}/lib"]
    names = f"libpython{sys.version_info[0]}.{sys.version_info[1]}*"
    return any(glob.glob(f"{p}/{names}.so*") + glob.glob(f"{p}/{names}.dylib") for p in places)

if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    print("version")
elif not shared_library():
    print("libpython")
elif importlib.util.find_spec("ensurepip") is None:
    print("venv")
PY
}

# The interpreter to build .venv from, in $base_python; empty when none is ready.
find_python() {
  base_python=
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    candidate=$(python_lacks "$PYTHON")
    [ -z "$candidate" ] || fail "PYTHON=$PYTHON cannot be used ($candidate): set PYTHON to a Python" \
      "3.10-3.13 that has a shared libpython and the venv module."
    base_python=$PYTHON
    return
  fi
  # the system's own first: it is built against the same libraries as the system's R
  for candidate in /usr/bin/python3 python3 python3.{11,12,13,10} /usr/bin/python3.{11,12,13,10}; do
    candidate=$(command -v "$candidate") || continue
    if [ -z "$(python_lacks "$candidate")" ]; then
      base_python=$candidate
      return
    fi
  done
}

# What R has, asked once: $r_missing (of $r_packages and $bioc_packages) and $r_caps (pip
# constraints it imposes).
ask_r() {
  r_missing="$r_packages $bioc_packages"
  r_caps=
  command -v Rscript >/dev/null || return 0
  local answer
  answer=$(Rscript --no-init-file - $r_packages $bioc_packages <<'R'
wanted <- commandArgs(TRUE)
has <- vapply(wanted, function(p) nzchar(system.file(package = p)), logical(1))
cat(if (getRversion() < "4.2") "old", wanted[!has], "\n")
# reticulate before 1.38 refuses NumPy 2, and anndata wants zarr 2 with NumPy 1
if (has[["reticulate"]] && packageVersion("reticulate") < "1.38") cat("numpy<2 zarr<3\n")
R
  ) || fail "Rscript does not run: $answer"
  r_missing=$(head -n 1 <<<"$answer")
  r_caps=$(tail -n +2 <<<"$answer")
  [[ $r_missing != old* ]] || fail "R 4.2 or later is needed; $(R --version | head -n 1) is too old."
}

has_compiler() { echo '#include <math.h>' | cc -E - >/dev/null 2>&1; }

# Debian names of what is missing, in $wanted.
find_wanted() {
  wanted=()
  command -v Rscript >/dev/null || wanted+=(r-base-core)
  local package version
  command -v pandoc >/dev/null || wanted+=(pandoc) # for the vignettes
  has_compiler || wanted+=(gcc libc6-dev) # for src/
  ask_r
  for package in $r_missing; do
    if [[ " $bioc_packages " == *" $package "* ]]; then
      wanted+=("r-bioc-${package,,}")
    else
      wanted+=("r-cran-${package,,}")
    fi
  done
  if [ ! -x "$venv/bin/python" ]; then
    find_python
    if [ -z "$base_python" ]; then
      if [ -x /usr/bin/python3 ]; then
        version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        wanted+=(python3-venv "libpython$version")
      else
        wanted+=(python3)
      fi
    fi
  fi
}

tell_wanted() {
  cat <<TEXT
error: this machine lacks something the project needs, and apt cannot be used to install it (no
apt-get, or neither root nor sudo). Install these and run the same command again:
  on Debian and Ubuntu   apt-get install --no-install-recommends ${wanted[*]}
  elsewhere              R 4.2 or later and a C compiler; Python 3.10-3.13 with its venv module and a shared libpython
                         (the system's own, or pyenv's with PYTHON_CONFIGURE_OPTS=--enable-shared)
TEXT
  [ -z "$r_missing" ] ||
    echo "  in R                   BiocManager::install(c($(printf '"%s", ' $r_missing | sed 's/, $//')))"
}

system_packages() {
  find_wanted
  [ ${#wanted[@]} -gt 0 ] || return 0
  if ! can_apt; then
    tell_wanted >&2
    exit 1
  fi
  say "system packages: ${#wanted[@]} missing"
  local round
  for round in 1 2; do # the second round for what only shows once python3 itself is there
    apt_install "${wanted[@]}"
    hash -r
    find_wanted
    [ ${#wanted[@]} -gt 0 ] || return 0
  done
  fail "still missing after apt-get install: ${wanted[*]}"
}

# ---- Python --------------------------------------------------------------------------------

# Pinned versions: torch as installed, versions that the R side can load, and the style tools.
write_constraints() {
  echo "torch==$(torch_build)"
  printf '%s\n' $r_caps "$ruff"
}

# A key of the required state of .venv, which is updated when the key changes.
python_key() {
  {
    cat tools/setup.sh tools/torch.sh python/pyproject.toml
    echo "${SCMVP_TORCH:-} $r_caps $PWD"
    ! has_gpu || echo gpu
  } | sha256sum | cut -d' ' -f1
}

python_environment() {
  local key stamp=$venv/.scmvp-stamp
  if [ -x "$venv/bin/python" ] && [ -n "$(python_lacks "$venv/bin/python")" ]; then
    say "Python: .venv cannot be used any more, making it anew"
    rm -rf "$venv"
  fi
  key=$(python_key)
  [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$key" ] || return 0
  if [ ! -x "$venv/bin/python" ]; then
    find_python
    say "Python: .venv from $base_python ($("$base_python" -V 2>&1))"
    "$base_python" -m venv "$venv"
  else
    say "Python: bringing .venv up to date"
  fi
  install_torch
  write_constraints >"$venv/constraints.txt"
  note "the other packages, with $(tr '\n' ' ' <"$venv/constraints.txt")"
  pip_install -c "$venv/constraints.txt" -e 'python[dev,analysis,fast,replicates]'
  echo "$key" >"$stamp"
}

# ---- R -------------------------------------------------------------------------------------

# The package is installed again when a file that goes into it has changed.
r_key() {
  { find DESCRIPTION NAMESPACE configure cleanup R man inst src python/scmvp python/pyproject.toml \
    python/README.md -type f \
    -not -path '*/__pycache__/*' -not -path 'inst/python/*' -not -name '*.o' -not -name '*.so' 2>/dev/null || true; } |
    LC_ALL=C sort | xargs -d '\n' sha256sum | cat - <(R RHOME) | sha256sum | cut -d' ' -f1
}

r_package() {
  local key stamp=$rlib/.scmvp-stamp log
  key=$(r_key)
  if [ -d "$rlib/scMVP" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then return 0; fi
  say "R: installing scMVP into .rlib"
  mkdir -p "$rlib"
  log=$rlib/install.log
  if ! R CMD INSTALL --no-multiarch --library="$rlib" . >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    fail "R CMD INSTALL failed (the whole log is in .rlib/install.log)"
  fi
  echo "$key" >"$stamp"
}

rpy2() {
  if "$venv/bin/python" -c 'import rpy2.robjects' 2>/dev/null; then
    say "rpy2 is there"
    return
  fi
  if [ "$(Rscript --vanilla -e 'cat(getRversion() >= "4.5")')" = TRUE ]; then
    local version='rpy2>=3.6'
  else
    local version='rpy2==3.5.17' # later ones need functions of R 4.5
  fi
  say "rpy2: $version, compiled against $(R --version | head -n 1)"
  ! can_apt || dpkg -s r-base-dev python3-dev >/dev/null 2>&1 || apt_install r-base-dev python3-dev
  pip_install -c "$venv/constraints.txt" "$version"
}

began=$SECONDS
system_packages
python_environment
r_package
[ "${1:-}" != rpy2 ] || rpy2
[ $((SECONDS - began)) -lt 5 ] || say "set up in $(duration $((SECONDS - began)))"
