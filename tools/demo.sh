#!/usr/bin/env bash
# The demo with the project's own environment: tools/demo.sh [DATA=path] [SEED=0] [K=] [EPOCHS=60] [OUT=dir]
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/common.sh
use_project
exec Rscript inst/scripts/demo.R "$@"
