# Sourced: Debian roots made by debootstrap, to see the project on a system other than this one.
# Everything is mounted in a private mount namespace that ends with its command, so that nothing is
# ever left mounted below a root.

# can_make_roots: succeeds if this machine permits it; otherwise prints the reason in one line and fails.
can_make_roots() {
  if [ "$(id -u)" != 0 ]; then echo "needs root"; return 1; fi
  if ! command -v debootstrap >/dev/null && { ! can_apt || ! apt_install debootstrap >&2; }; then
    echo "needs debootstrap"
    return 1
  fi
  if ! unshare --mount --propagation private true 2>/dev/null; then
    echo "needs a private mount namespace (unshare --mount)"
    return 1
  fi
}

# make_root DIR SUITE PACKAGES: a minimal Debian, complete or not there at all.
make_root() {
  local dir=$1 suite=$2 packages=$3 log=$1.log
  [ ! -e "$dir" ] || return 0
  say "debootstrap $suite into $dir"
  mkdir -p "$(dirname "$dir")"
  rm -rf --one-file-system "$dir.partial"
  if ! unshare --mount --propagation private debootstrap --variant=minbase --include="$packages" "$suite" "$dir.partial" \
    ${SCMVP_DEBIAN_MIRROR:+"$SCMVP_DEBIAN_MIRROR"} >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    return 1
  fi
  mv "$dir.partial" "$dir"
}

# in_root DIR "BIND..." COMMAND...: the command in the root, with what a running system has (/proc, /sys,
# parts of /dev) and each BIND (an absolute path, file or folder) mounted read-only at the same place.
in_root() {
  unshare --mount --propagation private bash -euc '
    root=$1 binds=$2
    shift 2
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    for path in $binds; do
      if [ -d "$path" ]; then mkdir -p "$root$path"; else
        mkdir -p "$root$(dirname "$path")"
        [ -e "$root$path" ] || touch "$root$path"
      fi
      mount --bind -o ro "$path" "$root$path"
    done
    exec chroot "$root" "$@"' in_root "$@"
}

# export_sources DIR: the checkout as a clone would have it, with what is not committed yet.
export_sources() {
  mkdir -p "$1"
  git -C "$root" ls-files -co --exclude-standard -z |
    (cd "$root" && xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh) |
    tar -C "$root" --null -T - -c | tar -C "$1" -x
}
