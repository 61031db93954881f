# Sourced by the other scripts: where things are, and how they speak.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
rlib=$root/.rlib

say() { printf '== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Everything that runs the project from its checkout uses this Python and this R library.
use_project() {
  export SCMVP_PYTHON=${SCMVP_PYTHON:-$venv/bin/python}
  export R_LIBS=$rlib${R_LIBS:+:$R_LIBS}
}

# Seconds as "75 s" or "12 min 30 s".
duration() {
  if [ "$1" -lt 120 ]; then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi
}

# beside LOG COMMAND...: on another core, what it says in a file; joined waits for it and shows that.
# It is a job of its own (set -m) because background commands of scripts do not hear the interrupts
# that tests send, and because it is stopped as a whole.
beside() {
  beside_log=$1
  shift
  set -m
  "$@" >"$beside_log" 2>&1 &
  beside_job=$!
  set +m
}
joined() {
  local status=0
  wait "$beside_job" || status=$?
  beside_job=
  cat "$beside_log"
  return "$status"
}
stop_beside() { [ -z "${beside_job:-}" ] || kill -- "-$beside_job" 2>/dev/null || true; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_apt() {
  command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }
}

# apt_install PACKAGE...: only those packages, nothing recommended.
apt_install() {
  local log
  log=$(mktemp)
  if ! find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mmin -1440 2>/dev/null | grep -q .; then
    note "apt-get update"
    as_root apt-get update -qq >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "apt-get update failed."; }
  fi
  note "apt-get install $*"
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; fail "apt-get install failed."; }
  rm -f "$log"
}
