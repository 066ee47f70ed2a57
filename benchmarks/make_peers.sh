#!/bin/sh
# Make the virtual environment that compare.py starts the peers in: sh benchmarks/make_peers.sh [FOLDER]
set -eu
folder=${1:-$(dirname "$0")/.venv}
python3 -m venv "$folder"
"$folder/bin/python" -m pip install torch torchvision lightning fastai keras jax pandas matplotlib
