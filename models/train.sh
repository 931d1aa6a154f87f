#!/bin/bash
# Remakes the built-in model from nothing: data, vocabulary, weights, GGUF, report. Two and a half hours on two
# cores. Interrupted, it goes on from the last checkpoint when started again.
#
#     models/train.sh [DIRECTORY]        default build/model
#
# STEPS, THREADS and DOCUMENTS in the environment change the size of the run.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/model}
steps=${STEPS:-9500}
documents=${DOCUMENTS:-600000}
threads=${THREADS:-2}

cmake --preset release >/dev/null
cmake --build --preset release --target cairn-train
train=build/release/cairn-train
mkdir -p "$out"

if [ ! -s "$out/held_out.jsonl" ]; then
        python3 models/generate.py --out "$out" --documents "$documents" --questions 4700
fi
if [ ! -s "$out/tokenizer.json" ]; then
        # the vocabulary needs no more than a sample; the generator has no order to speak of
        head -n 100000 "$out/train.jsonl" >"$out/sample.jsonl"
        "$train" tokenizer --data "$out/sample.jsonl" --vocab 2048 --out "$out/tokenizer.json"
        rm "$out/sample.jsonl"
fi
head -n 470 "$out/held_out.jsonl" >"$out/held_small.jsonl" # watched during the run
"$train" train --data "$out/train.jsonl" --held-out "$out/held_small.jsonl" --tokenizer "$out/tokenizer.json" \
        --checkpoint "$out" --steps "$steps" --threads "$threads" --d 192 --layers 7 --heads 6 --kv 3 --ff 512 \
        --ctx 1024 --rows 1024 --micros 6 --lr 3e-3 --warmup 80 --decay 0.6 --log-every 20 --eval-every 400
"$train" export --checkpoint "$out/run.ckpt" --tokenizer "$out/tokenizer.json" --out "$out/cairn-tiny.gguf" \
        --template models/chat_template.jinja
"$train" eval --checkpoint "$out/run.ckpt" --tokenizer "$out/tokenizer.json" --questions "$out/held_out.jsonl" \
        --report "$out/report.json"
"$train" exam --model "$out/cairn-tiny.gguf" --questions "$out/held_out.jsonl" --report "$out/report.json"
echo "$out/cairn-tiny.gguf is ready; copy it and report.json to models/ to ship it"
