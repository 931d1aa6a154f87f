#!/bin/sh
# Makes models/cairn-moderation.bin: generates the sentences, trains, prints the table of the held-out ones. Seconds.
#
#   models/moderation/train.sh [CAIRN_TRAIN]        default build/release/cairn-train
set -eu
cd "$(dirname "$0")"
train=${1:-../../build/release/cairn-train}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 make_data.py --out "$work"
"$train" classifier --data "$work/train.jsonl" --heldout "$work/heldout.jsonl" --out ../cairn-moderation.bin \
        --labels "$(python3 -c 'import make_data; print(",".join(make_data.LABELS))')"
