# Sourced by the other scripts: shared paths, messages and helper functions.

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

# beside LOG COMMAND...: meanwhile, what it says in a file; joined waits for all of these and shows that.
# Each is a job of its own (set -m) because background commands of scripts do not hear the interrupts
# that tests send, and because it is stopped as a whole.
beside_jobs=()
beside_logs=()
beside() {
  beside_logs+=("$1")
  shift
  set -m
  "$@" >"${beside_logs[${#beside_logs[@]} - 1]}" 2>&1 &
  beside_jobs+=($!)
  set +m
}
joined() {
  local status=0 i
  for ((i = 0; i < ${#beside_logs[@]}; i++)); do
    wait "${beside_jobs[i]}" || status=$?
    cat "${beside_logs[i]}"
  done
  beside_jobs=()
  beside_logs=()
  return "$status"
}
stop_beside() {
  local i
  for ((i = 0; i < ${#beside_jobs[@]}; i++)); do kill -- "-${beside_jobs[i]}" 2>/dev/null; done
  return 0
}

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
  # another suite may be installing, too
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq -o DPkg::Lock::Timeout=600 --no-install-recommends "$@" >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; fail "apt-get install failed."; }
  rm -f "$log"
}
