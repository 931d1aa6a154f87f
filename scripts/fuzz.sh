#!/bin/sh
# Runs every fuzz target of build/fuzz for FUZZ_SECONDS (60) each, or the targets named as arguments.
# New inputs grow build/fuzz-corpus; a crash is written to tests/fuzz/crashes/TARGET, where the
# test suite replays it from then on.
set -eu
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}

if [ $# -eq 0 ]; then
        for program in build/fuzz/fuzz_*; do
                if [ -x "$program" ] && [ -f "$program" ]; then
                        set -- "$@" "${program##*/fuzz_}"
                fi
        done
fi

failed=
for name in "$@"; do
        mkdir -p "build/fuzz-corpus/$name" "build/fuzz-found/$name"
        echo "fuzz $name: ${seconds}s"
        set -- "build/fuzz-corpus/$name"
        [ -d "tests/fuzz/corpus/$name" ] && set -- "$@" "tests/fuzz/corpus/$name"
        dictionary=tests/fuzz/$name.dict
        [ -f "$dictionary" ] && set -- "-dict=$dictionary" "$@"
        if ! "build/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
                -print_final_stats=1 -verbosity=1 -artifact_prefix="build/fuzz-found/$name/" "$@" \
                >"build/fuzz-found/$name.log" 2>&1; then
                failed="$failed $name"
                mkdir -p "tests/fuzz/crashes/$name"
                find "build/fuzz-found/$name" -type f -exec mv -t "tests/fuzz/crashes/$name" {} +
        fi
        tail -n 8 "build/fuzz-found/$name.log" | grep -E 'executed_units|peak_rss|SUMMARY|ERROR' || true
done
if [ -n "$failed" ]; then
        echo "fuzz: FOUND something in:$failed (logs in build/fuzz-found, inputs in tests/fuzz/crashes)" >&2
        exit 1
fi
