# Sourced: installs PyTorch into the virtual environment $venv; without a GPU, it installs the CPU build
# if available, not the CUDA build of several GB.
#
# Environment: SCMVP_TORCH  what pip is asked for (default: the CPU build, or CUDA's with a GPU)

torch_version=2.13.0
torch_cpu_index=https://download.pytorch.org/whl/cpu

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

# Bounded in time: behind a firewall pip itself would retry for minutes.
can_reach() {
  timeout 15 "$venv/bin/python" -c \
    'import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method="HEAD"), timeout=8)' \
    "$1/" >/dev/null 2>&1
}

pip_install() {
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check --progress-bar off "$@"
}

torch_build() {
  "$venv/bin/python" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null
}

# Whether pip finds a build for this Python on the disk of this machine (its setting find-links).
torch_on_disk() { pip_install --dry-run --no-index --no-deps "torch==$torch_version" >/dev/null 2>&1; }

# Whether a CPU build can be had: elsewhere than on Linux x86-64, pypi.org's is one.
has_cpu_torch() {
  [ -n "${SCMVP_TORCH:-}" ] || [ "$(uname -sm)" != "Linux x86_64" ] || torch_on_disk ||
    can_reach "$torch_cpu_index"
}

install_torch() {
  local there
  there=$(torch_build) || there=none
  if [[ -z ${SCMVP_TORCH:-} && $there == "$torch_version"* ]] &&
    ! { has_gpu && [[ $there == *+cpu ]]; }; then
    note "torch $there is there"
  elif [ -n "${SCMVP_TORCH:-}" ]; then
    note "torch: $SCMVP_TORCH"
    pip_install "$SCMVP_TORCH"
  elif has_gpu; then
    note "torch $torch_version with CUDA (a GPU was found)"
    # === takes the index's own build where a local "+cpu" wheel would rank higher
    pip_install "torch===$torch_version" || pip_install "torch==$torch_version"
  elif torch_on_disk; then
    note "torch $torch_version, as it lies on this machine"
    pip_install "torch==$torch_version"
  elif can_reach "$torch_cpu_index"; then
    note "torch $torch_version for the CPU"
    pip_install --extra-index-url "$torch_cpu_index" "torch==$torch_version"
  else
    note "torch $torch_version from pip's own sources, as $torch_cpu_index is out of reach"
    note "(on Linux x86-64, pypi.org's is the CUDA build of several GB)"
    pip_install "torch==$torch_version"
  fi
}
