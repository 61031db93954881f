# Sourced: results of tests as lines "passed|failed|skipped <tab> name <tab> reason" in $results/SUITE.tsv.

# check SUITE NAME COMMAND...: runs the command; its exit status is one result.
check() {
  local suite=$1 name=$2
  shift 2
  if "$@"; then
    printf 'passed\t%s\t\n' "$name" >>"$results/$suite.tsv"
  else
    printf 'failed\t%s\texit status %s\n' "$name" "$?" >>"$results/$suite.tsv"
  fi
}

skip() { # SUITE NAME REASON
  printf 'skipped\t%s\t%s\n' "$2" "$3" >>"$results/$1.tsv"
  note "skipped: $2: $3"
}

# summary SUITE...: a line per suite, every skip and failure, and last the totals alone on a line.
# A suite that left no result counts as failed. Fails when something failed or nothing passed.
summary() {
  local suite
  for suite in "$@"; do
    [ -s "$results/$suite.tsv" ] ||
      printf 'failed\t%s\tnothing ran\n' "$suite" >"$results/$suite.tsv"
  done
  say "summary"
  for suite in "$@"; do
    awk -F '\t' -v suite="$suite" '{ n[$1]++ } END {
      printf "   %-10s %5d passed %5d failed %5d skipped\n", suite, n["passed"], n["failed"], n["skipped"] }' \
      "$results/$suite.tsv"
  done
  for suite in "$@"; do
    awk -F '\t' -v suite="$suite" '$1 != "passed" { printf "   %s: %s: %s: %s\n", $1, suite, $2, $3 }' \
      "$results/$suite.tsv"
  done
  for suite in "$@"; do cat "$results/$suite.tsv"; done | awk -F '\t' '{ n[$1]++ } END {
    printf "%d passed, %d failed, %d skipped\n", n["passed"], n["failed"], n["skipped"]
    exit !(n["failed"] == 0 && n["passed"] > 0) }'
}
