#!/usr/bin/env bash
# The project on a machine that has nothing: a minimal Debian root with git, make and python3 only, the
# checkout copied into it, and commands run there in a clean environment, each with its wall time.
#
#   sudo tools/fresh-root.sh DIR [COMMAND...]     default: 'make demo' 'make test' 'make setup'
#
# DIR must not exist; it is left there afterwards (nothing stays mounted, so rm -rf is safe).
# Environment: SCMVP_ROOT_SUITE      the Debian release (bookworm)
#              SCMVP_ROOT_BINDS      paths of this machine to show in the root, read-only (a package
#                                    cache, certificates, data; separated by spaces)
#              SCMVP_ROOT_ENV        names of variables to pass on (separated by spaces)
#              SCMVP_DEBIAN_MIRROR   where debootstrap takes packages from
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/common.sh
. tools/roots.sh

[ $# -ge 1 ] || fail "usage: tools/fresh-root.sh DIR [COMMAND...]"
dir=$(realpath -m "$1")
shift
[ $# -gt 0 ] || set -- 'make demo' 'make test' 'make setup'
[ ! -e "$dir" ] || fail "$dir exists: a fresh root needs a new place."
reason=$(can_make_roots) || fail "cannot make a root here: $reason."

make_root "$dir" "${SCMVP_ROOT_SUITE:-bookworm}" git,make,python3,ca-certificates
# a clone, and over it what is not committed yet
git clone --quiet --no-hardlinks . "$dir/root/scMVP"
git ls-files -d -z | (cd "$dir/root/scMVP" && xargs -0 -r rm -f)
export_sources "$dir/root/scMVP"

passed=()
for name in ${SCMVP_ROOT_ENV:-}; do
  [ -z "${!name+set}" ] || passed+=("$name=${!name}")
done

report=()
status=0
for command in "$@"; do
  say "in the root: $command"
  began=$(date +%s)
  result=ok
  in_root "$dir" "${SCMVP_ROOT_BINDS:-}" env -i HOME=/root LANG=C.UTF-8 TERM=dumb \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${passed[@]}" \
    bash -c "cd /root/scMVP && $command" || { result="FAILED ($?)"; status=1; }
  report+=("$(printf '   %-32s %8s s   %s' "$command" $(($(date +%s) - began)) "$result")")
done
say "wall time in $dir"
printf '%s\n' "${report[@]}"
exit $status
