#!/usr/bin/env bash
# An environment of its own for a method that cannot share one with the others.
#
#   bench/peers.sh NAME FOLDER
#
# NAME: snapatac2, scmdc, midas or scib. Makes the virtual environment FOLDER/NAME; where
# `bench/accuracy` looks for it, see bench/accuracy/elsewhere.py. Needs Python 3.11, for scmdc git.
#
# Environment: SCMDC_URL  repository of scMDC, should a copy be nearer

set -euo pipefail
cd "$(dirname "$0")/.."

. tools/torch.sh

usage="usage: bench/peers.sh NAME FOLDER"
name=${1:?$usage} venv=${2:?$usage}/$1
scmdc_commit=0c8778e3112d5b791e0b42569e6c502f8309cfd6

note() { printf '   %s\n' "$*"; }
environment() { python3.11 -m venv "$venv"; }

case $name in
  snapatac2)
    environment
    # without macs3, which calls peaks and has to be compiled
    pip_install --no-deps snapatac2==2.9.0
    pip_install numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-learn==1.7.2 anndata==0.12.19 \
      polars==1.44.0 pooch==1.9.0 igraph==1.0.0 pyfaidx==0.8.1.4 plotly==6.5.0 \
      rustworkx==0.18.1 natsort==8.4.0 tqdm==4.70.1 typeguard==4.6.1 multiprocess==0.70.19 \
      pyarrow==26.0.1
    ;;
  scmdc)
    environment
    install_torch
    pip_install numpy==1.26.4 scipy==1.15.3 pandas==2.3.3 scikit-learn==1.7.2 anndata==0.12.19 \
      scanpy==1.11.5 h5py==3.14.0
    [ -d "$venv/scMDC" ] ||
      git clone -q "${SCMDC_URL:-https://github.com/xianglin226/scMDC}" "$venv/scMDC"
    git -C "$venv/scMDC" checkout -q "$scmdc_commit"
    ;;
  midas)
    environment
    install_torch
    # it asks for torch below 2.11: later builds leave out old GPUs; the CPU does not mind
    pip_install --no-deps scmidas==0.3.0
    pip_install lightning==2.6.1 numpy==1.26.4 scipy==1.15.3 pandas==2.3.3 scikit-learn==1.7.2 \
      anndata==0.12.6 mudata==0.3.2 scanpy==1.11.5 matplotlib==3.11.2 toml==0.10.2 natsort==8.4.0 \
      requests==2.34.2 tqdm==4.70.1
    ;;
  scib)
    environment
    pip_install scib-metrics==0.5.10
    ;;
  *)
    echo "bench/peers.sh: no method $name; there are snapatac2, scmdc, midas and scib" >&2
    exit 2
    ;;
esac
